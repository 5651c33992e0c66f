"""The real exchange over the http2 transport: each call gets the same messages however frames are cut and mixed.

Envoy is played by the h2 library: several calls at once, in order and out of it, cut off, reset, with frames between
that no call needs. The oracle is an exchange that gets the same events directly, one call at a time.
"""

import struct
from collections.abc import Callable
from itertools import cycle
from types import SimpleNamespace
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.exchange.events import RequestBody
from extproc.transport.health_protocol import SERVING
from extproc.transport.http2 import frames
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.session import PROCESS, Session
from extproc.transport.stream import Clock, ExtProcStream

SMALL = ConnectionLimits(stream_window=65_535, connection_window=70_000, frame_bytes=16_384)
ROUNDS = 10_000
"""Most turns without progress before a client counts as stuck."""


class Plan(NamedTuple):
    """A call, as hypothesis draws it."""

    kind: str
    variant: int
    words: list[str]
    size: int
    """Size of the pieces of the upstream response."""
    changes: list[tuple[str, int, int]]
    """The disorder: its kind, its place, and the inserted message."""
    last: str
    """`end` of the client's side, a `reset`, a message that is `cut` off, or it is left `open`."""


PLANS = st.builds(
    Plan,
    st.sampled_from(["chat", "stream", "stream", "embedding", "embeddings", "models", "refused", "bedrock"]),
    st.integers(0, 9),
    st.lists(st.text(max_size=30), max_size=4),
    st.integers(1, 1500),
    st.just([])
    | st.lists(st.tuples(st.sampled_from(["drop", "again", "swap", "put"]), st.integers(0, 9), st.integers(0, 9))),
    st.sampled_from(["end", "end", "open", "open", "reset", "cut"]),
)


# Frames that no call needs

HARMLESS: tuple[Callable[[int], bytes], ...] = (
    lambda call: frames.frame(frames.PING, 0, 0, b"12345678"),
    lambda call: frames.frame(0x77, 0xFF, call, b"unknown"),
    lambda call: frames.frame(frames.PRIORITY, 0, call, bytes(5)),
    lambda call: frames.settings({0x77: 1}),
)
AGAINST_A_STREAM: tuple[Callable[[int], bytes], ...] = (
    lambda call: frames.window_update(call, 0),
    lambda call: frames.frame(frames.PRIORITY, 0, call, bytes(4)),
    lambda call: frames.frame(frames.RST_STREAM, 0, call, bytes(4)),
)
AGAINST_ALL: tuple[tuple[bytes, frames.ErrorCode], ...] = (
    (frames.frame(frames.DATA, 0, 0, b"x"), frames.ErrorCode.PROTOCOL_ERROR),
    (frames.frame(frames.DATA, 0, 99_999, b"x"), frames.ErrorCode.PROTOCOL_ERROR),
    (frames.frame(frames.HEADERS, 4, 2, b""), frames.ErrorCode.PROTOCOL_ERROR),
    (frames.frame(frames.HEADERS, 4, 99_999, b"\xff"), frames.ErrorCode.COMPRESSION_ERROR),
    (frames.frame(frames.CONTINUATION, 4, 1, b""), frames.ErrorCode.PROTOCOL_ERROR),
    (frames.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), frames.ErrorCode.PROTOCOL_ERROR),
    (frames.frame(frames.SETTINGS, 0, 0, b"short"), frames.ErrorCode.FRAME_SIZE_ERROR),
    (frames.window_update(0, frames.LARGEST), frames.ErrorCode.FLOW_CONTROL_ERROR),
    (frames.frame(frames.DATA, 0, 1, bytes(16_385)), frames.ErrorCode.FRAME_SIZE_ERROR),
)
STRAYS = st.dictionaries(
    st.integers(0, 60), st.tuples(st.sampled_from(["harmless"] * 6 + ["stream"] * 3 + ["all"]), st.integers(0, 8))
)
"""The turn, the kind, and the variant of each."""


# Envoy's connection


class PlannedCall:
    """A call of the client: its remaining steps, and the received messages."""

    def __init__(self, plan: Plan, script: list[Any], result: object, sizes: list[int]) -> None:
        self.plan = plan
        self.script = script
        self.result = result
        self.to_do = list(self._to_do(sizes))
        self.id = 0
        self.hit = plan.last == "reset"
        """Its end is not of its own making, and may come at any time."""
        self.data = b""
        self.status: bytes | None = None
        self.message = b""
        self.gone = False

    def _to_do(self, sizes: list[int]) -> list[tuple[str, bytes]]:
        """Open the stream, send the messages in pieces of DATA, and end it; where a job comes in, wait for it."""
        done, unsent, size = [("open", b"")], b"", cycle(sizes)
        for step in self.script:
            unsent += struct.pack(">BL", 0, len(step.data)) + step.data
            if isinstance(step.event, RequestBody) and self.plan.kind == "embeddings":
                done += [*data_of(unsent, size), ("settle", b"")]
                unsent = b""
        if self.plan.last == "cut":
            unsent += struct.pack(">BL", 0, 3) + b"no"
        done += data_of(unsent, size)
        return done if self.plan.last == "open" else [*done, (self.plan.last, b"")]


def data_of(data: bytes, sizes: "cycle[int]") -> list[tuple[str, bytes]]:
    parsed = []
    while data:
        size = next(sizes)
        parsed.append(("data", data[:size]))
        data = data[size:]
    return parsed


class EnvoyEnd:
    """A client that keeps to HTTP/2, but for its strays; `cuts` are the sizes of the pieces that arrive, in turn."""

    def __init__(
        self, new_stream: Callable[[], ExtProcStream], calls: list[PlannedCall], cuts: list[int] | None, window: int
    ):
        self.session = Session(new_stream, lambda: SERVING, 1 << 20, SMALL)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.client.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = window
        self.client.local_settings.acknowledge()
        self.client.initiate_connection()
        self.calls = calls
        self.by_id: dict[int, PlannedCall] = {}
        self.cuts = None if cuts is None else cycle(cuts)
        self.unsent = b""
        self.due: int | None = None
        """The fault that the server is to find with the connection; none other."""
        self.fault: int | None = None
        self.settle()

    def converse(self, turns: list[int], strays: dict[int, tuple[str, int]]) -> None:
        """Run every step, the calls in turn."""
        turn = cycle(turns)
        number = 0
        while busy := [call for call in self.calls if call.to_do and not call.gone]:
            call = busy[next(turn) % len(busy)]
            self.do(call, *call.to_do.pop(0))
            if number in strays and call.id:
                self.stray(call, *strays[number])
            number += 1
        self.settle()

    def do(self, call: PlannedCall, what: str, data: bytes) -> None:
        match what:
            case "open":
                call.id = self.client.get_next_available_stream_id()
                self.by_id[call.id] = call
                fields = [(":method", "POST"), (":scheme", "http"), (":path", PROCESS.decode()), (":authority", "e")]
                self.client.send_headers(call.id, [*fields, ("content-type", "application/grpc")])
            case "data":
                self.send(call, data)
            case "settle":
                self.settle()
            case "reset":
                self.client.reset_stream(call.id, 8)
            case _:
                self.client.end_stream(call.id)
        self.unsent += self.client.data_to_send()

    def send(self, call: PlannedCall, data: bytes) -> None:
        """Send data once the windows allow it; the server must grant them."""
        if self.client.local_flow_control_window(call.id) < len(data):
            self.settle()
        if not call.gone:
            self.client.send_data(call.id, data)

    def stray(self, call: PlannedCall, against: str, which: int) -> None:
        if against == "harmless":
            self.unsent += HARMLESS[which % len(HARMLESS)](call.id)
        elif against == "stream":
            call.hit = True
            self.unsent += AGAINST_A_STREAM[which % len(AGAINST_A_STREAM)](call.id)
        else:
            frame, self.due = AGAINST_ALL[which % len(AGAINST_ALL)]
            self.unsent += frame
            self.settle()
            assert self.fault == self.due
            for each in self.calls:
                each.hit = each.gone = True

    def settle(self) -> None:
        """Exchange data until neither side has any left."""
        for _ in range(ROUNDS):
            self.unsent += self.client.data_to_send()
            output = self.bring()
            for call in self.session.changed():
                result = self.by_id[call.id].result
                if call.pending_job is not None and result is not None:
                    self.session.resume(call, result)
            output += b"".join(self.session.data_to_send())
            if not output:
                return
            self.receive_frames(output)
        raise AssertionError("it goes on for ever")

    def bring(self) -> bytes:
        data, self.unsent, output = self.unsent, b"", b""
        while data:
            size = len(data) if self.cuts is None else next(self.cuts)
            self.session.receive(data[:size])
            output += b"".join(self.session.data_to_send())
            data = data[size:]
        return output

    def receive_frames(self, data: bytes) -> None:
        for event in self.client.receive_data(data):
            match event:
                case h2.events.DataReceived():
                    self.by_id[event.stream_id].data += event.data
                    self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.TrailersReceived() | h2.events.ResponseReceived():
                    self.ended(self.by_id[event.stream_id], dict(event.headers))
                case h2.events.StreamEnded() | h2.events.StreamReset():
                    self.by_id[event.stream_id].gone = True
                case h2.events.ConnectionTerminated():
                    self.fault = event.error_code
                    assert self.fault == self.due, event.additional_data

    def ended(self, call: PlannedCall, fields: dict[bytes, bytes]) -> None:
        if b"grpc-status" in fields:
            assert call.status is None, "a call ends once"
            call.status, call.message = fields[b"grpc-status"], fields.get(b"grpc-message", b"")


def messages_of(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the gRPC messages in `data`, and the rest."""
    parsed = []
    while len(data) >= 5 and len(data) >= 5 + (size := struct.unpack_from(">xL", data)[0]):
        parsed.append(data[5 : 5 + size])
        data = data[5 + size :]
    return parsed, data


def check(call: PlannedCall, oracle: SimpleNamespace) -> None:
    messages, rest = messages_of(call.data)
    received = oracle.understood(messages)
    expected, failed = oracle.expectation(call.script, call.result)
    if call.hit:
        assert received.begins(expected)
        return
    assert received == expected
    assert not rest
    if failed:
        assert (call.status, call.message) == (b"13", b"WireError")
    elif call.plan.last == "cut":
        assert (call.status, call.message) == (b"13", b"the last message is cut off")
    else:
        assert call.status == (b"0" if call.plan.last == "end" else None)


@settings(max_examples=settings().max_examples // 2)
@given(
    plans=st.lists(PLANS, min_size=1, max_size=6),
    turns=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    strays=STRAYS,
    window=st.sampled_from([65_535, 2_000, 100]),
)
def test_calls_get_the_same_messages_however_frames_are_cut_and_mixed(
    calls: SimpleNamespace,
    plans: list[Plan],
    turns: list[int],
    sizes: list[int],
    cuts: list[int],
    strays: dict[int, tuple[str, int]],
    window: int,
) -> None:
    scripts = [(plan, calls.script(plan, f"call-{number}"), calls.result(plan)) for number, plan in enumerate(plans)]
    clock = Clock(lambda: calls.now, lambda: 0.0)
    for pieces_that_arrive in (None, cuts, [1]):
        made = [PlannedCall(*script, sizes) for script in scripts]
        envoy = EnvoyEnd(lambda: ExtProcStream(calls.new_exchange(), clock, 60.0), made, pieces_that_arrive, window)
        envoy.converse(turns, strays)
        for call in made:
            check(call, calls)
        assert envoy.session.calls == sum(bool(call.id) and not call.gone and not call.hit for call in made)
        assert envoy.session.connection.closed == (envoy.fault is not None)
        assert envoy.fault is not None or not envoy.session.connection.queued
