"""The order of a drain, with an Envoy that only has an admin interface."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from extproc.envoy_admin.client import Admin
from extproc.envoy_admin.drain import ACTIVE, Announcer, DrainError, DrainTimeouts, drain, drain_and_announce
from extproc.net import Address
from extproc.transport.listen import ListenError


class Envoy:
    """An Envoy that records requests, and reports calls in flight: each number once, the last for ever."""

    def __init__(self, *active: int) -> None:
        self.asked: list[str] = []
        self.active = list(active)

    @contextlib.asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[Admin]:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            yield Admin(path)
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}" + ("?graceful" if "graceful" in request.query else ""))
        if request.path != "/stats":
            return web.Response(text="OK\n")
        if not self.active:
            return web.Response(text="")
        active = self.active.pop(0) if len(self.active) > 1 else self.active[0]
        return web.Response(text=f"{ACTIVE}: {active}\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="drain-") as name:
        yield Path(name)


def once(asked: list[str]) -> list[str]:
    """Without the repetitions."""
    return [each for each, before in zip(asked, [None, *asked], strict=False) if each != before]


async def test_the_order(folder: Path) -> None:
    envoy, said = Envoy(3, 3, 2, 0), list[str]()
    async with envoy.at(folder / "admin.sock") as admin:
        await drain(admin, DrainTimeouts(0, 10), said.append)
    posts = ["POST /healthcheck/fail", "POST /drain_listeners?graceful"]
    assert once(envoy.asked) == ["GET /stats", *posts, "GET /stats"]
    assert said[1:] == ["waiting for calls in flight: 3", "waiting for calls in flight: 2", "drained"]


async def test_an_envoy_of_somebody_else_is_left_alone(folder: Path) -> None:
    envoy = Envoy()
    async with envoy.at(folder / "admin.sock") as admin:
        with pytest.raises(DrainError, match="no Envoy that serves this gateway listens"):
            await drain(admin, DrainTimeouts(0, 10), print)
    assert not [each for each in envoy.asked if each.startswith("POST")]


async def test_no_envoy_at_all_is_said_as_such(folder: Path) -> None:
    with pytest.raises(DrainError, match=r"nobody listens at unix:.*: is Envoy running"):
        await drain(Admin(folder / "admin.sock"), DrainTimeouts(0, 10), print)


async def test_what_is_left_is_said(folder: Path) -> None:
    async with Envoy(2).at(folder / "admin.sock") as admin:
        with pytest.raises(DrainError, match=r"calls still in flight after 0\.01 s: 2"):
            await drain(admin, DrainTimeouts(0, 0.01), lambda _: None)


async def ask(path: Path) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://drain/drained") as response,
    ):
        return response.status, await response.text()


async def test_whoever_asks_hears_of_the_end_and_not_before(folder: Path) -> None:
    envoy = Envoy(1)
    announce = folder / "drain.sock"
    async with asyncio.timeout(30), envoy.at(folder / "admin.sock") as admin:
        waiting = asyncio.Event()
        draining = asyncio.create_task(
            drain_and_announce(admin, DrainTimeouts(0, 30), lambda _: waiting.set(), Address(path=str(announce)))
        )
        await waiting.wait()
        askers = [asyncio.create_task(ask(announce)) for _ in range(2)]
        done, _ = await asyncio.wait([draining, *askers], timeout=0)
        assert done == set()
        envoy.active = [0]
        assert await asyncio.gather(*askers) == [(200, "drained\n")] * 2
        await draining
    assert not announce.exists()


async def test_only_one_announces_at_a_place(folder: Path) -> None:
    place = Address(path=str(folder / "drain.sock"))
    first = Announcer()
    async with first.at(place):
        with pytest.raises(ListenError, match="another process is listening there"):
            async with Announcer().at(place):
                pass
        asker = asyncio.create_task(ask(folder / "drain.sock"))
        first.settle(200, "drained")
        assert await asker == (200, "drained\n")
