"""Streams under limits and budgets that a client leaves at once: they are counted together, and decide at once."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.config import BudgetSettings, Organisation, Settings
from extproc.config.budgets import Budget
from extproc.config.rate_limits import RateLimits, RateLimitSettings
from extproc.exchange.directives import Forward, Reply
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.tenancy.directory import Directory
from extproc.worker.budget_accounts import BudgetAccounts
from extproc.worker.rate_counters import RateCounters
from extproc.worker.spending_file import ENDS
from tests.unit.exchange.conftest import NOW, SETTINGS, TOKEN

MANY = 500
USAGE = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}


class Files:
    """The files of one worker."""

    def __init__(self, gateway: Gateway, folder: Path, streams: int, tokens: int) -> None:
        self.budgets, self.rates = folder / "spent.sqlite", folder / "rates.sqlite"
        budgets = (Budget("day", tokens=tokens),)
        settings = Settings(
            organisations=SETTINGS.organisations
            | {"acme": Organisation(limits=RateLimits(concurrent_streams=streams))},
            tokens=SETTINGS.tokens,
            limits=SETTINGS.limits,
            aws=SETTINGS.aws,
            rate_limits=RateLimitSettings(token=RateLimits(concurrent_streams=streams)),
            budgets=BudgetSettings(sqlite=str(self.budgets), organisation=budgets, token=budgets, user=budgets),
        )
        self.accounts = BudgetAccounts("one", lambda: settings)
        self.counters = RateCounters(self.rates, "one", lambda: settings)
        gateway.settings, gateway.directory = settings, Directory(settings)
        gateway.accounts, gateway.counters = self.accounts, self.counters

    def close(self) -> None:
        self.accounts.close()
        self.counters.close()

    def trace(self) -> list[str]:
        """Return the statements that begin a transaction, as they are made."""
        begun: list[str] = []
        assert self.accounts._file is not None
        assert self.counters._shared is not None
        for connection in (self.accounts._file._connection, self.counters._shared._connection):
            assert connection is not None
            connection.set_trace_callback(lambda text: begun.append(text) if text.startswith("begin") else None)
        return begun

    def open(self) -> tuple[int, int]:
        """Return the number of calls that are held, and of streams that are open, as other workers see them."""
        with contextlib.closing(sqlite3.connect(self.budgets)) as budgets:
            [[held]] = budgets.execute("select count(distinct call) from holds").fetchall()
            [[sums]] = budgets.execute("select coalesce(sum(held), 0) from accounts").fetchall()
        with contextlib.closing(sqlite3.connect(self.rates)) as rates:
            [[streams]] = rates.execute("select coalesce(max(open), 0) from streams").fetchall()
        assert bool(sums) == bool(held)
        return held, streams


@pytest.fixture
def converse(event: Callable[..., bytes]) -> Callable[[bool], bytes]:
    """Return Bedrock's response, which may be a stream."""

    def response(stream: bool) -> bytes:
        if not stream:
            message = {"role": "assistant", "content": [{"text": "Hi"}]}
            return json.dumps({"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE}).encode()
        start, stop = event("messageStart", {"role": "assistant"}), event("messageStop", {"stopReason": "end_turn"})
        return start + stop + event("metadata", {"usage": USAGE})

    return response


@pytest.fixture
def files(gateway: Gateway, tmp_path: Path) -> Iterator[Callable[..., Files]]:
    with contextlib.ExitStack() as stack:
        yield lambda streams=9000, tokens=2**40: stack.enter_context(
            contextlib.closing(Files(gateway, tmp_path, streams, tokens))
        )


def begin(gateway: Gateway, number: int, **fields: Any) -> tuple[Exchange, Any]:
    """Send a request; return its exchange, and what that leads to."""
    exchange = Exchange(gateway, f"{number:032x}")
    headers = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": f"Bearer {TOKEN}"}
    exchange.receive(RequestHeaders(headers), NOW)
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
    [directive] = exchange.receive(RequestBody(json.dumps(body | fields).encode()), NOW)
    return exchange, directive


def begin_many(gateway: Gateway, number: int) -> list[Exchange]:
    """Begin streams of as many users."""
    return [begin(gateway, each, stream=True, user=f"u{each}")[0] for each in range(number)]


async def test_what_many_have_used_who_leave_is_written_in_few_transactions(
    gateway: Gateway, files: Callable[..., Files]
) -> None:
    worker = files()
    exchanges = begin_many(gateway, MANY)
    assert worker.open() == (MANY, MANY)
    begins = worker.trace()
    for exchange in exchanges:
        exchange.close(NOW + 1)
    assert not begins, "the turn in which they leave writes nothing"
    turns = 0
    while worker.open() != (0, 0):
        turns += 1
        assert turns <= MANY // ENDS, worker.open()
        await asyncio.sleep(0)
    assert turns == MANY // ENDS, "a turn writes a part"
    assert len(begins) == MANY // ENDS + 1


@pytest.mark.parametrize("limit", ["streams", "tokens"])
async def test_who_leaves_may_send_the_next_request_at_once(
    gateway: Gateway, files: Callable[..., Files], limit: str
) -> None:
    worker = files(streams=3) if limit == "streams" else files(tokens=200)
    exchanges = begin_many(gateway, 3)
    held = worker.open()
    last, reply = begin(gateway, 3, stream=True)
    assert isinstance(reply, Reply)
    assert reply.status == 429
    last.close(NOW)
    exchanges[0].close(NOW)
    assert worker.open() == held, "nothing is written yet"
    first, forward = begin(gateway, 4, stream=True)
    assert isinstance(forward, Forward)
    second, reply = begin(gateway, 5, stream=True)
    assert isinstance(reply, Reply), "one has left, not two"
    for exchange in (*exchanges[1:], first, second):
        exchange.close(NOW)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_counted_before_its_caller_has_it(
    gateway: Gateway, files: Callable[..., Files], converse: Callable[..., bytes], stream: bool
) -> None:
    """A worker that is killed then has counted it."""
    worker = files()
    exchange, _ = begin(gateway, 1, stream=stream)
    kind = "vnd.amazon.eventstream" if stream else "json"
    exchange.receive(ResponseHeaders({":status": "200", "content-type": f"application/{kind}"}), NOW)
    exchange.receive(ResponseBody(converse(stream), end_of_stream=True), NOW)
    assert worker.open() == (0, 0)
    exchange.close(NOW)


async def test_a_worker_that_stops_writes_the_ends_of_all(gateway: Gateway, files: Callable[..., Files]) -> None:
    worker = files()
    for exchange in begin_many(gateway, 3 * ENDS):
        exchange.close(NOW)
    assert worker.open() != (0, 0)
    worker.close()
    assert worker.open() == (0, 0)
    before = set(worker.budgets.parent.iterdir())
    await asyncio.sleep(0)
    assert set(worker.budgets.parent.iterdir()) == before, "no file is opened again"


async def test_what_cannot_be_written_is_written_by_a_later_second(
    gateway: Gateway, files: Callable[..., Files]
) -> None:
    worker = files()
    exchanges = begin_many(gateway, 3)
    with contextlib.ExitStack() as stack:
        for path in (worker.budgets, worker.rates):
            other = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
            other.execute("begin immediate")
        for exchange in exchanges:
            exchange.close(NOW)
        await asyncio.sleep(0)
    assert worker.open() == (3, 3)
    running = [asyncio.create_task(each.run()) for each in (worker.accounts, worker.counters)]
    for _ in range(20):  # it is done in parts
        await asyncio.sleep(0)
    for task in running:
        task.cancel()
    assert worker.open() == (0, 0)
