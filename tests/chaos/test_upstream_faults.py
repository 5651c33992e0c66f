"""Bedrock, or the network before it, fails in every way that a socket can."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from tests.chaos.callers import BROKEN, ERROR, ERROR_EVENT, WHOLE, Outcome
from tests.chaos.scene import Scene
from tests.chaos.upstream import (
    END,
    METADATA,
    RESPONSE,
    START,
    STOP,
    Act,
    Drip,
    Step,
    chunk,
    deltas,
    frame,
    head,
    whole_stream,
)

SECTION = "Bedrock, or the network before it, fails"
FIRST, *MORE = deltas()
JSON = head("application/json", len(RESPONSE))
FAILED = (ERROR, ERROR_EVENT, BROKEN)


class Fault(NamedTuple):
    """A fault of Bedrock instead of a whole response, and what a caller may then see."""

    fault: str
    phase: str
    stream: bool
    steps: Sequence[Step]
    sees: Sequence[str]


def damaged(data: bytes) -> bytes:
    """Return the data with its last byte changed: a wrong checksum."""
    return data[:-1] + bytes([data[-1] ^ 1])


def both(fault: str, phase: str, steps: Sequence[Step], sees: Sequence[str]) -> list[Fault]:
    return [Fault(fault, phase, stream, steps, sees) for stream in (False, True)]


ENDS = [(Act.RESET, "RST"), (Act.CLOSE, "FIN"), (Act.HALF_CLOSE, "FIN, and reading on")]
FAULTS: list[Fault] = [
    fault
    for act, name in ENDS
    for fault in (
        *both(f"the connection ends: {name}", "waiting", [act], [ERROR]),
        Fault(f"the connection ends: {name}", "streaming", False, [JSON, RESPONSE[:30], act], FAILED),
        Fault(f"the connection ends: {name}", "streaming", True, [head(), START, FIRST, act], [BROKEN, ERROR_EVENT]),
        Fault(f"the connection ends: {name}", "ending", False, [JSON, RESPONSE[:-1], act], FAILED),
        Fault(
            f"the connection ends: {name}",
            "ending",
            True,
            [head(), START, FIRST, *MORE, STOP, act],
            [BROKEN, ERROR_EVENT],
        ),
    )
]
FAULTS += [
    *both("bytes that are no HTTP", "waiting", [b"\x16\x03\x01\x00\x00 what is this?\r\n\r\n", Act.CLOSE], [ERROR]),
    *both("half a head", "waiting", [b"HTTP/1.1 200 OK\r\ncontent-type: app", Act.CLOSE], [ERROR]),
    *both("a page in HTML with 200", "waiting", [head("text/html", 15), b"<html>hi</html>"], [ERROR, ERROR_EVENT]),
    *both("a page in HTML with 503", "waiting", [head("text/html", 6, "503 Gone"), b"<html>"], [ERROR]),
    *both("an empty 200", "waiting", [head("application/json", 0)], [ERROR, ERROR_EVENT]),
    *both("a head of 200 kB", "waiting", [head("a/b", 0)[:-2] + b"x-a: " + b"a" * 200_000 + b"\r\n\r\n"], [ERROR]),
    Fault(
        "JSON that ends early, as its length says",
        "ending",
        False,
        [head("application/json", 40), RESPONSE[:40]],
        [ERROR],
    ),
    Fault("JSON of something else", "waiting", False, [head("application/json", 13), b'{"output":[]}'], [ERROR]),
    Fault("a clean end without messageStop", "streaming", True, [head(), START, FIRST, END], [ERROR_EVENT]),
    Fault(
        "a clean end between messageStop and metadata",
        "ending",
        True,
        [head(), START, FIRST, *MORE, STOP, END],
        [ERROR_EVENT],
    ),
    Fault(
        "a clean end within a frame", "streaming", True, [head(), START, FIRST, chunk(b"\0\0\1"), END], [ERROR_EVENT]
    ),
    Fault(
        "a frame with a wrong checksum",
        "streaming",
        True,
        [head(), START, FIRST, chunk(damaged(frame("x", {}))), END],
        [ERROR_EVENT],
    ),
    Fault(
        "a first frame with a wrong checksum", "waiting", True, [head(), chunk(damaged(frame("x", {}))), END], [ERROR]
    ),
    Fault(
        "bytes that are no frames", "streaming", True, [head(), START, FIRST, chunk(b"<html>" * 9), END], [ERROR_EVENT]
    ),
    Fault(
        "an exception as the first frame",
        "waiting",
        True,
        [head(), chunk(frame("throttlingException", {"message": "slow"}, "exception")), END],
        [ERROR],
    ),
    Fault(
        "an exception in the middle",
        "streaming",
        True,
        [head(), START, FIRST, chunk(frame("modelStreamErrorException", {"message": "no"}, "exception")), END],
        [ERROR_EVENT],
    ),
    Fault(
        "chunks with a wrong length",
        "streaming",
        True,
        [head(), START, FIRST, b"zz\r\nnothing\r\n", Act.CLOSE],
        [BROKEN, ERROR_EVENT],
    ),
    Fault(
        "frames after the end",
        "ending",
        True,
        [
            *whole_stream()[:-1],
            chunk(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "more"}})),
            END,
        ],
        [WHOLE, ERROR_EVENT],
    ),
    Fault("byte by byte", "streaming", False, [JSON, Drip(RESPONSE)], [WHOLE]),
    Fault(
        "byte by byte",
        "streaming",
        True,
        [
            head(),
            Drip(b"".join(chunk(frame("messageStart", {"role": "assistant"})[i : i + 1]) for i in range(10))),
            chunk(frame("messageStart", {"role": "assistant"})[10:]),
            *deltas(),
            STOP,
            METADATA,
            END,
        ],
        [WHOLE],
    ),
    Fault("a body that stays open after the last frame", "ending", True, [*whole_stream()[:-1], Act.HOLD], [WHOLE]),
]
SILENT: list[Fault] = [
    *both("silence before the head", "waiting", [Act.HOLD], [ERROR]),
    *both("silence after the head", "waiting", [head(), Act.HOLD], FAILED),
    Fault("silence after half of the body", "streaming", False, [JSON, RESPONSE[:30], Act.HOLD], FAILED),
    Fault("silence in the middle", "streaming", True, [head(), START, FIRST, Act.HOLD], [ERROR_EVENT]),
]


def called(fault: Fault) -> str:
    return f"{fault.fault}, {fault.phase}, {'stream' if fault.stream else 'buffered'}"


@pytest.mark.parametrize("fault", FAULTS, ids=called)
def test_a_fault_of_bedrock(scene: Scene, fault: Fault) -> None:
    beside = scene.neighbours()
    outcome = had(scene, fault)
    others = [one.end() for one in beside]
    scene.check(outcome, others, fault.sees)
    scene.add(SECTION, fault.fault, fault.phase, "stream" if fault.stream else "buffered", outcome, others)
    assert scene.responds()


@pytest.mark.parametrize("fault", SILENT, ids=called)
def test_silence_of_bedrock(impatient: Scene, fault: Fault) -> None:
    """`idle_seconds` ends the silent call, and no other one."""
    outcome = had(impatient, fault)
    impatient.check(outcome, [], fault.sees)
    impatient.add(
        SECTION, fault.fault, fault.phase, "stream" if fault.stream else "buffered", outcome, [], "`idle_seconds: 2`"
    )
    assert impatient.responds()


def test_a_bedrock_whose_first_frame_is_late(impatient: Scene) -> None:
    """Later than `keepalive_seconds`, sooner than `idle_seconds`: nothing is wrong."""
    for at, name in ((1, "a first frame that is late"), (3, "a second delta that is late")):
        steps: list[Step] = list(whole_stream())
        call = impatient.begin("waiting", stream=True, steps=[*steps[:at], Act.HOLD, *steps[at:]])
        assert call.script.reached.wait(30)
        call.caller.wait_quietly(1.0)
        outcome = call.end()
        impatient.check(outcome, [], [WHOLE])
        impatient.add(
            SECTION, name, "waiting" if at == 1 else "streaming", "stream", outcome, [], "`keepalive_seconds: 0.5`"
        )


def had(scene: Scene, fault: Fault) -> Outcome:
    """Make a call that meets the fault."""
    started = fault.stream and FIRST in fault.steps
    steps = list(fault.steps)
    if started:  # the caller reads what comes before the fault
        steps.insert(steps.index(FIRST) + 1, Act.HOLD)
    call = scene.begin(fault.phase, stream=fault.stream, steps=steps)
    if started:
        call.caller.read_delta()
        call.caller.struck()
        call.script.go.set()
    outcome = call.caller.finish()
    call.script.go.set()
    return outcome
