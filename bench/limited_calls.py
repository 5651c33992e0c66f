"""The calls of a limited caller for `bench.instructions`: whole chats, whose limits are counted in one place each.

Every caller has two scopes, an organisation and a token, with limits that are never reached. The clock of the limits
moves by a millisecond with each call, so counters outside of the process are asked with one call in 50. The Redis is a
stand-in that admits whatever it is asked: its connection is not counted.

Decision: docs/decisions.md, D295.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.steps import NOW, gateway
from extproc.config.rate_limits import RateLimits, RateLimitSettings
from extproc.config.redis import RedisSettings
from extproc.exchange.directives import Directive, Forward, Reply, Wait
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Admit
from extproc.tenancy.directory import Directory
from extproc.transport import messages
from extproc.worker.rate_counters import RateCounters
from extproc.worker.redis_limits import RedisStore

NONE, MEMORY, SQLITE, REDIS = "none", "memory", "sqlite", "redis"

NEVER_REACHED = 1_000_000_000
LIMITS = RateLimits(NEVER_REACHED, NEVER_REACHED, NEVER_REACHED)

CALL_NANOSECONDS = 1_000_000

_USAGE = {"inputTokens": 3, "outputTokens": 200, "totalTokens": 203}
_MESSAGE = {"role": "assistant", "content": [{"text": "Hello"}]}
COMPLETION = json.dumps({"output": {"message": _MESSAGE}, "stopReason": "end_turn", "usage": _USAGE}).encode()
RESPONSE = {":status": "200", "content-type": "application/json", "x-amzn-requestid": "r"}


class Clock:
    """A clock in nanoseconds, which moves with each call."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        """Return the time."""
        return self.now


class AdmittingClient:
    """What a store's scripts return that has nothing else to do; in place of `RedisClient`."""

    ready = connected = True

    def run_script(self, script: object, message: bytes, done: Any, seconds: float = 0.0) -> None:
        """Admit a request, and give the advance that it asks for."""
        if not seconds:
            return
        _, _, _, _, scopes, _, ahead = msgspec.msgpack.decode(message)
        done(msgspec.msgpack.encode(([(0, 0, 0) for _ in scopes], [], [], ahead)))


@contextmanager
def limited(counted: str, clock: Clock) -> Iterator[tuple[Gateway, RedisStore | None]]:
    """Yield a gateway whose callers' limits are counted there, and its store if that is far away."""
    shared = gateway()
    if counted == NONE:
        yield shared, None
        return
    rates = RateLimitSettings(organisation=LIMITS, token=LIMITS)
    shared.settings = settings = msgspec.structs.replace(shared.settings, rate_limits=rates)
    shared.directory = Directory(settings)
    if counted == REDIS:
        shared.remote = store = RedisStore(RedisSettings("redis://127.0.0.1:6379"), lambda: settings, clock)
        store.client = AdmittingClient()  # type: ignore[assignment]
        shared.counters = store.rates
        yield shared, store
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rates") if counted == SQLITE else None
        with closing(RateCounters(path, "worker", lambda: settings, clock)) as counters:
            shared.counters = counters
            yield shared, None


async def calls(count: int, counted: str, headers: dict[str, str], body: bytes) -> None:
    """Serve so many chats, one after the other."""
    clock = Clock()
    with limited(counted, clock) as (shared, store):
        for at in range(count):
            clock.now += CALL_NANOSECONDS
            now = NOW + at / 1000
            exchange = Exchange(shared, "id")
            exchange.receive(RequestHeaders(headers), now)
            directives = exchange.receive(RequestBody(body), now)
            [first] = directives
            if isinstance(first, Wait):
                assert isinstance(first.job, Admit)
                assert store is not None
                directives = exchange.receive(Resumed(await store(first.job, first.seconds)), now)
            _encode(directives, Forward)
            exchange.receive(ResponseHeaders(RESPONSE), now)
            _encode(exchange.receive(ResponseBody(COMPLETION, end_of_stream=True), now), Reply)
            exchange.close(NOW)


def _encode(directives: Iterable[Directive], kind: type[Forward | Reply]) -> None:
    [directive] = directives
    assert type(directive) is kind, directive
    if isinstance(directive, Forward):
        messages.forwarded(directive)
    elif isinstance(directive, Reply):
        messages.replaced_head(directive)
        messages.streamed(directive.body, end_of_stream=True)


def serve(count: int, counted: str, headers: dict[str, str], body: bytes) -> None:
    """Serve so many chats in an event loop of their own."""
    asyncio.run(calls(count, counted, headers, body))
