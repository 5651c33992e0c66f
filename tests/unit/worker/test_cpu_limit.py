"""A job that takes too much CPU ends in an error for its caller, and the process goes on with the next."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from extproc.bedrock.capability_table import BUILT_IN
from extproc.worker import translation_wire as wire
from extproc.worker.cpu_limit import END_SIGNAL, CpuLimit, CpuLimitError

MODEL = "anthropic.claude-sonnet-4-6"

PROGRAM = """
import socket
from extproc.exchange import translation
from extproc.worker.translation_process import serve

read, with_digests = translation.read, translation.with_digests

def spin():
    try:
        while True:
            pass
    except Exception:
        raise AssertionError("a job must not be able to catch it")

def spinning_read(body, *others):
    return spin() if body == b"spin" else read(body, *others)

def spinning_plan(translated):
    return spin() if b"spin" in bytes(translated.calls[0].body) else with_digests(translated)

translation.read, translation.with_digests = spinning_read, spinning_plan
with socket.socket(fileno=0) as connection:
    serve(connection, 0.05)
"""


UNINTERRUPTED = """
from collections import deque
from itertools import repeat
from extproc.worker.cpu_limit import CpuLimit

with CpuLimit(0.01):
    deque(repeat(None), maxlen=0)
"""
"""One call into C that never ends, and never looks for signals."""


@pytest.fixture
def limit() -> Iterator[CpuLimit]:
    before = signal.getsignal(signal.SIGPROF)
    yield CpuLimit(0.01)
    signal.signal(signal.SIGPROF, before)


@pytest.fixture
def process() -> Iterator[socket.socket]:
    """Return the process's end of a connection, with jobs that spin on request."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            child = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=theirs.fileno())
        yield ours
    assert child.wait() == 0


def spin() -> None:
    while True:
        pass


def test_a_spinning_job_is_interrupted_again_and_again(limit: CpuLimit) -> None:
    for _ in range(3):
        with pytest.raises(CpuLimitError), limit:
            spin()


def test_a_signal_that_comes_late_interrupts_nothing(limit: CpuLimit) -> None:
    with limit:
        pass
    signal.raise_signal(signal.SIGPROF)
    with pytest.raises(CpuLimitError), limit:
        signal.raise_signal(signal.SIGPROF)
    signal.raise_signal(signal.SIGPROF)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_a_call_into_c_that_does_not_end_ends_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", UNINTERRUPTED], timeout=60, check=False).returncode == -END_SIGNAL


def test_a_process_that_goes_on_is_not_ended(limit: CpuLimit) -> None:
    with limit:
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def chat(text: str = "Hello") -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]}).encode()


def reply(connection: socket.socket, request: wire.ReadRequest | wire.PlanRequest, *blobs: bytes) -> wire.ProcessReply:
    wire.send(connection, wire.Header(request, tuple(map(len, blobs))), list(blobs))
    received = wire.receive_header(connection, wire.ProcessReply)
    assert received is not None
    for length in received.lengths:
        wire.receive_blob(connection, length)
    return received


def planning(number: int) -> wire.PlanRequest:
    return wire.PlanRequest(number, BUILT_IN.of(MODEL), MODEL, None, ())


def test_only_the_job_that_spins_fails(process: socket.socket) -> None:
    """Requests that the process has read before, and those that it reads later, are planned."""
    first = reply(process, wire.ReadRequest(1, "/chat/completions"), chat())
    spinning = reply(process, wire.ReadRequest(2, "/chat/completions"), chat("spin"))
    unread = reply(process, wire.ReadRequest(3, "/chat/completions"), b"spin")
    unplanned = reply(process, planning(2))
    last = reply(process, wire.ReadRequest(4, "/chat/completions"), chat())
    for read in (first, spinning, last):
        assert isinstance(read.reply, wire.ReadReply)
    for failed in (unread, unplanned):
        assert isinstance(failed.reply, wire.Error)
        error = wire.api_error(failed.reply)
        assert (error.status, error.type, error.code) == (400, "invalid_request_error", "request_too_complex")
    for number in (1, 4):
        assert isinstance(reply(process, planning(number)).reply, wire.PlanReply)
