"""A pod's end, with its real processes under load: the hooks of both containers, then SIGTERM in the pod's order.

What a kubelet does is in `EnvoyWithWorker.end`, what a load balancer does in `Balancer`. Every stream is held by the
local Bedrock until the test releases it, so nothing here depends on how long anything takes.
"""

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 60.0
STREAMS = 4
PATIENT = 2 * round(DEADLINE)
"""Times that Envoy looks for a drain before it gives up, one in half a second. As rendered they take 15 s, in which a
busy machine may not have started it."""


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not await happened():  # noqa: ASYNC110 (it happens in another process)
            await asyncio.sleep(0.02)


async def status(url: str) -> int:
    """Return the status of a GET; 0 if nothing listens."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status
    except aiohttp.ClientError:
        return 0


@dataclass
class EnvoyWithWorker:
    """Envoy and one worker, as a pod has them, and a local Bedrock behind them."""

    site: Any
    envoy: Any
    worker: Any
    url: str
    health: str

    @property
    def admin(self) -> str:
        return f"unix:{self.site.folder}/admin.sock"

    @property
    def announce(self) -> str:
        return f"unix:{self.site.folder}/drain.sock"

    def announces(self) -> bool:
        """Return whether a drain's socket is there."""
        return Path(self.announce.removeprefix("unix:")).exists()

    def drain_output(self) -> str:
        """Return the output of the drain so far."""
        return Path(self.site.folder, "drain.log").read_text()

    def drain(self, *arguments: str) -> Any:
        """Run the preStop command of the worker's container."""
        return self.site.python("drain", "extproc", "drain", "--admin", self.admin, *arguments)

    async def end(self, *, notice: float) -> int:
        """Both preStop hooks at once, then SIGTERM: Envoy first, the sidecar when it is gone.

        Return the status that Envoy's hook got.
        """
        drain = self.drain("--announce", self.announce, "--notice", str(notice))
        response_status = await status(f"{self.health}/drained")
        assert not [call for call in await calls(self) if call["state"] == "running"], "it was drained too early"
        self.envoy.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.envoy.process.wait, DEADLINE)
        assert await asyncio.to_thread(drain.process.wait, DEADLINE) == 0
        assert await asyncio.to_thread(self.worker.stop) == 0
        return response_status


async def calls(pod: EnvoyWithWorker) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{pod.site.bedrock_url}/_local/calls") as response:
        return await response.json()


async def release(pod: EnvoyWithWorker) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{pod.site.bedrock_url}/_local/release") as response:
        assert response.status == 200


@pytest.fixture
def start_pod(site: Any) -> Callable[..., Awaitable[EnvoyWithWorker]]:
    """Starts the pod; arguments are Envoy's. `looks` is how often Envoy looks for a drain before it gives up."""

    async def start(*arguments: str, looks: int = PATIENT) -> EnvoyWithWorker:
        listen, health, folder = f"127.0.0.1:{site.port()}", f"127.0.0.1:{site.port()}", site.folder
        worker = site.worker(f"unix:{folder}/w0.sock")
        render = ("envoy-config", "--listen", listen, "--health", health, "--processor", f"unix:{folder}/w0.sock")
        bootstrap, times = re.subn(
            r"num_retries: 30\b", f"num_retries: {looks}", site.run(*render, "--admin", f"unix:{folder}/admin.sock")
        )
        assert times == 1
        envoy = site.envoy(bootstrap, *arguments)
        pod = EnvoyWithWorker(site, envoy, worker, f"http://{listen}", f"http://{health}")
        await until(lambda: healthy(pod))
        return pod

    return start


async def healthy(pod: EnvoyWithWorker) -> bool:
    return await status(f"{pod.health}/healthz") == 200


# Callers


@dataclass
class Balancer:
    """A load balancer: while health checks succeed it opens connections, after that it only uses those it has."""

    pod: EnvoyWithWorker
    open: bool = True
    statuses: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def watch(self) -> None:
        """Look at the pod's health until it fails."""
        while self.open:
            self.open = await healthy(self.pod)

    async def keep_alive(self) -> None:
        """Send request after request on one connection, and on a new one when it was closed."""
        async with self.session() as session:
            usable = False
            while usable or self.open:
                usable = await self.call(session)

    async def new_connections(self) -> None:
        """A connection for each request."""
        while self.open:
            async with self.session() as session:
                await self.call(session)

    async def stream(self) -> str:
        """Read the chunks of a model's stream; it must end well."""
        text = ""
        async with (
            self.session() as session,
            self.post(session, "Count to 9. [[local: hold]]", stream=True) as response,
        ):
            assert response.status == 200, await response.read()
            lines = [line async for line in response.content if line.strip()]
        assert lines.pop() == b"data: [DONE]\n"
        for line in lines:
            choices = json.loads(line.removeprefix(b"data: "))["choices"] if line.startswith(b"data: ") else []
            text += "".join(choice["delta"].get("content") or "" for choice in choices)
        return text

    async def call(self, session: aiohttp.ClientSession) -> bool:
        """Make one call; return whether the connection can be used again."""
        try:
            async with self.post(session, "Hello!") as response:
                body = await response.read()
                self.statuses.append(response.status)
                if response.status != 200:
                    self.failures.append(f"{response.status} {body!r}")
                return response.headers.get("connection") != "close"
        except (aiohttp.ClientError, OSError) as error:
            self.failures.append(repr(error))
            return False

    def session(self) -> aiohttp.ClientSession:
        token = self.pod.site.tokens["ci"]
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1), headers={"authorization": f"Bearer {token}"}
        )

    def post(self, session: aiohttp.ClientSession, text: str, **fields: Any) -> Any:
        body = {"model": NOVA, "messages": [{"role": "user", "content": text}], **fields}
        return session.post(f"{self.pod.url}/oai/v1/chat/completions", json=body)


async def held(pod: EnvoyWithWorker, number: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{pod.site.bedrock_url}/_local/calls", params={"held": str(number)}) as response,
    ):
        assert response.status == 200


async def test_a_pod_that_ends_fails_no_call(start_pod: Any) -> None:
    pod = await start_pod("--drain-time-s", "1")  # the shorter, the sooner a port would close that should not
    balancer = Balancer(pod)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(balancer.stream()) for _ in range(STREAMS)]
        await held(pod, STREAMS)
        lively = [tasks.create_task(each()) for each in 4 * [balancer.keep_alive] + 2 * [balancer.new_connections]]
        await until(lambda: enough(balancer))
        watching = tasks.create_task(balancer.watch())
        ending = tasks.create_task(pod.end(notice=1))
        await asyncio.wait([watching, *lively])
        await until(lambda: prints(pod, f"waiting for calls in flight: {STREAMS}\n"))
        assert not ending.done(), "streams are still open"
        await release(pod)
        assert await ending == 200
    assert balancer.failures == []
    assert set(balancer.statuses) == {200}
    assert [stream.result() for stream in streams] == ["1 2 3 4 5 6 7 8 9"] * STREAMS
    assert not pod.announces()


async def enough(balancer: Balancer) -> bool:
    return len(balancer.statuses) > 20


async def prints(pod: EnvoyWithWorker, words: str) -> bool:
    return words in pod.drain_output()


async def test_without_a_drain_the_hook_returns_503(start_pod: Any) -> None:
    pod = await start_pod(looks=2)
    async with asyncio.timeout(DEADLINE):
        assert await status(f"{pod.health}/drained") == 503


async def test_a_drain_that_takes_too_long_reports_the_calls_in_flight(start_pod: Any) -> None:
    pod = await start_pod()
    balancer = Balancer(pod)
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(balancer.stream()) for _ in range(2)]
        await held(pod, 2)
        drain = pod.drain("--announce", pod.announce, "--notice", "0", "--timeout", "0.2")
        async with aiohttp.ClientSession() as session, session.get(f"{pod.health}/drained") as response:
            assert response.status == 503
            assert await response.text() == "not drained: calls still in flight after 0.2 s: 2\n"
        assert await asyncio.to_thread(drain.process.wait, DEADLINE) == 1
        assert "calls still in flight after 0.2 s: 2" in drain.output()
        await release(pod)
    assert [stream.result() for stream in streams] == ["1 2 3 4 5 6 7 8 9"] * 2, "nobody was cut"


async def test_an_envoy_that_ends_in_the_middle_of_a_drain(start_pod: Any) -> None:
    pod = await start_pod()
    session = Balancer(pod).session()
    async with asyncio.timeout(DEADLINE), session:
        waiting = asyncio.create_task(whole(Balancer(pod).post(session, "Hello! [[local: hold]]")))
        await held(pod, 1)
        drain = pod.drain("--notice", "0")
        await until(lambda: prints(pod, "waiting for calls in flight: 1\n"))
        pod.envoy.process.kill()
        assert await asyncio.to_thread(drain.process.wait, DEADLINE) == 1
        assert "has ended while calls may have been in flight" in drain.output()
        with pytest.raises(aiohttp.ClientError):
            await waiting


async def test_an_interrupted_drain_leaves_no_socket_and_no_waiting_hook(start_pod: Any) -> None:
    pod = await start_pod()
    drain = pod.drain("--announce", pod.announce, "--notice", "600")
    async with asyncio.timeout(DEADLINE):
        drained = asyncio.create_task(status(f"{pod.health}/drained"))
        await until(lambda: prints(pod, "waiting 600 s"))
        drain.process.send_signal(signal.SIGINT)
        assert await drained == 503
        assert await asyncio.to_thread(drain.process.wait, DEADLINE) != 0
    assert not pod.announces()


async def test_a_drain_without_an_envoy(start_pod: Any, site: Any) -> None:
    for arguments in ([], ["--announce", f"unix:{site.folder}/drain.sock"]):
        drain = site.python("drain", "extproc", "drain", "--admin", f"unix:{site.folder}/nowhere.sock", *arguments)
        assert await asyncio.to_thread(drain.process.wait, DEADLINE) == 1
        assert f"nobody listens at unix:{site.folder}/nowhere.sock" in drain.output()
        assert "Traceback" not in drain.output()


# The listener for probes


async def test_the_health_listener_shows_nothing_else_of_the_admin_interface(start_pod: Any) -> None:
    pod = await start_pod()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{pod.health}/metrics") as response:
            assert response.status == 200
            assert "envoy_http_downstream_rq_active" in await response.text()
        for method, path in [
            ("POST", "/metrics"),
            ("GET", "/metrics/../quitquitquit"),
            ("GET", "/metrics/quitquitquit"),
            ("POST", "/quitquitquit"),
            ("GET", "/config_dump"),
            ("POST", "/drained"),
            ("POST", "/oai/v1/chat/completions"),
        ]:
            async with session.request(method, pod.health + path) as response:
                assert response.status == 404, (method, path)
    assert pod.envoy.process.poll() is None


async def test_a_health_check_is_no_call(start_pod: Any) -> None:
    pod = await start_pod()
    before = await metric(pod, 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="oai"}')
    for _ in range(5):
        assert await healthy(pod)
    assert await metric(pod, 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="oai"}') == before
    assert await status(f"{pod.url}/healthz") == 200
    assert await metric(pod, 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="oai"}') == before + 1


async def whole(response: Any) -> bytes:
    async with response as opened:
        body: bytes = await opened.read()
    return body


async def metric(pod: EnvoyWithWorker, name: str) -> int:
    """A statistic as Prometheus would read it."""
    async with aiohttp.ClientSession() as session, session.get(f"{pod.health}/metrics") as response:
        [line] = [line for line in (await response.text()).splitlines() if line.startswith(name)]
    return int(line.split()[-1])
