"""The server's side of HTTP/2, rule by rule; numbers are sections of RFC 9113. hyperframe reads its output."""

import struct

import hyperframe.frame as hf
import pytest
from hpack import Decoder, Encoder

from extproc.transport.http2 import framing
from extproc.transport.http2.events import ConnectionLimits, DataReceived, HeadersReceived, StreamReset
from extproc.transport.http2.fields import RequestFields
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
    ErrorCode,
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
REQUEST = RequestFields(b"POST", b"/service/Method", b"application/grpc", b"", None)


def number(value):
    return struct.pack(">L", value)


def block(fields=FIELDS):
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)


def opening(stream_id=1, flags=END_HEADERS, fields=FIELDS):
    return frame(HEADERS, flags, stream_id, block(fields))


class TestPreface:  # 3.4
    def test_ours_is_settings_and_a_wider_window(self, new_peer, kinds):
        mine = new_peer(ConnectionLimits()).greeting
        assert kinds(mine) == ["Settings", "WindowUpdate", "Settings"]
        assert mine[0].settings[hf.SettingsFrame.HEADER_TABLE_SIZE] == 0
        assert mine[1].window_increment + 65_535 == ConnectionLimits().connection_window
        assert "ACK" in mine[2].flags

    def test_or_none_but_the_usual(self, new_peer, kinds):
        peer = new_peer(ConnectionLimits(connection_window=65_535))
        assert kinds(peer.greeting) == ["Settings", "Settings"]

    @pytest.mark.parametrize("preface", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"])
    def test_a_wrong_preface_is_an_error_at_once(self, preface, new_peer):
        peer = new_peer(greeting=b"")
        assert peer.error(preface) is ErrorCode.PROTOCOL_ERROR

    def test_a_piece_of_it_is_waited_for(self, new_peer, kinds):
        peer = new_peer(greeting=PREFACE[:10])
        assert not peer.connection.closed
        assert kinds(peer.send(PREFACE[10:] + settings({}))) == ["Settings"]

    @pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), opening(), SETTINGS_ACK])
    def test_it_goes_on_with_settings(self, first, new_peer):
        assert new_peer(greeting=PREFACE).error(first) is ErrorCode.PROTOCOL_ERROR


CONNECTION_ERRORS = [
    ("4.2 frame size", frame(DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    ("4.2 frame size, unknown type", frame(77, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    ("4.3 not HPACK", frame(HEADERS, END_HEADERS, 1, b"\xff" * 20), ErrorCode.COMPRESSION_ERROR),
    ("4.3 cut off HPACK", frame(HEADERS, END_HEADERS, 1, b"\x00\x0aabc"), ErrorCode.COMPRESSION_ERROR),
    ("5.1 DATA when idle", frame(DATA, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("5.1 RST_STREAM when idle", frame(RST_STREAM, 0, 1, number(8)), ErrorCode.PROTOCOL_ERROR),
    ("5.1 WINDOW_UPDATE when idle", window_update(1, 1), ErrorCode.PROTOCOL_ERROR),
    ("5.1.1 even stream id", opening(2), ErrorCode.PROTOCOL_ERROR),
    ("5.1.1 stream id passed over", opening(5) + opening(3), ErrorCode.PROTOCOL_ERROR),
    ("6.1 DATA on 0", frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("6.1 padding too long", opening() + frame(DATA, PADDED, 1, b"\x06abcde"), ErrorCode.PROTOCOL_ERROR),
    ("6.1 padding without length", opening() + frame(DATA, PADDED, 1), ErrorCode.PROTOCOL_ERROR),
    ("6.2 HEADERS on 0", opening(0), ErrorCode.PROTOCOL_ERROR),
    ("6.2 padding too long", frame(HEADERS, PADDED | END_HEADERS, 1, b"\xff" + block()), ErrorCode.PROTOCOL_ERROR),
    ("6.2 no room for priority", frame(HEADERS, PRIORITISED | END_HEADERS, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    ("6.2 another frame in a block", opening(flags=0) + frame(PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("6.2 unknown frame in a block", opening(flags=0) + frame(99, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("6.3 PRIORITY on 0", frame(PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    ("6.4 RST_STREAM on 0", frame(RST_STREAM, 0, 0, number(8)), ErrorCode.PROTOCOL_ERROR),
    ("6.4 RST_STREAM size", opening() + frame(RST_STREAM, 0, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    ("6.5 SETTINGS of a stream", frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("6.5 SETTINGS size", frame(SETTINGS, 0, 0, b"abcde"), ErrorCode.FRAME_SIZE_ERROR),
    ("6.5 ACK with settings", frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    ("6.5.2 ENABLE_PUSH", settings({2: 2}), ErrorCode.PROTOCOL_ERROR),
    ("6.5.2 INITIAL_WINDOW_SIZE", settings({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    ("6.5.2 MAX_FRAME_SIZE low", settings({5: 16_383}), ErrorCode.PROTOCOL_ERROR),
    ("6.5.2 MAX_FRAME_SIZE high", settings({5: 2**24}), ErrorCode.PROTOCOL_ERROR),
    ("6.6 PUSH_PROMISE", opening() + frame(PUSH_PROMISE, END_HEADERS, 1, number(2)), ErrorCode.PROTOCOL_ERROR),
    ("6.7 PING of a stream", frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("6.7 PING size", frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("6.8 GOAWAY of a stream", frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("6.8 GOAWAY size", frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE by 0", window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    ("6.9 WINDOW_UPDATE size", frame(WINDOW_UPDATE, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    ("6.9.1 window overflow", window_update(0, LARGEST), ErrorCode.FLOW_CONTROL_ERROR),
    ("6.9.2 overflow by settings", opening() + window_update(1, LARGEST - 65_535) + settings({4: 65_536}),
     ErrorCode.FLOW_CONTROL_ERROR),
    ("6.10 CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR),
    ("6.10 CONTINUATION of another", opening(flags=0) + frame(CONTINUATION, END_HEADERS, 3), ErrorCode.PROTOCOL_ERROR),
    ("6.10 CONTINUATION after the end", opening() + frame(CONTINUATION, END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code"), [rule[1:] for rule in CONNECTION_ERRORS], ids=[r[0] for r in CONNECTION_ERRORS]
)
def test_connection_errors(data, code, peer):
    assert peer.error(data) is code


END = frame(DATA, END_STREAM, 1)
STREAM_ERRORS = [
    ("5.1 DATA after the end", opening() + END + frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    ("5.1 HEADERS after the end", opening() + END + opening(flags=END_HEADERS | END_STREAM), ErrorCode.STREAM_CLOSED),
    ("5.1 DATA after a reset", opening() + frame(RST_STREAM, 0, 1, number(8)) + frame(DATA, 0, 1),
     ErrorCode.STREAM_CLOSED),
    ("6.3 PRIORITY size", opening() + frame(PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    ("6.9 WINDOW_UPDATE by 0", opening() + window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    ("6.9.1 window overflow", opening() + window_update(1, LARGEST), ErrorCode.FLOW_CONTROL_ERROR),
    ("6.9.1 more than the window", opening() + frame(DATA, 0, 1, bytes(10_001)), ErrorCode.FLOW_CONTROL_ERROR),
    ("8.1 trailers without an end", opening() + opening(fields=[("a", "b")]), ErrorCode.PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "code"), [rule[1:] for rule in STREAM_ERRORS], ids=[rule[0] for rule in STREAM_ERRORS]
)
def test_stream_errors_leave_the_connection(data, code, peer):
    assert peer.stream_error(data) == (1, code)
    peer.send(opening(3))
    assert peer.events == [HeadersReceived(3, REQUEST)]


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
        assert peer.stream_error(data) == (1, ErrorCode.PROTOCOL_ERROR)
        assert peer.events == []

    def test_pseudo_headers_in_trailers(self, opened):
        trailers = opening(flags=END_HEADERS | END_STREAM, fields=[(":path", "/")])
        assert opened.stream_error(trailers) == (1, ErrorCode.PROTOCOL_ERROR)

    @pytest.mark.parametrize("sent", [[b"1234"], [b"123456"], [b"123", b"456"], []])
    def test_data_that_differs_from_its_declared_length(self, sent, peer):
        start = opening(fields=[*FIELDS, ("content-length", "5")])
        pieces = [frame(DATA, 0, 1, data) for data in sent]
        assert peer.stream_error(start, *pieces, END) == (1, ErrorCode.PROTOCOL_ERROR)

    def test_data_that_is(self, peer):
        peer.send(opening(fields=[*FIELDS, ("content-length", "5")]), frame(DATA, 0, 1, b"123"))
        peer.send(frame(DATA, END_STREAM, 1, b"45"))
        assert peer.events == [DataReceived(1, b"45", True)]


class TestStreams:
    def test_data_and_the_end(self, opened):
        opened.send(frame(DATA, 0, 1, b"abc"), frame(DATA, END_STREAM, 1, b"d"))
        assert opened.events == [DataReceived(1, b"abc", False), DataReceived(1, b"d", True)]

    def test_headers_that_end_it(self, peer):
        peer.send(opening(flags=END_HEADERS | END_STREAM))
        assert peer.events == [HeadersReceived(1, REQUEST), DataReceived(1, b"", True)]

    def test_trailers_end_it(self, opened):
        opened.send(opening(flags=END_HEADERS | END_STREAM, fields=[("x", "y")]))
        assert opened.events == [DataReceived(1, b"", True)]

    def test_padding_and_priority_are_taken_off(self, peer):
        body = b"\x03" + bytes(5) + block() + bytes(3)
        peer.send(frame(HEADERS, PADDED | PRIORITISED | END_HEADERS, 1, body), frame(DATA, PADDED, 1, b"\x02abc\0\0"))
        assert peer.events == [HeadersReceived(1, REQUEST), DataReceived(1, b"abc", False)]

    def test_a_block_may_be_cut_anywhere(self, peer):
        whole = block()
        pieces = [frame(CONTINUATION, 0, 1, whole[i : i + 1]) for i in range(1, 40)]
        last = frame(CONTINUATION, END_HEADERS, 1, whole[40:])
        peer.send(frame(HEADERS, END_STREAM, 1, whole[:1]), *pieces, last)
        assert peer.events == [HeadersReceived(1, REQUEST), DataReceived(1, b"", True)]

    def test_a_reset_is_reported(self, opened):
        assert opened.send(frame(RST_STREAM, 0, 1, number(8))) == []
        assert opened.events == [StreamReset(1, 8)]
        opened.connection.send_data(1, b"too late")
        opened.connection.send_trailers(1, framing.OK_TRAILERS)
        assert opened.written() == []

    def test_more_streams_than_agreed_are_rejected(self, peer):  # 5.1.2
        peer.send(*[opening(i) for i in (1, 3, 5, 7)])
        assert peer.stream_error(opening(9)) == (9, ErrorCode.REFUSED_STREAM)
        peer.send(frame(RST_STREAM, 0, 3, number(8)), opening(11))
        assert peer.events == [StreamReset(3, 8), HeadersReceived(11, REQUEST)]

    def test_a_response(self, opened):
        opened.send(END)
        opened.connection.send_headers(1, framing.HEAD)
        opened.connection.send_data(1, b"data")
        opened.connection.send_trailers(1, framing.OK_TRAILERS)
        head, data, trailers = opened.written()
        assert Decoder().decode(head.data) == [(":status", "200"), ("content-type", "application/grpc")]
        assert data.data == b"data"
        assert Decoder().decode(trailers.data) == [("grpc-status", "0")]
        assert trailers.flags == {"END_HEADERS", "END_STREAM"}

    def test_a_response_before_the_clients_end_releases_the_client(self, opened):  # 8.1
        opened.connection.send_trailers(1, framing.HEAD)
        assert [type(one) for one in opened.written()] == [hf.HeadersFrame, hf.RstStreamFrame]
        late = (frame(DATA, 0, 1, b"x"), opening(flags=END_HEADERS | END_STREAM), frame(RST_STREAM, 0, 1, number(8)))
        assert opened.send(*late, window_update(1, 5)) == []
        assert opened.events == []

    def test_headers_of_a_closed_stream_are_a_connection_error(self, opened):  # 5.1
        opened.send(END)
        opened.connection.send_trailers(1, framing.HEAD)
        opened.written()
        assert opened.error(opening()) is ErrorCode.STREAM_CLOSED

    def test_unknown_or_ineffective_frames_are_ignored(self, opened, kinds):  # 4.1, 5.3.2, 6.5.2
        unknown = (frame(77, 0xFF, 1, b"?"), settings({0x99: 5}), frame(PRIORITY, 0, 7, bytes(5)))
        assert kinds(opened.send(*unknown, frame(GOAWAY, 0, 0, bytes(8)))) == ["Settings"]
        assert opened.events == []

    def test_a_ping_is_acknowledged_and_an_acknowledgement_is_not(self, peer):  # 6.7
        (acknowledgement,) = peer.send(frame(PING, 0, 0, b"12345678"))
        assert (acknowledgement.opaque_data, acknowledgement.flags) == (b"12345678", {"ACK"})
        assert peer.send(frame(PING, ACK, 0, b"12345678")) == []


class TestHpack:
    def test_until_the_client_agrees_the_table_is_kept(self, new_peer):
        peer = new_peer(greeting=PREFACE + settings({}))
        encoder = Encoder()
        blocks = [encoder.encode(FIELDS) for _ in range(3)]
        assert blocks[0] != blocks[1]
        for index, data in enumerate(blocks):
            peer.send(frame(HEADERS, END_HEADERS, 2 * index + 1, data))
            assert peer.events == [HeadersReceived(2 * index + 1, REQUEST)]

    def test_once_it_has_it_must_not_use_one(self, new_peer):
        peer = new_peer(greeting=PREFACE + settings({}))
        encoder = Encoder()
        peer.send(frame(HEADERS, END_HEADERS, 1, encoder.encode(FIELDS)), SETTINGS_ACK)
        assert peer.error(frame(HEADERS, END_HEADERS, 3, encoder.encode(FIELDS))) is ErrorCode.COMPRESSION_ERROR

    def test_a_repeated_header_block_means_the_same(self, peer):
        other = [(name, "/other" if name == ":path" else value) for name, value in FIELDS]
        peer.send(opening(1), opening(3, fields=other), opening(5))
        assert [event.request.path for event in peer.events] == [REQUEST.path, b"/other", REQUEST.path]

    def test_until_then_the_same_block_may_mean_another_thing(self, new_peer):
        peer = new_peer(greeting=PREFACE + settings({}))
        start = b"\x83\x86"  # POST, http; then a :path that goes into the table, or the newest that is in it
        blocks = [start + b"\x44\x02/a", start + b"\xbe", start + b"\x44\x02/b", start + b"\xbe"]
        peer.send(*[frame(HEADERS, END_HEADERS, 2 * index + 1, data) for index, data in enumerate(blocks)])
        assert [event.request.path for event in peer.events] == [b"/a", b"/a", b"/b", b"/b"]

    def test_header_blocks_of_rejected_streams_update_the_table(self, new_peer):  # 4.3
        peer = new_peer(greeting=PREFACE + settings({}))
        encoder = Encoder()
        peer.send(*[frame(HEADERS, END_HEADERS, i, encoder.encode(FIELDS)) for i in (1, 3, 5, 7)])
        added = encoder.encode([*FIELDS, ("x-added", "here")])
        assert peer.stream_error(frame(HEADERS, END_HEADERS, 9, added)) == (9, ErrorCode.REFUSED_STREAM)
        trailers = encoder.encode([("x-added", "here")])
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
        assert peer.events == [DataReceived(1, b"", True)]


class TestLeaving:
    def test_first_all_streams_are_still_taken_and_then_none(self, opened):  # 6.8
        opened.connection.begin_shutdown()
        first, ping = opened.written()
        assert (first.last_stream_id, first.error_code) == (LARGEST, 0)
        opened.send(opening(3))
        assert opened.events == [HeadersReceived(3, REQUEST)]
        (second,) = opened.send(frame(PING, ACK, 0, ping.opaque_data))
        assert second.last_stream_id == 3
        assert opened.send(opening(5), frame(DATA, 0, 5, b"x")) == []
        assert opened.events == []

    def test_it_closes_with_the_last_stream(self, opened, kinds):
        opened.connection.finish_shutdown()
        opened.send(frame(DATA, END_STREAM, 1, b"x"))
        assert opened.events == [DataReceived(1, b"x", True)]
        opened.connection.send_headers(1, framing.HEAD)
        assert not opened.connection.closed
        opened.connection.send_trailers(1, framing.OK_TRAILERS)
        assert opened.connection.closed
        assert kinds(opened.written())[-1] == "Headers"

    def test_without_streams_it_closes_at_once(self, peer, kinds):
        peer.connection.finish_shutdown()
        assert peer.connection.closed
        assert kinds(peer.written()) == ["GoAway"]


def test_a_response_waits_for_its_window_and_delays_the_connections_close(new_peer, kinds):
    peer = new_peer()
    peer.send(opening(), settings({INITIAL_WINDOW_SIZE: 0}))
    peer.connection.send_headers(1, framing.HEAD)
    peer.connection.send_data(1, b"x")
    peer.connection.send_trailers(1, framing.OK_TRAILERS)
    peer.connection.finish_shutdown()
    assert kinds(peer.written()) == ["Headers", "GoAway"]
    assert not peer.connection.closed
    assert kinds(peer.send(window_update(1, 1))) == ["Data", "Headers", "RstStream"]
    assert peer.connection.closed
