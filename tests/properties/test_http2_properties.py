"""The http2 transport: the response to any bytes is the same in any pieces, and never a wrong one.

A client of the h2 library sends legal frames, and rejects illegal ones of the server. Strategies send any frames.
"""

import struct
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.frame as hf
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from extproc.exchange.directives import Body, Continue, Forward, Head
from extproc.exchange.events import Event, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.health_protocol import SERVING
from extproc.transport.http2 import frames
from extproc.transport.http2.connection import Connection
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.frames import Http2ConnectionError
from extproc.transport.http2.session import CHECK, PROCESS, Session
from extproc.transport.stream import Clock, ExtProcStream

SMALL = ConnectionLimits(
    streams=3,
    stream_window=65_535,
    connection_window=70_000,
    frame_bytes=16_384,
    header_bytes=2_000,
    queue_bytes=20_000,
)
MESSAGE_BYTES = 20_000


class Echo:
    """An exchange that returns each piece of a body."""

    progressed = True

    def idle_timeout(self, written: float) -> None:
        return None

    def close(self, now: float) -> None:
        """Release nothing: the exchange holds nothing."""

    def receive(self, event: Event, now: float) -> list[Any]:
        match event:
            case RequestHeaders():
                return [Continue()]
            case RequestBody():
                return [Forward("/", "a", (), event.data)]
            case ResponseHeaders():
                return [Head(200, ())]
            case ResponseBody():
                return [Body(event.data, event.end_of_stream)]
        return []


def new_session() -> Session:
    return Session(lambda: ExtProcStream(Echo(), Clock(steady=lambda: 0.0), 10), lambda: SERVING, MESSAGE_BYTES, SMALL)


# Unusual frames


def block(path: bytes, *more: tuple[bytes, bytes]) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b"content-type", b"application/grpc")]
    return encoder.encode([*fields, *more])


def message(**fields: Any) -> bytes:
    data = pb.ProcessingRequest(**fields).SerializeToString()
    return struct.pack(">BL", 0, len(data)) + data


HEADERS_MESSAGE = message(request_headers=pb.HttpHeaders())
BODY_MESSAGE = message(request_body=pb.HttpBody(body=b"{}"))
RESPONSE = message(response_headers=pb.HttpHeaders()) + message(response_body=pb.HttpBody(body=b"x"))

PAYLOADS = st.sampled_from(
    [
        b"", b"\0", bytes(4), bytes(5), bytes(8), b"\xff" * 5,
        struct.pack(">L", 1), struct.pack(">L", frames.LARGEST), bytes(4_000),
        block(PROCESS), block(CHECK), block(b"/other"), block(PROCESS, (b"Bad", b"x")), block(PROCESS)[:-1],
        HEADERS_MESSAGE, BODY_MESSAGE, RESPONSE, HEADERS_MESSAGE[:-1], b"\1\0\0\0\0", struct.pack(">HL", 4, 10),
        struct.pack(">HL", 4, 2**31), struct.pack(">HL", 5, 20_000),
    ]
) | st.binary(max_size=40)  # fmt: skip

ODD_FRAMES = st.builds(
    frames.frame,
    st.integers(0, 10) | st.just(0x77),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D, 0xFF]),
    st.sampled_from([0, 1, 3, 5, 2, 7]),
    PAYLOADS,
)
USUAL_FRAMES = st.sampled_from(
    [
        *[frames.frame(frames.HEADERS, 4, i, block(PROCESS)) for i in (1, 3, 5, 7, 9)],
        *[frames.frame(frames.DATA, 0, i, one) for i in (1, 3) for one in (HEADERS_MESSAGE, BODY_MESSAGE, RESPONSE)],
        frames.frame(frames.DATA, 1, 1),
        frames.SETTINGS_ACK,
        frames.settings({4: 0}),
        frames.settings({4: 100_000}),
        frames.window_update(0, 1_000),
        frames.window_update(1, 1_000),
    ]
)
HELLO = frames.PREFACE + frames.settings({})
FRAMES = st.lists(ODD_FRAMES | USUAL_FRAMES | USUAL_FRAMES, max_size=30).map(b"".join)
BYTES = FRAMES.map(lambda data: HELLO + data) | st.binary(max_size=200).map(lambda data: HELLO + data)
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    parsed = []
    for cut in cuts * (len(data) // sum(cuts) + 1):
        parsed.append(data[:cut])
        data = data[cut:]
    return [piece for piece in [*parsed, data] if piece]


def frames_of(data: bytes) -> list[hf.Frame]:
    """Return the output as frames."""
    parsed = []
    while data:
        one, length = hf.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        assert len(data) >= 9 + length
        parsed.append(one)
        data = data[9 + length :]
    return parsed


@given(BYTES, CUTS)
def test_any_bytes_have_the_same_result_whole_and_in_pieces(data: bytes, cuts: list[int]) -> None:
    whole, cut, single = Connection(SMALL), Connection(SMALL), Connection(SMALL)
    events = whole.receive(data)
    assert [event for piece in pieces(data, cuts) for event in cut.receive(piece)] == events
    assert [event for piece in pieces(data, [1]) for event in single.receive(piece)] == events
    output = b"".join(whole.data_to_send())
    assert b"".join(cut.data_to_send()) == b"".join(single.data_to_send()) == output
    frames_of(output)


@given(BYTES, CUTS)
def test_the_session_responds_to_any_bytes_with_frames_and_never_raises(data: bytes, cuts: list[int]) -> None:
    session = new_session()
    output = b"".join(session.data_to_send())
    for piece in pieces(data, cuts):
        session.receive(piece)
        session.tick()
        session.changed()
        output += b"".join(session.data_to_send())
    written = frames_of(output)
    if isinstance(session.connection.fault, Http2ConnectionError):
        assert isinstance(written[-1], hf.GoAwayFrame)
        assert session.connection.closed
        assert session.calls == 0
    ends = [one.stream_id for one in written if "END_STREAM" in one.flags]
    assert len(ends) == len(set(ends)), "a stream ends once"


@given(st.data())
def test_a_legal_conversation_with_any_bytes_changed_never_raises(data: st.DataObject) -> None:
    legal = HELLO + frames.SETTINGS_ACK + frames.frame(frames.HEADERS, 4, 1, block(PROCESS))
    for one in (HEADERS_MESSAGE, BODY_MESSAGE, RESPONSE):
        legal += frames.frame(frames.DATA, 0, 1, one)
    changed = bytearray(legal)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(24, len(changed) - 1))] = data.draw(st.integers(0, 255))
    session = new_session()
    session.receive(bytes(changed))
    frames_of(b"".join(session.data_to_send()))


# A client that keeps to the rules, and holds the server to them


class Conversation(RuleBasedStateMachine):
    """h2 against a session: any number of calls, each sent in any pieces, read as slowly as possible."""

    def __init__(self) -> None:
        super().__init__()
        self.session = new_session()
        config = h2.config.H2Configuration(client_side=True)
        self.client = h2.connection.H2Connection(config)
        self.window = 0
        self.client.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = self.window
        self.client.local_settings.acknowledge()
        self.client.initiate_connection()
        self.unsent = b""
        self.waiting: dict[int, bytes] = {}
        """Bytes of each open call that are still to be sent."""
        self.sent: dict[int, bytes] = {}
        self.received: dict[int, bytes] = {}
        self.ended: dict[int, dict[bytes, bytes]] = {}
        self.unread: list[tuple[int, int]] = []
        self.done: set[int] = set()

    def exchange(self, cut: int) -> None:
        """Pass the client's bytes on, in pieces of `cut` bytes, and receive the output."""
        self.unsent += self.client.data_to_send()
        for piece in pieces(self.unsent, [cut]):
            self.session.receive(piece)
        self.unsent = b""
        for event in self.client.receive_data(b"".join(self.session.data_to_send())):
            assert not isinstance(event, h2.events.ConnectionTerminated), self.session.connection.fault
            if isinstance(event, h2.events.DataReceived):
                self.received[event.stream_id] += event.data
                self.unread.append((event.stream_id, event.flow_controlled_length))
            if isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
                fields = dict(event.headers)
                if b"grpc-status" in fields:
                    self.ended[event.stream_id] = fields

    @precondition(lambda self: len(self.waiting) < SMALL.streams and not self.done & set(self.waiting))
    @rule()
    def open(self) -> None:
        if self.client.open_outbound_streams >= SMALL.streams:
            return
        call = self.client.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", PROCESS.decode()), (":authority", "e")]
        self.client.send_headers(call, [*fields, ("content-type", "application/grpc")])
        self.waiting[call] = HEADERS_MESSAGE + BODY_MESSAGE + message(response_headers=pb.HttpHeaders())
        self.received[call] = self.sent[call] = b""

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), size=st.sampled_from([0, 1, 100, 9_000, 18_000]))
    def send_piece(self, data: st.DataObject, size: int) -> None:
        call = data.draw(st.sampled_from(sorted(self.waiting)))
        body = bytes((len(self.sent[call]) + index) % 251 for index in range(size))
        self.sent[call] += body
        self.waiting[call] += message(response_body=pb.HttpBody(body=body))

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data(), size=st.integers(1, 16_384), padding=st.none() | st.integers(0, 20))
    def send(self, data: st.DataObject, size: int, padding: int | None) -> None:
        call = data.draw(st.sampled_from(sorted(call for call, rest in self.waiting.items() if rest)))
        room = min(self.client.local_flow_control_window(call), self.client.max_outbound_frame_size)
        size = min(size, room - (0 if padding is None else padding + 1))
        if size > 0:
            self.client.send_data(call, self.waiting[call][:size], pad_length=padding)
            self.waiting[call] = self.waiting[call][size:]

    @rule(cut=st.sampled_from([1, 3, 9, 100, 100_000]))
    def flush(self, cut: int) -> None:
        self.exchange(cut)

    @precondition(lambda self: self.unread)
    @rule()
    def read(self) -> None:
        for call, size in self.unread:
            self.client.acknowledge_received_data(size, call)
        self.unread.clear()

    @rule(more=st.sampled_from([1, 10, 5_000]))
    def settings(self, more: int) -> None:
        """Increase the window: h2 rejects one below 0 (the unit tests have that case)."""
        self.window += more
        self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self.window})

    @rule()
    def ping(self) -> None:
        self.client.ping(b"12345678")

    @rule()
    def tick(self) -> None:
        self.session.tick()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        self.exchange(100_000)
        call = data.draw(st.sampled_from(sorted(self.waiting)))
        self.client.reset_stream(call, 8)
        del self.waiting[call]

    @precondition(lambda self: any(not rest for rest in self.waiting.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(sorted(call for call, rest in self.waiting.items() if not rest)))
        self.client.end_stream(call)
        del self.waiting[call]
        self.done.add(call)

    @invariant()
    def bodies_come_back_unchanged(self) -> None:
        for call, data in self.received.items():
            assert self.sent[call].startswith(body_of(data))

    @invariant()
    def only_ended_calls_end(self) -> None:
        assert set(self.ended) <= self.done
        assert all(fields[b"grpc-status"] == b"0" for fields in self.ended.values())

    def teardown(self) -> None:
        """Check that a client that reads everything receives everything."""
        self.settings(65_535)
        for _ in range(200):
            self.exchange(100_000)
            if not self.unread:
                break
            self.read()
        for call in self.done:
            assert body_of(self.received[call]) == self.sent[call]
            assert call in self.ended


def body_of(data: bytes) -> bytes:
    """Return the body in the whole messages of `data`."""
    body = b""
    while len(data) >= 5:
        (size,) = struct.unpack_from(">xL", data)
        if len(data) < 5 + size:
            break
        output = pb.ProcessingResponse.FromString(data[5 : 5 + size])
        body += output.response_body.response.body_mutation.streamed_response.body
        data = data[5 + size :]
    return body


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    max_examples=settings().max_examples // 2, stateful_step_count=40, deadline=None, derandomize=True
)
