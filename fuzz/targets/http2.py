"""The HTTP/2 connection and the gRPC session over it (extproc.transport.http2).

Invariants: whatever bytes come, in whatever pieces, the events are the same; a fault is answered with its code and
never an exception; a call ends with OK only when the client ended it first, between two messages.

Oracles: hyperframe reads everything that is written; where h2 accepts all of the input and so does the connection, the
requests and the data of each stream are those that h2 reads.

The first byte of an input selects how the rest is read: as bytes after the preface, or as frames to be made right
lengths and header blocks.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.exceptions
import hyperframe.frame
from hpack import Encoder

from extproc.exchange.directives import Body, Continue, Forward, Head
from extproc.exchange.events import Event, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.health_protocol import SERVING
from extproc.transport.http2 import frames
from extproc.transport.http2.connection import Connection
from extproc.transport.http2.events import ConnectionLimits, DataReceived, HeadersReceived
from extproc.transport.http2.session import CHECK, PROCESS, Session
from extproc.transport.stream import Clock, ExtProcStream
from fuzz.targets.reading import Choices, single_bytes

SMALL = ConnectionLimits(
    streams=3,
    stream_window=65_535,
    connection_window=70_000,
    frame_bytes=16_384,
    header_bytes=2_000,
    queue_bytes=20_000,
)
MESSAGE_BYTES = 20_000
HELLO = frames.PREFACE + frames.settings({})
STREAMS = (0, 1, 3, 5, 7, 2)


class Echo:
    """An exchange that gives each piece of a response back."""

    progressed = True

    def idle_timeout(self, written: float) -> float | None:
        """Return None: silence is of no interest."""

    def close(self, now: float) -> None:
        """Hold nothing to be released."""

    def receive(self, event: Event, now: float) -> Sequence[Any]:
        """Return what keeps the dialogue going."""
        match event:
            case RequestHeaders():
                return [Continue()]
            case RequestBody():
                return [Forward("/", "a", (), bytes(event.data))]
            case ResponseHeaders():
                return [Head(200, ())]
            case ResponseBody():
                return [Body(event.data, event.end_of_stream)]
        return []


def _block(path: bytes, *more: tuple[bytes, bytes]) -> bytes:
    encoder = Encoder()
    encoder.header_table_size = 0
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b"content-type", b"application/grpc")]
    block: bytes = encoder.encode([*fields, *more])
    return block


def _message(**fields: Any) -> bytes:
    data = pb.ProcessingRequest(**fields).SerializeToString()
    return struct.pack(">BL", 0, len(data)) + data


MESSAGES = (
    _message(request_headers=pb.HttpHeaders()),
    _message(request_body=pb.HttpBody(body=b"{}")),
    _message(response_headers=pb.HttpHeaders()),
    _message(response_body=pb.HttpBody(body=b"x")),
)
PAYLOADS = (
    _block(PROCESS),
    _block(CHECK),
    _block(b"/other"),
    _block(PROCESS, (b"Bad", b"x")),
    _block(PROCESS, (b"te", b"trailers")),
    *MESSAGES,
    b"".join(MESSAGES),
    bytes(5),
    bytes(8),
    struct.pack(">L", 8),
    struct.pack(">HL", 4, 0),
    struct.pack(">HL", 4, 100_000),
    struct.pack(">HL", 1, 0),
    struct.pack(">L", frames.LARGEST),
)
WORDS = (*PAYLOADS[:9], frames.SETTINGS_ACK, frames.frame(frames.PING, 0, 0, bytes(8)), b"\x00\x00\x04\x08\x00")


def check(data: bytes) -> None:
    """Read at once and byte by byte, as a connection and as a session, and compare with h2."""
    received = HELLO + (data[1:] if data[:1] < b"\x80" else built(data[1:]))
    whole, cut = Connection(SMALL), Connection(SMALL)
    events = whole.receive(received)
    assert [event for piece in single_bytes(received) for event in cut.receive(piece)] == events, "cut bytes differ"
    written = b"".join(whole.data_to_send())
    assert b"".join(cut.data_to_send()) == written, "cut bytes are answered otherwise"
    parsed = frames_of(written)
    if whole.fault is not None:
        assert whole.closed
        assert isinstance(parsed[-1], hyperframe.frame.GoAwayFrame)
    else:
        _compare_with_h2(received, events, parsed)
    _converse(received)


def built(data: bytes) -> bytes:
    """Return frames of which type, flags, stream and payload are chosen by the input."""
    choices, stream = Choices(data), b""
    while choices.left:
        kind, flags, stream_id = choices.below(12), choices.byte(), STREAMS[choices.below(len(STREAMS))]
        select = choices.byte()
        payload = choices.piece() if select >= 0x80 else PAYLOADS[select % len(PAYLOADS)]
        stream += frames.frame(kind, flags, stream_id, payload)
    return stream


def seeds() -> Iterator[bytes]:
    """Yield a whole call, a health check, one call in many frames, and the bare frames of each type."""
    opened = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, PAYLOADS[0])
    for messages in (MESSAGES[:1], MESSAGES[:2], MESSAGES):
        yield b"\x00" + opened + frames.frame(frames.DATA, frames.END_STREAM, 1, b"".join(messages))
    yield b"\x00" + opened + b"".join(frames.frame(frames.DATA, 0, 1, one) for one in MESSAGES)
    yield b"\x00" + opened + frames.frame(frames.RST_STREAM, 0, 1, struct.pack(">L", 8))
    health = frames.frame(frames.HEADERS, frames.END_HEADERS, 3, PAYLOADS[1])
    yield b"\x00" + frames.SETTINGS_ACK + health + frames.frame(frames.DATA, frames.END_STREAM, 3, bytes(5))
    for kind in range(11):
        for select in (0, 9, 13):
            yield b"\x80" + bytes([1, 4, 1, 0]) + bytes([kind, 1, kind % 3, select])
    yield b"\x80" + bytes([1, 0, 1, 0x80, 0, 9, 4, 1, 0])


def frames_of(data: bytes) -> list[hyperframe.frame.Frame]:
    """Return what was written, which must be whole frames."""
    complete = []
    while data:
        one, length = hyperframe.frame.Frame.parse_frame_header(memoryview(data[:9]))
        assert len(data) >= 9 + length, "a frame is cut off"
        one.parse_body(memoryview(data[9 : 9 + length]))
        complete.append(one)
        data = data[9 + length :]
    return complete


def _converse(received: bytes) -> None:
    """Give a session the bytes in two ways; it must write frames, and end each stream once."""
    written = []
    for pieces in ([received], [received[start : start + 7] for start in range(0, len(received), 7)]):
        session = Session(
            lambda: ExtProcStream(Echo(), Clock(steady=lambda: 0.0), 10), lambda: SERVING, MESSAGE_BYTES, SMALL
        )
        out = b"".join(session.data_to_send())
        for piece in pieces:
            session.receive(piece)
            session.changed()
            out += b"".join(session.data_to_send())
        written.append(frames_of(out))
    for parsed in written:
        ends = [one.stream_id for one in parsed if "END_STREAM" in one.flags]
        assert len(ends) == len(set(ends)), "a stream ends twice"


def _compare_with_h2(received: bytes, events: Sequence[Any], parsed: Sequence[hyperframe.frame.Frame]) -> None:
    """Compare requests and data with those of h2, on the streams that neither has ended in error."""
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    server = h2.connection.H2Connection(config)
    server.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = SMALL.stream_window
    server.initiate_connection()
    try:
        theirs = server.receive_data(received)
    except (h2.exceptions.ProtocolError, hyperframe.exceptions.HyperframeError):
        return
    reset = {one.stream_id for one in parsed if isinstance(one, hyperframe.frame.RstStreamFrame)}
    reset |= {one.stream_id for one in theirs if isinstance(one, h2.events.StreamReset)}
    ours: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, HeadersReceived):
            ours[event.stream_id] = b""
        elif isinstance(event, DataReceived):
            ours[event.stream_id] += event.data
    read: dict[int, bytes] = {}
    for event in theirs:
        if isinstance(event, h2.events.RequestReceived):
            read[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            read[event.stream_id] += event.data
    for stream_id in (ours.keys() | read.keys()) - reset:
        assert ours.get(stream_id) == read.get(stream_id), f"h2 reads otherwise on stream {stream_id}"
