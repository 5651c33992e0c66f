"""Workers that end under load: a call in flight ends whole or in an error, and is never short without a word."""

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 90.0
NUMBERS = 40
WHOLE = " ".join(str(number) for number in range(1, NUMBERS + 1))
CALLERS = 6


@dataclass
class StreamingCallers:
    """Callers of streams, some tenths of a second each, one after the other, until stopped; and the end of each."""

    gateway: Any
    stop: threading.Event = field(default_factory=threading.Event)
    ends: list[str] = field(default_factory=list)

    def call(self) -> None:
        """Make one call, read to its end by a client that has only HTTP and server-sent events."""
        body = {"model": NOVA, "stream": True, "messages": [{"role": "user", "content": f"Count to {NUMBERS}."}]}
        headers = {"authorization": f"Bearer {self.gateway.tokens['ci']}"}
        lines: list[str] = []
        try:
            with httpx.stream(
                "POST", f"{self.gateway.url}/chat/completions", json=body, headers=headers, timeout=DEADLINE
            ) as response:
                lines.extend(line for line in response.iter_lines() if line)
            self.ends.append(end_of(response.status_code, lines))
        except httpx.HTTPError:
            self.ends.append("cut")

    def caller(self) -> None:
        while not self.stop.is_set():
            self.call()

    def count(self, end: str) -> int:
        return self.ends.count(end)

    def until(self, whole: int) -> None:
        """Wait until so many more calls were whole."""
        goal, end = self.count("whole") + whole, time.monotonic() + DEADLINE
        while self.count("whole") < goal:
            assert time.monotonic() < end, Counter(self.ends)
            time.sleep(0.02)


def end_of(status: int, lines: list[str]) -> str:
    """`whole`, `refused` (a 503 with an error), `error` (one inside the stream), or `short`, which must not be."""
    if status != 200:
        return "refused" if status == 503 and '"error"' in "".join(lines) else f"status {status}"
    if any('"error"' in line for line in lines):
        return "error"
    return "whole" if lines and lines[-1] == "data: [DONE]" and text_of(lines) == WHOLE else "short"


def text_of(lines: list[str]) -> str:
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@contextmanager
def load(gateway: Any) -> Iterator[StreamingCallers]:
    load = StreamingCallers(gateway)
    threads = [threading.Thread(target=load.caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        load.until(CALLERS)
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def ended_as(load: StreamingCallers, *allowed: str) -> None:
    assert set(load.ends) <= {"whole", *allowed}, Counter(load.ends)


@pytest.fixture
def gateway(start_gateway: Any) -> Any:
    gateway = start_gateway({"workers": 2})
    gateway.expect_restarts()
    return gateway


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_of_two_workers_ends(gateway: Any, number: signal.Signals) -> None:
    """The calls of the worker end in an error, or are rejected before anything was sent; the other's go on."""
    with load(gateway) as callers:
        for _ in range(2):
            since = len(gateway.log())
            os.kill(gateway.pids("extproc.worker.command")[0], number)
            gateway.wait_for("starting it again", since)
            gateway.wait_for("serving on", since)
            callers.until(2 * CALLERS)
    ended_as(callers, "cut", "error", "refused")
    assert len(callers.ends) - callers.count("whole") <= 2 * 3 * CALLERS


def test_both_workers_end_at_once(gateway: Any) -> None:
    with load(gateway) as callers:
        for pid in gateway.pids("extproc.worker.command"):
            os.kill(pid, signal.SIGKILL)
        callers.until(2 * CALLERS)
    ended_as(callers, "cut", "error", "refused")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_up_gets_sigterm(gateway: Any, number: signal.Signals) -> None:
    """Every call that it has accepted is whole; later ones find nothing listening."""
    with load(gateway) as callers:
        taken = len(callers.ends)
        gateway.process.send_signal(number)
        callers.stop.set()
        assert gateway.process.wait(DEADLINE) == 0
    assert len(callers.ends) > taken
    ended_as(callers, "cut")
    assert callers.count("cut") <= CALLERS


def test_envoy_is_killed(gateway: Any) -> None:
    with load(gateway) as callers:
        os.kill(gateway.pids("envoy -c")[0], signal.SIGKILL)
        callers.until(CALLERS)
    ended_as(callers, "cut", "error", "refused")
