"""Turns of the event loop: how many calls begin in one, and whose. Nothing here is timed: a stretch ends when told."""

import asyncio
import contextlib
from ipaddress import ip_network

import pytest

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import Fetch, Fetched, SideCall, SideCalls
from extproc.worker import loop_turns
from extproc.worker.http_jobs import HttpJobRunner
from extproc.worker.image_fetcher import Fetcher
from extproc.worker.loop_turns import AT_ONCE, MOST, LoopTurns

SECONDS = 60.0
HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def endless_stretches(monkeypatch):
    monkeypatch.setattr(loop_turns, "STRETCH", 3_600.0)
    monkeypatch.setattr(loop_turns, "LATELY", 3_600.0)


def beside_others(_):
    return True


class Calls:
    """Calls that want to begin, and the organisations of those that have, in order."""

    def __init__(self, *others):
        self.turns, self.begun, self.tasks = LoopTurns(*others), [], []

    def add(self, organisation, number):
        self.tasks += [asyncio.ensure_future(self._call(organisation)) for _ in range(number)]

    async def _call(self, organisation):
        await self.turns.take(organisation)
        self.begun.append(organisation)

    async def settle(self):
        """Let all begin that may, and return how many began in each turn of the loop."""
        numbers = []
        for _ in range(100):
            before = len(self.begun)
            await asyncio.sleep(0)
            numbers.append(len(self.begun) - before)
        return numbers

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_few_begin_in_one_turn_of_the_loop_and_alone_all_do_in_the_next_ones():
    calls = Calls()
    calls.add("a", 10 * AT_ONCE)
    numbers = await calls.settle()
    assert len(calls.begun) == 10 * AT_ONCE
    assert max(numbers) <= AT_ONCE
    assert sum(number > 0 for number in numbers[:14]) >= 10, "no turn is left out while some wait"


async def test_beside_others_an_organisation_begins_so_many_in_a_stretch():
    calls = Calls(beside_others)
    calls.add("a", 3 * MOST)
    await calls.settle()
    assert calls.begun == ["a"] * MOST
    calls.add("b", MOST)
    await calls.settle()
    assert calls.begun == ["a"] * MOST + ["b"] * MOST
    calls.turns._next_stretch(asyncio.get_running_loop())
    await calls.settle()
    assert calls.begun.count("a") == 2 * MOST
    await calls.end()


async def test_between_the_requests_of_others_it_is_beside_them_still():
    served = [True]
    calls = Calls(lambda organisation: served[0])
    calls.add("a", 3 * MOST)
    await calls.settle()
    served[0] = False
    calls.turns._next_stretch(asyncio.get_running_loop())
    await calls.settle()
    assert len(calls.begun) == 2 * MOST
    calls.turns._others_until = 0.0  # long ago
    calls.turns._next_stretch(asyncio.get_running_loop())
    await calls.settle()
    assert len(calls.begun) == 3 * MOST


async def test_those_that_wait_begin_by_organisation_in_turn():
    calls = Calls()
    calls.add("a", 100)
    calls.add("b", 10)
    calls.add("c", 10)
    await calls.settle()
    assert len(calls.begun) == 120
    last = max(place for place, organisation in enumerate(calls.begun) if organisation != "a")
    assert calls.begun[:last].count("a") <= 10 + AT_ONCE


async def test_one_that_waits_no_longer_leaves_nothing_behind():
    calls = Calls(beside_others)
    calls.add("a", 3 * MOST)
    await calls.settle()
    await calls.end()
    calls.add("a", MOST)
    calls.turns._next_stretch(asyncio.get_running_loop())
    await calls.settle()
    assert calls.begun == ["a"] * 2 * MOST
    assert calls.turns._waiting == {}


class Server:
    """A server that responds at once, and counts requests by path."""

    def __init__(self, body):
        self.head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.body, self.paths = body, []

    async def handle(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.paths.append(head.split(b" ", 2)[1].decode())
        with contextlib.suppress(ConnectionError):
            writer.write(self.head + self.body)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(body):
    server = Server(body)
    listening = await asyncio.start_server(server.handle, HERE, 0)
    async with listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


async def test_side_calls_of_one_organisation_leave_room_for_the_calls_of_others():
    async with serving(b"{}") as server:
        endpoint = Endpoint("http", HERE, server.port)
        async with HttpJobRunner(endpoint, {}, beside_others=beside_others) as run_job:
            job = SideCalls((SideCall("/a", (), b"{}"),) * 20, 8, SECONDS, organisation="a")
            many = [asyncio.create_task(run_job(job, SECONDS)) for _ in range(5)]
            for number in range(10):
                few = SideCalls((SideCall("/b", (), b"{}"),) * 3, 3, SECONDS, organisation=f"b{number}")
                assert [response.status for response in await run_job(few, SECONDS)] == [200] * 3
            assert server.paths.count("/a") == MOST
            assert not any(task.done() for task in many)
            for task in many:
                task.cancel()
            await asyncio.gather(*many, return_exceptions=True)


async def test_images_of_one_organisation_leave_room_for_the_calls_of_others():
    async with serving(b"\x89PNG\r\n\x1a\n" + bytes(20)) as server:
        options = {"ports": frozenset({server.port}), "allow": [ip_network(HERE)], "beside_others": beside_others}
        async with Fetcher({}, **options) as fetcher:
            url = f"http://{HERE}:{server.port}"
            job = Fetch((f"{url}/a",) * 20, 1000, 100_000, 4, "a")
            many = [asyncio.create_task(fetcher.fetch(job, SECONDS)) for _ in range(5)]
            for number in range(10):
                (image,) = await fetcher.fetch(Fetch((f"{url}/b",), 1000, 10_000, 4, f"b{number}"), SECONDS)
                assert isinstance(image, Fetched)
            assert server.paths.count("/a") == MOST
            for task in many:
                task.cancel()
            await asyncio.gather(*many, return_exceptions=True)
