"""Workers that count in a Redis, driven from tests that have no event loop, by a clock that a test moves."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from extproc.config import Settings
from extproc.config.redis import RedisSettings
from extproc.exchange.jobs import Admit
from extproc.limits.counters import Decision, Scope
from extproc.limits.spending import Balance, Charge, Verdict
from extproc.openai.errors import ApiError
from extproc.worker import redis_ends, redis_limits
from extproc.worker.redis_client import Script
from extproc.worker.redis_limits import RedisStore
from tests.redis.server import Redis

TIME = "redis.call('TIME')"
CLOCK = "{string.sub(redis.call('GET', 'clock'), 1, -10), string.sub(redis.call('GET', 'clock'), -9, -4)}"
NAMES = itertools.count()


def by_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the scripts read the time from the key `clock`, in nanoseconds."""
    for name in ("ADMIT", "END", "BEAT"):
        text = getattr(redis_limits, name).text.decode()
        assert text.count(TIME) == 1
        script = Script(text.replace(TIME, CLOCK))
        for module in (redis_limits, redis_ends) if name == "END" else (redis_limits,):
            monkeypatch.setattr(module, name, script)


class Worker:
    """The store of one worker. Methods have the names of `Counters` and `SpendingStore`."""

    def __init__(
        self,
        redis: Redis,
        clock: Callable[[], int],
        settings: Settings | None = None,
        redis_settings: RedisSettings | None = None,
    ) -> None:
        self.redis = redis
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._set_clock()
        own = settings or Settings()
        self.store = self.run(self._started(redis_settings or RedisSettings(redis.url, timeout_ms=250), own))
        self._charges: dict[str, Sequence[Charge]] = {}
        self._costs: dict[str, Sequence[int]] = {}

    def admit(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request as an exchange does: first by what was taken in advance."""
        if not stream and (known := self.store.known(scopes, tokens)) is not None:
            return known
        admission = self._admitted(Admit(f"call {next(NAMES)}", scopes, tokens, stream, (), None))
        assert admission.decision is not None
        return _value(admission.decision)

    def reserve(self, call: str, charges: Sequence[Charge]) -> Verdict:
        self._costs[call] = [charge.counted for charge in charges]
        admission = self._admitted(Admit(call, (), 0, False, charges, lambda: self._costs[call]))
        assert admission.verdict is not None
        return _value(admission.verdict)

    def settle(self, *arguments: Any) -> None:
        if isinstance(arguments[0], str):
            self.run(self._sent(lambda: self.store.accounts.settle(*arguments)))
        else:
            self.run(self._sent(lambda: self.store.rates.settle(*arguments)))

    def release(self, scopes: Sequence[Scope], decision: Decision) -> None:
        self.run(self._sent(lambda: self.store.rates.release(scopes, decision)))

    def count(self, running: dict[str, Sequence[int]]) -> None:
        self._costs.update(running)
        self.tick()

    def tick(self) -> None:
        """Let the worker beat, and wait for the reply."""
        self._set_clock()
        self.run(self._beaten())

    def balance(self, key: str) -> Balance:
        if key.startswith("number of "):
            return Balance(int(self.redis.send("GET", f"{{oai}}:group:{key.removeprefix('number of ')}") or 0))
        found = self.redis.send("GET", f"{{oai}}:account:{key}")
        return Balance(*map(int, found.split())) if found else Balance()

    def first(self, key: str, end: int) -> bool:
        return bool(self.run(self._told(key, end)))

    def alone(self, scopes: Sequence[Scope], tokens: int, stream: bool) -> Decision:
        """Count a request without the store."""
        return self.store.rates.admit(scopes, tokens, stream)

    def until(self, condition: Callable[[], bool]) -> None:
        self.run(_until(condition))

    def run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def kill(self) -> None:
        """End without a word."""
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self.store.client.close()
        self.run(asyncio.sleep(0))
        self._loop.close()

    def _admitted(self, admit: Admit) -> Any:
        self._set_clock()
        return self.run(self.store(admit, 1.0))

    def _set_clock(self) -> None:
        with contextlib.suppress(OSError):  # it is away
            self.redis.send("SET", "clock", f"{self._clock():010}")

    async def _started(self, redis: RedisSettings, settings: Settings) -> RedisStore:
        store = RedisStore(redis, lambda: settings, self._clock)
        store._tasks = [asyncio.create_task(store.client.run(store._connected))]
        await store.attempted()
        list(store.beat())
        await _round(store)
        return store

    async def _sent(self, do: Callable[[], None]) -> None:
        self._set_clock()
        do()
        self.store.ends.flush()
        if self.store.ready:
            await self.store.ends.settled.wait()

    async def _beaten(self) -> None:
        self.store._beats = 0
        list(self.store.beat())
        await _round(self.store)
        await _round(self.store)

    async def _told(self, key: str, end: int) -> bool:
        future = asyncio.get_running_loop().create_future()
        self.store.tell(future.set_result, key, end)
        return await future is not None


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


async def _round(store: RedisStore) -> None:
    """Wait for the replies to all that was sent."""
    future = asyncio.get_running_loop().create_future()
    store.client.send(future.set_result, b"PING")
    await future


def _value(found: Any) -> Any:
    if isinstance(found, ApiError):
        raise found
    return found
