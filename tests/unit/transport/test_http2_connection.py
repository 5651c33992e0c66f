"""The server's side of HTTP/2, rule by rule; numbers are sections of RFC 9113. What it writes is read by hyperframe."""

import struct

import hyperframe.frame as hf
import pytest
from hpack import Decoder, Encoder

from extproc.transport.http2 import framing
from extproc.transport.http2.connection import HASTY_RESET, PATIENCE, Connection
from extproc.transport.http2.events import Data, Limits, Opened, Reset
from extproc.transport.http2.fields import Request
from extproc.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_UPDATE,
    Code,
    frame,
    settings,
    window_update,
)

FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/service/Method"),
    (":authority", "envoy"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
REQUEST = Request(b"POST", b"/service/Method", b"application/grpc", b"", None)
HELLO = PREFACE + settings({}) + SETTINGS_ACK
LIMITS = Limits(streams=4, stream_window=10_000, connection_window=70_000, frame_bytes=16_384, queue_bytes=100_000)


def number(value):
    return struct.pack(">L", value)


def block(fields=FIELDS):
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def opening(stream_id=1, flags=END_HEADERS, fields=FIELDS):
    return frame(HEADERS, flags, stream_id, block(fields))


def read(data):
    """The frames in `data`."""
    found = []
    while data:
        one, length = hf.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        assert len(data) >= 9 + length
        found.append(one)
        data = data[9 + length :]
    return found


class Peer:
    """A connection, and the client who has said hello."""

    def __init__(self, limits=LIMITS, greeting=HELLO):
        self.connection = Connection(limits)
        self.events = self.connection.receive(greeting)
        self.greeting = read(self.connection.take())

    def send(self, *data):
        """Give it these; gives the frames of its answer. The events are in `events`."""
        self.events = self.connection.receive(b"".join(data))
        return self.said()

    def said(self):
        return read(self.connection.take())

    def error(self, *data):
        """The code of the GOAWAY that these lead to; nothing is heard or said after it."""
        *_, last = self.send(*data)
        assert isinstance(last, hf.GoAwayFrame)
        assert self.connection.closed
        assert self.send(opening(99)) == []
        assert self.events == []
        assert last.error_code == self.connection.fault.code
        return Code(last.error_code)

    def stream_error(self, *data):
        """The stream and code of the RST_STREAM that these lead to."""
        *_, last = self.send(*data)
        assert isinstance(last, hf.RstStreamFrame)
        assert not self.connection.closed
        return last.stream_id, Code(last.error_code)


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
def opened():
    """A peer with the stream 1."""
    peer = Peer()
    peer.send(opening())
    assert peer.events == [Opened(1, REQUEST)]
    return peer


def kinds(frames):
    return [type(one).__name__.removesuffix("Frame") for one in frames]


class TestPreface:  # 3.4
    def test_ours_is_settings_and_a_wider_window(self):
        mine = Peer(Limits()).greeting
        assert kinds(mine) == ["Settings", "WindowUpdate", "Settings"]
        assert mine[0].settings[hf.SettingsFrame.HEADER_TABLE_SIZE] == 0
        assert mine[1].window_increment + 65_535 == Limits().connection_window
        assert "ACK" in mine[2].flags

    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"])
    def test_what_is_no_preface_is_an_error_at_once(self, said):
        peer = Peer(greeting=b"")
        assert peer.error(said) is Code.PROTOCOL_ERROR

    def test_a_piece_of_it_is_waited_for(self):
        peer = Peer(greeting=PREFACE[:10])
        assert not peer.connection.closed
        assert kinds(peer.send(PREFACE[10:] + settings({}))) == ["Settings"]

    @pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), opening(), SETTINGS_ACK])
    def test_it_goes_on_with_settings(self, first):
        assert Peer(greeting=PREFACE).error(first) is Code.PROTOCOL_ERROR


CONNECTION_ERRORS = [
    ("4.2 frame size", frame(DATA, 0, 1, bytes(16_385)), Code.FRAME_SIZE_ERROR),
    ("4.2 frame size, unknown type", frame(77, 0, 1, bytes(16_385)), Code.FRAME_SIZE_ERROR),
    ("4.3 not HPACK", frame(HEADERS, END_HEADERS, 1, b"\xff" * 20), Code.COMPRESSION_ERROR),
    ("4.3 cut off HPACK", frame(HEADERS, END_HEADERS, 1, b"\x00\x0aabc"), Code.COMPRESSION_ERROR),
    ("5.1 DATA when idle", frame(DATA, 0, 1), Code.PROTOCOL_ERROR),
    ("5.1 RST_STREAM when idle", frame(RST_STREAM, 0, 1, number(8)), Code.PROTOCOL_ERROR),
    ("5.1 WINDOW_UPDATE when idle", window_update(1, 1), Code.PROTOCOL_ERROR),
    ("5.1.1 even stream id", opening(2), Code.PROTOCOL_ERROR),
    ("5.1.1 stream id passed over", opening(5) + opening(3), Code.PROTOCOL_ERROR),
    ("6.1 DATA on 0", frame(DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    ("6.1 padding too long", opening() + frame(DATA, PADDED, 1, b"\x06abcde"), Code.PROTOCOL_ERROR),
    ("6.1 padding without length", opening() + frame(DATA, PADDED, 1), Code.PROTOCOL_ERROR),
    ("6.2 HEADERS on 0", opening(0), Code.PROTOCOL_ERROR),
    ("6.2 padding too long", frame(HEADERS, PADDED | END_HEADERS, 1, b"\xff" + block()), Code.PROTOCOL_ERROR),
    ("6.2 no room for priority", frame(HEADERS, PRIORITISED | END_HEADERS, 1, b"abc"), Code.FRAME_SIZE_ERROR),
    ("6.2 another frame in a block", opening(flags=0) + frame(PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    ("6.2 unknown frame in a block", opening(flags=0) + frame(99, 0, 1), Code.PROTOCOL_ERROR),
    ("6.3 PRIORITY on 0", frame(PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    ("6.4 RST_STREAM on 0", frame(RST_STREAM, 0, 0, number(8)), Code.PROTOCOL_ERROR),
    ("6.4 RST_STREAM size", opening() + frame(RST_STREAM, 0, 1, b"abc"), Code.FRAME_SIZE_ERROR),
    ("6.5 SETTINGS of a stream", frame(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    ("6.5 SETTINGS size", frame(SETTINGS, 0, 0, b"abcde"), Code.FRAME_SIZE_ERROR),
    ("6.5 ACK with settings", frame(SETTINGS, ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    ("6.5.2 ENABLE_PUSH", settings({2: 2}), Code.PROTOCOL_ERROR),
    ("6.5.2 INITIAL_WINDOW_SIZE", settings({4: 2**31}), Code.FLOW_CONTROL_ERROR),
    ("6.5.2 MAX_FRAME_SIZE low", settings({5: 16_383}), Code.PROTOCOL_ERROR),
    ("6.5.2 MAX_FRAME_SIZE high", settings({5: 2**24}), Code.PROTOCOL_ERROR),
    ("6.6 PUSH_PROMISE", opening() + frame(PUSH_PROMISE, END_HEADERS, 1, number(2)), Code.PROTOCOL_ERROR),
    ("6.7 PING of a stream", frame(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    ("6.7 PING size", frame(PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    ("6.8 GOAWAY of a stream", frame(GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    ("6.8 GOAWAY size", frame(GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE by 0", window_update(0, 0), Code.PROTOCOL_ERROR),
    ("6.9 WINDOW_UPDATE size", frame(WINDOW_UPDATE, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
    ("6.9.1 window overflow", window_update(0, LARGEST), Code.FLOW_CONTROL_ERROR),
    ("6.9.2 overflow by settings", opening() + window_update(1, LARGEST - 65_535) + settings({4: 65_536}),
     Code.FLOW_CONTROL_ERROR),
    ("6.10 CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1), Code.PROTOCOL_ERROR),
    ("6.10 CONTINUATION of another", opening(flags=0) + frame(CONTINUATION, END_HEADERS, 3), Code.PROTOCOL_ERROR),
    ("6.10 CONTINUATION after the end", opening() + frame(CONTINUATION, END_HEADERS, 1), Code.PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code"), [rule[1:] for rule in CONNECTION_ERRORS], ids=[r[0] for r in CONNECTION_ERRORS]
)
def test_connection_errors(data, code, peer):
    assert peer.error(data) is code


END = frame(DATA, END_STREAM, 1)
STREAM_ERRORS = [
    ("5.1 DATA after the end", opening() + END + frame(DATA, 0, 1, b"x"), Code.STREAM_CLOSED),
    ("5.1 HEADERS after the end", opening() + END + opening(flags=END_HEADERS | END_STREAM), Code.STREAM_CLOSED),
    ("5.1 DATA after a reset", opening() + frame(RST_STREAM, 0, 1, number(8)) + frame(DATA, 0, 1), Code.STREAM_CLOSED),
    ("6.3 PRIORITY size", opening() + frame(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE by 0", opening() + window_update(1, 0), Code.PROTOCOL_ERROR),
    ("6.9.1 window overflow", opening() + window_update(1, LARGEST), Code.FLOW_CONTROL_ERROR),
    ("6.9.1 more than the window", opening() + frame(DATA, 0, 1, bytes(10_001)), Code.FLOW_CONTROL_ERROR),
    ("8.1 trailers without an end", opening() + opening(fields=[("a", "b")]), Code.PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code"), [rule[1:] for rule in STREAM_ERRORS], ids=[rule[0] for rule in STREAM_ERRORS]
)
def test_stream_errors_leave_the_connection(data, code, peer):
    assert peer.stream_error(data) == (1, code)
    peer.send(opening(3))
    assert peer.events == [Opened(3, REQUEST)]


class TestMalformed:  # 8.1.1: a stream error PROTOCOL_ERROR
    @pytest.mark.parametrize(
        "fields",
        [
            [*FIELDS, ("Upper", "case")],  # 8.2.1
            [*FIELDS, ("sp ace", "x")],
            [*FIELDS, ("", "x")],
            [*FIELDS, ("name", "a\nb")],
            [*FIELDS, ("name", "a\0b")],
            [*FIELDS, ("name", " a")],
            [*FIELDS, ("name", "a\t")],
            [*FIELDS, ("connection", "close")],  # 8.2.2
            [*FIELDS, ("transfer-encoding", "chunked")],
            [*FIELDS, ("te", "gzip")],
            [*FIELDS, (":path", "/late")],  # 8.3
            [(":path", "/twice"), *FIELDS],
            [(":status", "200"), *FIELDS],
            [(":unknown", "x"), *FIELDS],
            FIELDS[1:],  # 8.3.1
            [FIELDS[0], *FIELDS[2:]],
            [*FIELDS[:2], *FIELDS[3:]],
            [*FIELDS[:2], (":path", ""), *FIELDS[3:]],
            [*FIELDS, ("content-length", "five")],
        ],
    )
    def test_fields_that_http2_forbids(self, fields, peer):
        encoder = Encoder()
        encoder.header_table_size = 0
        data = frame(HEADERS, END_HEADERS, 1, encoder.encode([(n.encode(), v.encode()) for n, v in fields]))
        assert peer.stream_error(data) == (1, Code.PROTOCOL_ERROR)
        assert peer.events == []

    def test_pseudo_headers_in_trailers(self, opened):
        trailers = opening(flags=END_HEADERS | END_STREAM, fields=[(":path", "/")])
        assert opened.stream_error(trailers) == (1, Code.PROTOCOL_ERROR)

    @pytest.mark.parametrize("sent", [[b"1234"], [b"123456"], [b"123", b"456"], []])
    def test_data_that_is_not_as_long_as_it_said(self, sent, peer):
        start = opening(fields=[*FIELDS, ("content-length", "5")])
        pieces = [frame(DATA, 0, 1, data) for data in sent]
        assert peer.stream_error(start, *pieces, END) == (1, Code.PROTOCOL_ERROR)

    def test_data_that_is(self, peer):
        peer.send(opening(fields=[*FIELDS, ("content-length", "5")]), frame(DATA, 0, 1, b"123"))
        peer.send(frame(DATA, END_STREAM, 1, b"45"))
        assert peer.events == [Data(1, b"45", True)]


class TestStreams:
    def test_data_and_the_end(self, opened):
        opened.send(frame(DATA, 0, 1, b"abc"), frame(DATA, END_STREAM, 1, b"d"))
        assert opened.events == [Data(1, b"abc", False), Data(1, b"d", True)]

    def test_headers_that_end_it(self, peer):
        peer.send(opening(flags=END_HEADERS | END_STREAM))
        assert peer.events == [Opened(1, REQUEST), Data(1, b"", True)]

    def test_trailers_end_it(self, opened):
        opened.send(opening(flags=END_HEADERS | END_STREAM, fields=[("x", "y")]))
        assert opened.events == [Data(1, b"", True)]

    def test_padding_and_priority_are_taken_off(self, peer):
        body = b"\x03" + bytes(5) + block() + bytes(3)
        peer.send(frame(HEADERS, PADDED | PRIORITISED | END_HEADERS, 1, body), frame(DATA, PADDED, 1, b"\x02abc\0\0"))
        assert peer.events == [Opened(1, REQUEST), Data(1, b"abc", False)]

    def test_a_block_may_be_cut_anywhere(self, peer):
        whole = block()
        pieces = [frame(CONTINUATION, 0, 1, whole[i : i + 1]) for i in range(1, 40)]
        last = frame(CONTINUATION, END_HEADERS, 1, whole[40:])
        peer.send(frame(HEADERS, END_STREAM, 1, whole[:1]), *pieces, last)
        assert peer.events == [Opened(1, REQUEST), Data(1, b"", True)]

    def test_a_reset_is_told(self, opened):
        assert opened.send(frame(RST_STREAM, 0, 1, number(8))) == []
        assert opened.events == [Reset(1, 8)]
        opened.connection.send(1, b"too late")
        opened.connection.end(1, framing.OK_TRAILERS)
        assert opened.said() == []

    def test_more_streams_than_agreed_are_refused(self, peer):  # 5.1.2
        peer.send(*[opening(i) for i in (1, 3, 5, 7)])
        assert peer.stream_error(opening(9)) == (9, Code.REFUSED_STREAM)
        peer.send(frame(RST_STREAM, 0, 3, number(8)), opening(11))
        assert peer.events == [Reset(3, 8), Opened(11, REQUEST)]

    def test_an_answer(self, opened):
        opened.send(END)
        opened.connection.begin(1, framing.HEAD)
        opened.connection.send(1, b"data")
        opened.connection.end(1, framing.OK_TRAILERS)
        head, data, trailers = opened.said()
        assert Decoder().decode(head.data) == [(":status", "200"), ("content-type", "application/grpc")]
        assert data.data == b"data"
        assert Decoder().decode(trailers.data) == [("grpc-status", "0")]
        assert trailers.flags == {"END_HEADERS", "END_STREAM"}

    def test_an_answer_before_the_client_has_ended_lets_it_off(self, opened):  # 8.1
        opened.connection.end(1, framing.HEAD)
        assert [type(one) for one in opened.said()] == [hf.HeadersFrame, hf.RstStreamFrame]
        late = (frame(DATA, 0, 1, b"x"), opening(flags=END_HEADERS | END_STREAM), frame(RST_STREAM, 0, 1, number(8)))
        assert opened.send(*late, window_update(1, 5)) == []
        assert opened.events == []

    def test_headers_of_a_closed_stream_are_a_connection_error(self, opened):  # 5.1
        opened.send(END)
        opened.connection.end(1, framing.HEAD)
        opened.said()
        assert opened.error(opening()) is Code.STREAM_CLOSED

    def test_what_is_unknown_or_of_no_effect_is_passed_over(self, opened):  # 4.1, 5.3.2, 6.5.2
        unknown = (frame(77, 0xFF, 1, b"?"), settings({0x99: 5}), frame(PRIORITY, 0, 7, bytes(5)))
        assert kinds(opened.send(*unknown, frame(GOAWAY, 0, 0, bytes(8)))) == ["Settings"]
        assert opened.events == []

    def test_a_ping_is_answered_and_an_answer_is_not(self, peer):  # 6.7
        (answer,) = peer.send(frame(PING, 0, 0, b"12345678"))
        assert (answer.opaque_data, answer.flags) == (b"12345678", {"ACK"})
        assert peer.send(frame(PING, ACK, 0, b"12345678")) == []


class TestHpack:
    def test_until_the_client_agrees_the_table_is_kept(self):
        peer = Peer(greeting=PREFACE + settings({}))
        encoder = Encoder()
        blocks = [encoder.encode(FIELDS) for _ in range(3)]
        assert blocks[0] != blocks[1]
        for index, data in enumerate(blocks):
            peer.send(frame(HEADERS, END_HEADERS, 2 * index + 1, data))
            assert peer.events == [Opened(2 * index + 1, REQUEST)]

    def test_once_it_has_it_must_not_use_one(self):
        peer = Peer(greeting=PREFACE + settings({}))
        encoder = Encoder()
        peer.send(frame(HEADERS, END_HEADERS, 1, encoder.encode(FIELDS)), SETTINGS_ACK)
        assert peer.error(frame(HEADERS, END_HEADERS, 3, encoder.encode(FIELDS))) is Code.COMPRESSION_ERROR

    def test_a_block_that_came_before_means_the_same(self, peer):
        other = [(name, "/other" if name == ":path" else value) for name, value in FIELDS]
        peer.send(opening(1), opening(3, fields=other), opening(5))
        assert [event.request.path for event in peer.events] == [REQUEST.path, b"/other", REQUEST.path]

    def test_until_then_the_same_block_may_mean_another_thing(self):
        peer = Peer(greeting=PREFACE + settings({}))
        start = b"\x83\x86"  # POST, http; then a :path that goes into the table, or the newest that is in it
        blocks = [start + b"\x44\x02/a", start + b"\xbe", start + b"\x44\x02/b", start + b"\xbe"]
        peer.send(*[frame(HEADERS, END_HEADERS, 2 * index + 1, data) for index, data in enumerate(blocks)])
        assert [event.request.path for event in peer.events] == [b"/a", b"/a", b"/b", b"/b"]

    def test_blocks_of_streams_that_are_refused_count_for_the_table(self):  # 4.3
        peer = Peer(greeting=PREFACE + settings({}))
        encoder = Encoder()
        peer.send(*[frame(HEADERS, END_HEADERS, i, encoder.encode(FIELDS)) for i in (1, 3, 5, 7)])
        added = encoder.encode([*FIELDS, ("x-added", "here")])
        assert peer.stream_error(frame(HEADERS, END_HEADERS, 9, added)) == (9, Code.REFUSED_STREAM)
        trailers = encoder.encode([("x-added", "here")])
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
        assert peer.events == [Data(1, b"", True)]


class TestFlowControl:
    def test_what_the_windows_do_not_allow_waits(self, opened):  # 6.9
        opened.send(settings({INITIAL_WINDOW_SIZE: 10}))
        opened.connection.begin(1, framing.HEAD)
        opened.connection.send(1, b"0123456789abcdef")
        opened.connection.end(1, framing.OK_TRAILERS)
        assert [getattr(one, "data", None) for one in opened.said()] == [framing.HEAD, b"0123456789"]
        assert (opened.connection.queued, opened.connection.blocked(1)) == (6, True)
        assert [one.data for one in opened.send(window_update(1, 2))] == [b"ab"]
        *_, data, trailers, _ = opened.send(window_update(1, 100))
        assert (data.data, trailers.data) == (b"cdef", framing.OK_TRAILERS)
        assert (opened.connection.queued, opened.connection.blocked(1)) == (0, False)

    def test_the_connections_window_counts_for_all_and_they_take_turns(self):
        peer = Peer()
        peer.send(opening(1), opening(3), settings({INITIAL_WINDOW_SIZE: LARGEST}))
        for stream_id in (1, 3):
            peer.connection.begin(stream_id, framing.HEAD)
            peer.connection.send(stream_id, bytes(65_535))
        assert sum(len(one.data) for one in peer.said() if isinstance(one, hf.DataFrame)) == 65_535
        for stream_id in (3, 3):
            (data,) = peer.send(window_update(0, 100))
            assert (data.stream_id, len(data.data)) == (stream_id, 100)

    def test_what_waits_stays_in_its_order(self, opened):
        opened.send(settings({INITIAL_WINDOW_SIZE: 0}))
        opened.connection.begin(1, framing.HEAD)
        for piece in (b"abcdef", b"ghi", b"jklmno"):
            opened.connection.send(1, piece)
        opened.said()
        assert b"".join(one.data for _ in range(8) for one in opened.send(window_update(1, 2))) == b"abcdefghijklmno"

    def test_settings_may_make_a_window_negative(self, opened):  # 6.9.2
        opened.connection.begin(1, framing.HEAD)
        opened.connection.send(1, bytes(60_000))
        opened.said()
        assert kinds(opened.send(settings({INITIAL_WINDOW_SIZE: 50_000}))) == ["Settings"]
        opened.connection.send(1, b"x")
        assert opened.said() == []
        assert opened.send(window_update(1, 10_000)) == []
        assert [one.data for one in opened.send(window_update(1, 1))] == [b"x"]

    def test_new_settings_are_acknowledged_before_they_are_used(self, opened):
        opened.send(settings({INITIAL_WINDOW_SIZE: 0}))
        opened.connection.begin(1, framing.HEAD)
        opened.connection.send(1, b"x")
        opened.said()
        assert kinds(opened.send(settings({INITIAL_WINDOW_SIZE: 5}))) == ["Settings", "Data"]

    def test_frames_are_as_large_as_the_client_takes(self, opened):  # 4.2
        opened.connection.begin(1, framing.HEAD)
        opened.connection.send(1, bytes(40_000))
        assert [len(one.data) for one in opened.said()[1:]] == [16_384, 16_384, 7_232]
        opened.send(settings({MAX_FRAME_SIZE: 20_000}), window_update(1, 10_000))
        opened.connection.send(1, bytes(20_000))
        assert [len(one.data) for one in opened.said()] == [20_000]

    def test_what_is_heard_is_given_back(self):
        peer = Peer(Limits(stream_window=10_000, connection_window=70_000))
        peer.send(opening())
        heard = {0: 0, 1: 0}
        for _ in range(100):
            for one in peer.send(frame(DATA, 0, 1, bytes(1000))):
                heard[one.stream_id] += one.window_increment
        assert 100_000 - 10_000 <= heard[1] <= 100_000
        assert 100_000 - 70_000 <= heard[0] <= 100_000

    def test_padding_and_data_of_closed_streams_count(self, peer):  # 6.1, 6.9
        peer.send(opening())
        peer.connection.end(1, framing.HEAD)
        padded = frame(DATA, PADDED, 1, b"\xff" + bytes(300))
        assert any(isinstance(one, hf.WindowUpdateFrame) for _ in range(150) for one in peer.send(padded))

    def test_more_than_the_connections_window_is_an_error(self):
        peer = Peer(Limits(stream_window=LARGEST, connection_window=70_000, frame_bytes=1 << 20))
        assert peer.error(opening(), frame(DATA, 0, 1, bytes(70_001))) is Code.FLOW_CONTROL_ERROR

    def test_a_client_that_does_not_read_may_not_go_on_writing(self):
        peer = Peer(Limits(stream_window=10_000, connection_window=70_000, queue_bytes=50_000))
        peer.send(opening(), settings({INITIAL_WINDOW_SIZE: 0}))
        peer.connection.begin(1, framing.HEAD)
        peer.connection.send(1, bytes(50_001))
        peer.said()
        assert peer.send(*[frame(DATA, 0, 1, bytes(1000)) for _ in range(10)]) == []
        assert peer.stream_error(frame(DATA, 0, 1, b"x")) == (1, Code.FLOW_CONTROL_ERROR)

    def test_and_may_once_it_has_read(self):
        peer = Peer(Limits(stream_window=10_000, connection_window=70_000, queue_bytes=50_000))
        peer.send(opening(), settings({INITIAL_WINDOW_SIZE: 0}))
        peer.connection.begin(1, framing.HEAD)
        peer.connection.send(1, bytes(50_001))
        peer.send(*[frame(DATA, 0, 1, bytes(1000)) for _ in range(10)])
        *_, update = peer.send(window_update(1, 60_000))
        assert (update.stream_id, update.window_increment) == (1, 10_000)

    def test_what_waits_is_forgotten_with_its_stream(self, opened):
        opened.send(settings({INITIAL_WINDOW_SIZE: 0}))
        opened.connection.begin(1, framing.HEAD)
        opened.connection.send(1, bytes(5000))
        opened.send(frame(RST_STREAM, 0, 1, number(8)))
        assert opened.connection.queued == 0
        assert opened.send(window_update(0, 5000)) == []


ANNOYANCES = {
    "PING": frame(PING, 0, 0, bytes(8)),
    "PING answers": frame(PING, ACK, 0, bytes(8)),
    "SETTINGS": settings({}),
    "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)),
    "empty DATA": frame(DATA, 0, 1),
    "padding": frame(DATA, PADDED, 1, b"\0"),
    "WINDOW_UPDATE": window_update(1, 1),
    "unknown": frame(77, 0, 0),
    "GOAWAY": frame(GOAWAY, 0, 0, bytes(8)),
    "resets of what is closed": frame(RST_STREAM, 0, 3, number(8)),
    "DATA after the end": frame(DATA, 0, 3, b"x"),
}


class TestFloods:  # 10.5
    @pytest.mark.parametrize("data", ANNOYANCES.values(), ids=ANNOYANCES)
    def test_frames_that_bring_nothing_are_borne_for_a_while(self, data):
        peer = Peer(Limits())
        peer.send(opening(1), opening(3, flags=END_HEADERS | END_STREAM), frame(RST_STREAM, 0, 3, number(8)))
        peer.connection.forgive()
        peer.send(data * (PATIENCE // 2 - 1))
        assert not peer.connection.closed
        assert peer.error(data * PATIENCE) is Code.ENHANCE_YOUR_CALM

    def test_they_are_forgiven_in_time(self, peer):
        for _ in range(5):
            peer.connection.forgive()
            peer.send(frame(PING, 0, 0, bytes(8)) * PATIENCE)
        assert not peer.connection.closed

    def test_they_are_made_good_by_data(self, opened):
        for _ in range(2 * PATIENCE):
            opened.send(frame(PING, 0, 0, bytes(8)) * 4, frame(DATA, 0, 1, b"x"))
        assert not opened.connection.closed

    def test_rapid_reset(self):
        peer = Peer(Limits())
        quick = [opening(i) + frame(RST_STREAM, 0, i, number(8)) for i in range(1, 2 * PATIENCE, 2)]
        assert peer.error(*quick) is Code.ENHANCE_YOUR_CALM
        assert len(peer.connection._streams) <= 1
        assert peer.connection._last <= 2 * PATIENCE / HASTY_RESET + 2

    def test_resets_of_what_was_answered_are_usual(self):
        peer = Peer(Limits())
        for stream_id in range(1, 4 * PATIENCE, 2):
            peer.send(opening(stream_id), frame(DATA, 0, stream_id, b"x"))
            peer.connection.begin(stream_id, framing.HEAD)
            peer.send(frame(RST_STREAM, 0, stream_id, number(8)))
        assert not peer.connection.closed
        assert len(peer.connection._closed) <= 256

    @pytest.mark.parametrize("piece", [b"", b"x", bytes(16_384)])
    def test_continuation(self, piece, peer):
        data = frame(CONTINUATION, 0, 1, piece)
        assert peer.error(opening(flags=0), *[data] * 100) is Code.ENHANCE_YOUR_CALM

    def test_a_header_list_that_is_too_large_unpacked(self):
        assert Peer(Limits()).error(opening(fields=[*FIELDS, *[("x", "y" * 100)] * 600])) is Code.ENHANCE_YOUR_CALM


class TestLeaving:
    def test_first_all_streams_are_still_taken_and_then_none(self, opened):  # 6.8
        opened.connection.go()
        first, ping = opened.said()
        assert (first.last_stream_id, first.error_code) == (LARGEST, 0)
        opened.send(opening(3))
        assert opened.events == [Opened(3, REQUEST)]
        (second,) = opened.send(frame(PING, ACK, 0, ping.opaque_data))
        assert second.last_stream_id == 3
        assert opened.send(opening(5), frame(DATA, 0, 5, b"x")) == []
        assert opened.events == []

    def test_it_closes_with_the_last_stream(self, opened):
        opened.connection.finish()
        opened.send(frame(DATA, END_STREAM, 1, b"x"))
        assert opened.events == [Data(1, b"x", True)]
        opened.connection.begin(1, framing.HEAD)
        assert not opened.connection.closed
        opened.connection.end(1, framing.OK_TRAILERS)
        assert opened.connection.closed
        assert kinds(opened.said())[-1] == "Headers"

    def test_without_streams_it_closes_at_once(self, peer):
        peer.connection.finish()
        assert peer.connection.closed
        assert kinds(peer.said()) == ["GoAway"]


def test_an_answer_waits_for_its_window_and_the_connection_for_it():
    peer = Peer()
    peer.send(opening(), settings({INITIAL_WINDOW_SIZE: 0}))
    peer.connection.begin(1, framing.HEAD)
    peer.connection.send(1, b"x")
    peer.connection.end(1, framing.OK_TRAILERS)
    peer.connection.finish()
    assert kinds(peer.said()) == ["Headers", "GoAway"]
    assert not peer.connection.closed
    assert kinds(peer.send(window_update(1, 1))) == ["Data", "Headers", "RstStream"]
    assert peer.connection.closed
