"""Calls that outlast the time for which Envoy keeps its gRPC client to the worker while no new call begins.

That time is `grpc_async_client_manager_config.max_cached_entry_idle_duration`: 50 s by default, 5 s at least. With the
runtime flag `envoy.reloadable_features.ext_proc_graceful_grpc_close`, Envoy 1.40 crashes at the end of every such
call. Envoys are cheap, and each is alone with its call: all of them run at the same time, so a test takes as long as
its longest call.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

SHORT_IDLE = {"grpc_async_client_manager_config": {"max_cached_entry_idle_duration": "5s"}}

LONG_SECONDS = 11
"""Length of a call that spans two of these idle times, wherever in the first it begins."""

UPLOAD_SECONDS = 120
"""Longest time for a body without a length: 40 s, and one for each 512 KiB of the longest."""

DEADLINE = 200.0

RENDERED_PORT = 10000
"""Port in the rendered bootstrap, for each Envoy's own to stand in."""

NOVA = "amazon.nova-micro-v1:0"

Call = Callable[[Any, float], None]


def streamed(client: Any, seconds: float) -> None:
    """A stream that pauses after its first delta."""
    with client.stream(f"[[local: pause={seconds}]] one two three") as stream:
        assert stream.rest()[-1] == "[DONE]"


def buffered(client: Any, seconds: float) -> None:
    """A response that comes late, in one piece."""
    assert "one" in client.chat(f"[[local: pause={seconds}]] one two three").content


def stalled_upload(client: Any, seconds: float) -> None:
    """A request whose body pauses half-way; beyond `UPLOAD_SECONDS` the response is a 408 instead."""
    data = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "one two three"}]}).encode()

    def pieces() -> Iterator[bytes]:
        yield data[:20]
        time.sleep(seconds)
        yield data[20:]

    response = client.exchange("POST", "/oai/v1/chat/completions", pieces())
    if seconds > UPLOAD_SECONDS:
        assert response.status == 408, response
    else:
        assert "one" in response.content


def embeddings_job(client: Any, seconds: float) -> None:
    """Several texts, for which the worker calls Bedrock itself."""
    assert len(client.embed([f"[[local: pause={seconds}]] one", "two", "three"]).vectors) == 3


def abandoned(client: Any, seconds: float) -> None:
    """A stream whose caller leaves in the middle."""
    with client.stream("[[local: pause=600]] one two three") as stream:
        stream.delta()
        time.sleep(seconds)


@dataclass
class Machine:
    """A folder with one worker and any number of Envoys in front of it, each of one thread."""

    site: Any
    name: str
    bootstrap: str
    """Rendered for `RENDERED_PORT`."""
    client_of: Callable[[Any], Any]
    pool: ThreadPoolExecutor
    calls: "list[Future[None]]" = field(default_factory=list)

    def run(self, call: Call, *lengths: float, neighbour: bool = False, **bootstrap: Any) -> None:
        """Begin calls of these lengths in seconds, one after another, on an Envoy that has no others."""
        client, envoy = self._envoy(bootstrap)
        self.calls.append(self.pool.submit(self._in_turn, client, envoy, call, lengths, neighbour))

    def _in_turn(self, client: Any, envoy: Any, call: Call, lengths: tuple[float, ...], neighbour: bool) -> None:
        with beside(client, neighbour, sum(lengths) + 5):
            for seconds in lengths:
                call(client, seconds)
        assert "two" in client.chat("one two three").content
        assert envoy.process.poll() is None, envoy.output()

    def _envoy(self, more: dict[str, Any]) -> Any:
        name, port = f"envoy-{self.name}-{len(self.calls)}", self.site.port()
        bootstrap = yaml.safe_load(self.bootstrap.replace(f"port_value: {RENDERED_PORT}", f"port_value: {port}"))
        (self.site.folder / f"{name}.yaml").write_text(yaml.safe_dump({**bootstrap, **more}))
        command = (str(self.site.envoy_binary), "-c", f"{name}.yaml", "--disable-hot-restart", "--concurrency", "1")
        envoy = self.site.start(name, *command, "--log-level", "warning")
        client = self.client_of(SimpleNamespace(origin=f"http://127.0.0.1:{port}", tokens=self.site.tokens))
        client = replace(client, deadline=DEADLINE)
        end = time.monotonic() + DEADLINE
        while client.health() != 200:
            assert time.monotonic() < end, envoy.output()
            time.sleep(0.02)
        return client, envoy

    def finish(self) -> None:
        """Wait for all the calls; raises what one of them raised."""
        for call in self.calls:
            call.result()


@contextmanager
def beside(client: Any, wanted: bool, seconds: float) -> Iterator[None]:
    """A neighbour's stream that begins before and ends after what happens within, if one is wanted."""
    if not wanted:
        yield
        return
    with client.stream(f"[[local: pause={seconds}]] one two three") as neighbour:
        neighbour.delta()
        yield
        assert neighbour.rest()[-1] == "[DONE]"


@pytest.fixture
def machine(site: Any, client_of: Any) -> Iterator[Callable[..., Machine]]:
    """Makes a machine whose worker serves by a transport: by default that of the run."""
    config = yaml.safe_load((site.folder / "gateway.yaml").read_text())
    with ThreadPoolExecutor(64) as pool:

        def make(transport: str = config["transport"]) -> Machine:
            limits = {"upload_seconds": UPLOAD_SECONDS - 80}
            settings = {**config, "transport": transport, "embeddings": {"seconds": 300}, "limits": limits}
            (site.folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
            socket = f"unix:{site.folder}/{transport}.sock"
            site.worker(socket, name=transport)
            address = ("--listen", f"127.0.0.1:{RENDERED_PORT}", "--processor", socket)
            bootstrap = site.run("envoy-config", "--config", "gateway.yaml", *address)
            return Machine(site, transport, bootstrap, client_of, pool)

        yield make


def test_calls_longer_than_the_idle_time_end_as_any_other(machine: Callable[..., Machine]) -> None:
    here = machine()
    for call in (streamed, buffered, stalled_upload, embeddings_job, abandoned):
        here.run(call, LONG_SECONDS, **SHORT_IDLE)
        here.run(call, LONG_SECONDS, neighbour=True, **SHORT_IDLE)
    here.finish()


@pytest.mark.timeout(400)
def test_calls_of_minutes(machine: Callable[..., Machine]) -> None:
    """55 and 75 s, one after the other, and 130 s, with Envoy's own idle time; 130 s of upload are a 408."""
    machines = [machine(transport) for transport in ("http2", "grpcio")]
    for here in machines:
        for call in (streamed, buffered, stalled_upload, embeddings_job):
            here.run(call, 55, 75)
            here.run(call, 130)
        here.run(streamed, 55, 75, neighbour=True)
        here.run(buffered, 130, neighbour=True)
    for here in machines:
        here.finish()
