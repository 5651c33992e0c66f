"""Logs that are never read: pipes that are full before a program starts, on both of its streams."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.envoy.conftest import Site

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 90.0


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """A full pipe's end to write to; its reader is there and does not read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"#" * 4096)
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def start(site: Site, log: int, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "extproc", *arguments]
    return subprocess.Popen(command, cwd=site.folder, env=site.environment, stdout=log, stderr=log)


def until_healthy(url: str) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        assert time.monotonic() < end, "it does not become healthy"
        time.sleep(0.05)


def test_a_worker_serves_and_ends(site: Site, full_pipe: int) -> None:
    path = site.folder / "w0.sock"
    worker = start(site, full_pipe, "serve", "--config", "gateway.yaml", "--listen", f"unix:{path}", "--notice", "0")
    try:
        end = time.monotonic() + DEADLINE
        while not path.exists():
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.05)
        assert "serving" in site.run("health", f"unix:{path}")
        worker.terminate()
        assert worker.wait(DEADLINE) == 0
    finally:
        worker.kill()
        worker.wait()


def test_up_serves_and_ends(site: Site, full_pipe: int) -> None:
    """Access log and debug output: more than all pipes in between could hold."""
    listen = f"127.0.0.1:{free_port()}"
    options = ("--config", "gateway.yaml", "--listen", listen, "--upstream", "local", "--access-log")
    gateway = start(site, full_pipe, "up", *options, "--log-level", "debug", "--envoy-log-level", "debug")
    try:
        until_healthy(f"http://{listen}/healthz")
        with OpenAI(base_url=f"http://{listen}/oai/v1", api_key=site.tokens["ci"], max_retries=0) as client:
            question: Any = [{"role": "user", "content": "Hello!"}]
            for _ in range(20):
                assert client.chat.completions.create(model=NOVA, messages=question).choices[0].message.content
        gateway.terminate()
        assert gateway.wait(DEADLINE) == 0
    finally:
        gateway.kill()
        gateway.wait()


def test_up_whose_reader_leaves_serves_and_ends(site: Site) -> None:
    """`oai-extproc up 2>&1 | head -1`: from then on each line meets a closed pipe."""
    listen = f"127.0.0.1:{free_port()}"
    reader, writer = os.pipe()
    gateway = start(site, writer, "up", "--config", "gateway.yaml", "--listen", listen, "--upstream", "local")
    os.close(writer)
    os.close(reader)
    try:
        until_healthy(f"http://{listen}/healthz")
        gateway.terminate()
        assert gateway.wait(DEADLINE) == 0
    finally:
        gateway.kill()
        gateway.wait()


def free_port() -> int:
    """A port that was free a moment ago. `up` rejects one that is in use, so it cannot be reserved."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
