"""Floods by one caller, which the others must not notice."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hpack import Encoder
from hyperframe.frame import HeadersFrame, RstStreamFrame, SettingsFrame

from tests.chaos.callers import ERROR, MODEL, WHOLE, Caller, Outcome
from tests.chaos.scene import Call, Scene
from tests.chaos.test_kills import ENVOY, WORKER
from tests.chaos.upstream import END, METADATA, START, STOP, chunk, frame, head

SECTION = "One caller against the others"
FINE = "the others"
NEIGHBOURS = 10
GROWTH = 300 << 20
"""Bytes by which neither Envoy nor a worker may grow under any of these floods."""


@contextmanager
def others(scene: Scene, fault: str, call: str, note: str = "") -> Iterator[list[Outcome]]:
    """Streams before, during and after the flood, and calls during it, all of which must be served whole."""
    beside = [scene.begin("streaming", stream=True) for _ in range(NEIGHBOURS)]
    before = {program: memory(scene, program) for program in (ENVOY, WORKER)}
    since, flooder = time.monotonic(), list[Outcome]()
    yield flooder
    during = scene.responds()
    seconds = round(time.monotonic() - since, 3)
    grown = {program: memory(scene, program) - before[program] for program in before}
    outcomes = [one.end() for one in beside]
    assert during, "a new call is not answered"
    assert all(size < GROWTH for size in grown.values()), grown
    own = flooder[0] if flooder else Outcome(FINE, seconds=seconds)
    scene.check(own, outcomes, [FINE, ERROR, WHOLE])
    mebibytes = ", ".join(
        f"{name} +{max(0, size) >> 20} MiB" for name, size in zip(("Envoy", "a worker"), grown.values(), strict=True)
    )
    scene.add(SECTION, fault, "", call, own, outcomes, f"{note}{mebibytes}")


def memory(scene: Scene, program: str) -> int:
    """Return the resident memory of the largest of these processes, in bytes."""
    pids = scene.gateway.pids(program)
    return max(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)


@pytest.fixture
def scene(scene_of: Any) -> Scene:
    """A gateway for each flood: what one of them leaves behind is no other's."""
    started: Scene = scene_of()
    return started


def test_requests_that_are_reset_at_once(scene: Scene) -> None:
    """500 on each of 10 connections, without a token."""
    with ExitStack() as open_sockets, others(scene, "500 HEADERS + RST_STREAM on each of 10 connections", "no token"):
        for _ in range(10):
            connection = open_sockets.enter_context(socket.create_connection(scene.address, timeout=30))
            encoder, out = Encoder(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
            fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", "/oai/v1/chat/completions"),
            ]
            for stream in range(1, 1000, 2):
                out += HeadersFrame(stream, encoder.encode(fields), flags=["END_HEADERS"]).serialize()
                out += RstStreamFrame(stream, error_code=8).serialize()
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(out)


def test_connections_that_never_make_a_call(scene: Scene) -> None:
    with ExitStack() as open_sockets, others(scene, "300 connections without a call", "no token"):
        for _ in range(300):
            open_sockets.enter_context(socket.create_connection(scene.address, timeout=30))


def test_callers_that_stop_reading(scene: Scene) -> None:
    """Ten of them, with 20 MB on the way to each."""
    large = chunk(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * 200_000}}))
    with others(scene, "10 callers who stop reading 20 MB each", "stream"):
        for _ in range(10):
            steps = [head(), START, *[large] * 100, STOP, METADATA, END]
            scene.begin("streaming", stream=True, steps=steps)


@pytest.mark.parametrize(
    ("name", "tools"),
    [("120,000 tools that need new names", [f"a.{at}" for at in range(120_000)])],
)
def test_a_request_that_is_much_work(scene: Scene, name: str, tools: list[str]) -> None:
    functions = [{"type": "function", "function": {"name": tool}} for tool in tools]
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "tools": functions}
    with others(scene, name, "buffered") as flooder:
        call = raw(scene, json.dumps(body).encode())
        call.caller.send()
        flooder.append(call.caller.finish())
        assert flooder[0].kind == ERROR


def test_bodies_of_32_mb_at_once(scene: Scene, pytestconfig: pytest.Config) -> None:
    """Fourteen in the long form, six in the short: those beyond the budget get a Retry-After."""
    number = 14 if pytestconfig.getoption("--long") else 6
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * (31 << 20)}]}).encode()
    beside = [scene.begin("streaming", stream=True) for _ in range(NEIGHBOURS)]
    calls = [raw(scene, body) for _ in range(number)]
    for call in calls:
        call.caller.send(len(call.caller.head) + 1)
    for call in calls:
        call.caller.send()
    outcomes = [call.caller.finish() for call in calls]
    assert {one.kind for one in outcomes} <= {WHOLE, ERROR}
    assert {one.status for one in outcomes if one.kind == ERROR} <= {429, 503}
    outcomes_of_others = [one.end() for one in beside]
    worst = max(outcomes, key=lambda one: (one.kind == ERROR, one.seconds))
    scene.check(worst, outcomes_of_others, [ERROR, WHOLE])
    scene.add(SECTION, f"{number} bodies of 31 MiB at once", "", "buffered", worst, outcomes_of_others)
    scene.serves_again()


def raw(scene: Scene, body: bytes) -> Call:
    """A call with a body of its own."""
    script = scene.upstream.script()
    caller = Caller(scene.address, scene.gateway.tokens["ci"], script.prompt, stream=False, body=body)
    scene.open.append(caller)
    return Call(caller, script)
