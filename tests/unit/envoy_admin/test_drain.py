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


class RecordingAdmin:
    """An Envoy that records requests, and reports calls in flight: each number once, the last for ever."""

    def __init__(self, *active: int) -> None:
        self.requests: list[str] = []
        self.active = list(active)

    @contextlib.asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[Admin]:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self._respond)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            yield Admin(path)
        finally:
            await runner.cleanup()

    async def _respond(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}" + ("?graceful" if "graceful" in request.query else ""))
        if request.path != "/stats":
            return web.Response(text="OK\n")
        if not self.active:
            return web.Response(text="")
        active = self.active.pop(0) if len(self.active) > 1 else self.active[0]
        return web.Response(text=f"{ACTIVE}: {active}\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="drain-") as name:
        yield Path(name)


def once(requests: list[str]) -> list[str]:
    """Return the requests without consecutive repetitions."""
    return [each for each, before in zip(requests, [None, *requests], strict=False) if each != before]


async def test_the_order(folder: Path) -> None:
    envoy, lines = RecordingAdmin(3, 3, 2, 0), list[str]()
    async with envoy.at(folder / "admin.sock") as admin:
        await drain(admin, DrainTimeouts(0, 10), lines.append)
    posts = ["POST /healthcheck/fail", "POST /drain_listeners?graceful"]
    assert once(envoy.requests) == ["GET /stats", *posts, "GET /stats"]
    assert lines[1:] == ["waiting for calls in flight: 3", "waiting for calls in flight: 2", "drained"]


async def test_an_envoy_of_another_user_is_left_alone(folder: Path) -> None:
    envoy = RecordingAdmin()
    async with envoy.at(folder / "admin.sock") as admin:
        with pytest.raises(DrainError, match="no Envoy that serves this gateway listens"):
            await drain(admin, DrainTimeouts(0, 10), print)
    assert not [each for each in envoy.requests if each.startswith("POST")]


async def test_a_missing_envoy_is_reported(folder: Path) -> None:
    with pytest.raises(DrainError, match=r"nobody listens at unix:.*: is Envoy running"):
        await drain(Admin(folder / "admin.sock"), DrainTimeouts(0, 10), print)


async def test_the_remaining_calls_are_reported(folder: Path) -> None:
    async with RecordingAdmin(2).at(folder / "admin.sock") as admin:
        with pytest.raises(DrainError, match=r"calls still in flight after 0\.01 s: 2"):
            await drain(admin, DrainTimeouts(0, 0.01), lambda _: None)


async def request_drained(path: Path) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://drain/drained") as response,
    ):
        return response.status, await response.text()


async def test_every_request_for_drained_returns_at_the_end(folder: Path) -> None:
    envoy = RecordingAdmin(1)
    announce = folder / "drain.sock"
    async with asyncio.timeout(30), envoy.at(folder / "admin.sock") as admin:
        waiting = asyncio.Event()
        draining = asyncio.create_task(
            drain_and_announce(admin, DrainTimeouts(0, 30), lambda _: waiting.set(), Address(path=str(announce)))
        )
        await waiting.wait()
        askers = [asyncio.create_task(request_drained(announce)) for _ in range(2)]
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
        asker = asyncio.create_task(request_drained(folder / "drain.sock"))
        first.settle(200, "drained")
        assert await asker == (200, "drained\n")
