"""Slots: the share of one organisation, and the shares of the others beside it. Nothing here is timed."""

import asyncio
import contextlib
import itertools
import socket
import threading
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.bedrock.endpoints import Endpoint
from extproc.exchange.jobs import Fetch, Fetched, SideCall, SideCalls
from extproc.worker import image_fetcher as fetching
from extproc.worker.fair_slots import SHARE, FairSlots, on_behalf_of
from extproc.worker.http_jobs import HttpJobRunner
from extproc.worker.image_fetcher import CONNECTIONS, Fetcher
from extproc.worker.image_lookup import LOOKUPS, ImageResolver

SECONDS = 60.0
HERE = "127.0.0.1"


def take(slots, organisation):
    """Start a task that waits for a slot for this organisation."""
    with on_behalf_of(organisation):
        return asyncio.ensure_future(slots.take())


async def settle():
    """Let every runnable task proceed."""
    for _ in range(20):
        await asyncio.sleep(0)


async def end(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def having(tasks):
    return sum(task.done() and not task.cancelled() for task in tasks)


class TestSlots:
    @pytest.mark.parametrize("total", [1, 4, 32, 256])
    async def test_one_alone_holds_its_share_and_waits_for_more(self, total):
        slots = FairSlots(total)
        tasks = [take(slots, "greedy") for _ in range(2 * total)]
        await settle()
        held = having(tasks)
        assert total * SHARE // (SHARE + 1) <= held <= total * SHARE // (SHARE + 1) + 1
        slots.give_back("greedy")
        await settle()
        assert having(tasks) == held + 1
        await end(*tasks)

    async def test_others_have_theirs_at_once_beside_a_greedy_one(self):
        slots = FairSlots(32)
        greedy = [take(slots, "greedy") for _ in range(1000)]
        await settle()
        others = [take(slots, f"other-{number}") for number in range(8)]
        await settle()
        assert having(others) == 8
        await end(*greedy)

    async def test_a_slot_passes_over_one_that_has_left_in_the_same_turn_of_the_loop(self):
        slots = FairSlots(1)
        await take(slots, "holder")
        leaving, staying = take(slots, "other"), take(slots, "other")
        await settle()
        leaving.cancel()
        slots.give_back("holder")
        await settle()
        assert leaving.cancelled()
        assert having([staying]) == 1
        slots.give_back("other")
        another = take(slots, "another")
        await settle()
        assert having([another]) == 1

    async def test_a_free_slot_goes_to_the_smallest_holder_in_order_of_arrival(self):
        slots = FairSlots(4)
        await asyncio.gather(*(take(slots, name) for name in ("a", "b", "c", "d")))
        waiting = {name: take(slots, name[0]) for name in ("a1", "a2", "e1", "b1", "e2")}
        await settle()
        got = []
        for free in ("b", "c", "d", "a", "a"):
            slots.give_back(free)
            await settle()
            got += [name for name, task in waiting.items() if task.done() and name not in got]
        assert got[0] == "e1"
        assert set(got) == set(waiting)
        assert got.index("a1") < got.index("a2")

    async def test_a_cancelled_waiter_leaves_nothing_behind(self):
        slots = FairSlots(1)
        await take(slots, "a")
        waiting = [take(slots, name) for name in ("b", "b", "c")]
        await settle()
        await end(*waiting)
        assert slots._waiting == {}
        slots.give_back("a")
        assert await take(slots, "d") == "d"
        slots.give_back("d")
        assert (slots._free, dict(slots._held)) == (1, {})

    async def test_a_slot_that_comes_as_one_leaves_goes_to_the_next(self):
        slots = FairSlots(1)
        await take(slots, "a")
        first, second = take(slots, "b"), take(slots, "c")
        await settle()
        slots.give_back("a")
        first.cancel()
        assert await second == "c"

    @settings(max_examples=50, deadline=None)
    @given(
        st.integers(1, 6),
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "give", "leave"])), max_size=60),
    )
    def test_no_more_are_held_than_there_are_and_none_is_lost(self, total, steps):
        asyncio.run(self._walk(total, steps))

    async def _walk(self, total, steps):
        slots = FairSlots(total)
        held, waiting = [], []
        for name, step in steps:
            if step == "take":
                waiting.append(take(slots, name))
            elif step == "give" and name in held:
                held.remove(name)
                slots.give_back(name)
            elif step == "leave" and waiting:
                waiting.pop(0).cancel()
            await settle()
            held += [task.result() for task in waiting if task.done()]
            waiting = [task for task in waiting if not task.done()]
            assert len(held) + slots._free == total
            idle = {name for name in "abc" if name not in held} & slots._waiting.keys()
            assert not (idle and slots._free)
        await end(*waiting)
        for name in held:
            slots.give_back(name)
        assert (slots._free, dict(slots._held), slots._waiting) == (total, {}, {})


class TestSlotsOfImages:
    async def test_images_that_never_end_do_not_delay_other_organisations(self, site, fetching, job):
        """Ninety requests' worth of dripping images, and another organisation's image while they all hang."""
        site.responses["/drip"] = [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n\x89PNG\r\n\x1a\n", None]
        async with fetching(site) as fetcher:
            urls = [site.url("/drip")] * 4
            hanging = [
                asyncio.create_task(fetcher.fetch(Fetch(tuple(urls), 1000, 10_000, 4, "greedy"), SECONDS))
                for _ in range(90)
            ]
            await wait_for(lambda: site.in_flight >= CONNECTIONS * SHARE // (SHARE + 1))
            for number in range(20):
                (image,) = await fetcher.fetch(Fetch((site.url("/a"),), 1000, 10_000, 4, f"other-{number}"), SECONDS)
                assert isinstance(image, Fetched)
            assert not any(task.done() for task in hanging)
            assert site.most_in_flight <= CONNECTIONS
            await end(*hanging)

    async def test_names_that_never_resolve_do_not_delay_other_organisations(self, site, monkeypatch):
        looked_up, release = [], threading.Event()
        system = socket.getaddrinfo

        def getaddrinfo(host, *rest, **more):
            looked_up.append(host)
            if host.startswith("never"):
                release.wait(SECONDS)
                raise OSError("no such name")
            return system(HERE, *rest, **more)

        monkeypatch.setattr(fetching.socket, "getaddrinfo", getaddrinfo)
        options = {"ports": frozenset({site.port}), "allow": [ip_network(HERE)], "lookup": ImageResolver()}
        async with Fetcher({}, **options) as fetcher:
            urls = tuple(f"http://never{number}.example:{site.port}/" for number in range(4))
            hanging = [
                asyncio.create_task(fetcher.fetch(Fetch(urls, 1000, 10_000, 4, "greedy"), SECONDS)) for _ in range(40)
            ]
            await wait_for(lambda: len(looked_up) >= LOOKUPS * SHARE // (SHARE + 1))
            await self._still_served(fetcher, site)
            await end(*hanging)  # the threads go on, and keep their slots
            await self._still_served(fetcher, site)
            assert len(looked_up) <= LOOKUPS + 10
            release.set()

    async def _still_served(self, fetcher, site):
        for number in range(5):
            url = f"http://images{number}.example:{site.port}/a"
            (image,) = await fetcher.fetch(Fetch((url,), 1000, 10_000, 4, "other"), SECONDS)
            assert isinstance(image, Fetched)


class TestSideCalls:
    async def test_calls_that_hang_do_not_delay_other_organisations(self):
        in_flight = 0
        release = asyncio.Event()

        async def handle(reader, writer):
            nonlocal in_flight
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST /hang"):
                in_flight += 1
                await release.wait()
            with contextlib.suppress(ConnectionError):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, HERE, 0)
        endpoint = Endpoint("http", HERE, server.sockets[0].getsockname()[1])
        async with server, HttpJobRunner(endpoint) as run_job:
            hanging = [
                asyncio.create_task(
                    run_job(SideCalls((SideCall("/hang", (), b"{}"),) * 8, 8, SECONDS, organisation="a"), SECONDS)
                )
                for _ in range(60)
            ]
            await wait_for(lambda: in_flight >= CONNECTIONS * SHARE // (SHARE + 1))
            for number in range(20):
                job = SideCalls((SideCall("/b", (), b"{}"),) * 3, 3, SECONDS, organisation=f"b{number}")
                responses = await run_job(job, SECONDS)
                assert [response.status for response in responses] == [200] * 3
            assert not any(task.done() for task in hanging)
            await end(*hanging)
            release.set()


async def wait_for(condition):
    async with asyncio.timeout(SECONDS):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0.01)
