"""Bounds of a client's frames, and their order: windows and floods (RFC 9113, 5.2, 6.9 and 10.5)."""

import hyperframe.frame as hf
import pytest

from extproc.transport.http2 import framing
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.flood import FLOOD_BUDGET, USEFUL_INCREMENT
from extproc.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    LARGEST,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    ErrorCode,
    frame,
    settings,
    window_update,
)


def number(value):
    return value.to_bytes(4)


class TestFlowControl:
    def test_data_beyond_the_windows_waits(self, opened):  # 6.9
        opened.send(settings({INITIAL_WINDOW_SIZE: 10}))
        opened.connection.send_headers(1, framing.HEAD)
        opened.connection.send_data(1, b"0123456789abcdef")
        opened.connection.send_trailers(1, framing.OK_TRAILERS)
        assert [getattr(one, "data", None) for one in opened.written()] == [framing.HEAD, b"0123456789"]
        assert (opened.connection.queued, opened.connection.blocked(1)) == (6, True)
        assert [one.data for one in opened.send(window_update(1, 2))] == [b"ab"]
        *_, data, trailers, _ = opened.send(window_update(1, 100))
        assert (data.data, trailers.data) == (b"cdef", framing.OK_TRAILERS)
        assert (opened.connection.queued, opened.connection.blocked(1)) == (0, False)

    def test_the_connections_window_counts_for_all_and_they_take_turns(self, new_peer, opening):
        peer = new_peer()
        peer.send(opening(1), opening(3), settings({INITIAL_WINDOW_SIZE: LARGEST}))
        for stream_id in (1, 3):
            peer.connection.send_headers(stream_id, framing.HEAD)
            peer.connection.send_data(stream_id, bytes(65_535))
        assert sum(len(one.data) for one in peer.written() if isinstance(one, hf.DataFrame)) == 65_535
        for stream_id in (3, 3):
            (data,) = peer.send(window_update(0, 100))
            assert (data.stream_id, len(data.data)) == (stream_id, 100)

    def test_waiting_data_stays_in_its_order(self, opened):
        opened.send(settings({INITIAL_WINDOW_SIZE: 0}))
        opened.connection.send_headers(1, framing.HEAD)
        for piece in (b"abcdef", b"ghi", b"jklmno"):
            opened.connection.send_data(1, piece)
        opened.written()
        assert b"".join(one.data for _ in range(8) for one in opened.send(window_update(1, 2))) == b"abcdefghijklmno"

    def test_settings_may_make_a_window_negative(self, opened, kinds):  # 6.9.2
        opened.connection.send_headers(1, framing.HEAD)
        opened.connection.send_data(1, bytes(60_000))
        opened.written()
        assert kinds(opened.send(settings({INITIAL_WINDOW_SIZE: 50_000}))) == ["Settings"]
        opened.connection.send_data(1, b"x")
        assert opened.written() == []
        assert opened.send(window_update(1, 10_000)) == []
        assert [one.data for one in opened.send(window_update(1, 1))] == [b"x"]

    def test_new_settings_are_acknowledged_before_they_are_used(self, opened, kinds):
        opened.send(settings({INITIAL_WINDOW_SIZE: 0}))
        opened.connection.send_headers(1, framing.HEAD)
        opened.connection.send_data(1, b"x")
        opened.written()
        assert kinds(opened.send(settings({INITIAL_WINDOW_SIZE: 5}))) == ["Settings", "Data"]

    def test_frames_are_as_large_as_the_client_takes(self, opened):  # 4.2
        opened.connection.send_headers(1, framing.HEAD)
        opened.connection.send_data(1, bytes(40_000))
        assert [len(one.data) for one in opened.written()[1:]] == [16_384, 16_384, 7_232]
        opened.send(settings({MAX_FRAME_SIZE: 20_000}), window_update(1, 10_000))
        opened.connection.send_data(1, bytes(20_000))
        assert [len(one.data) for one in opened.written()] == [20_000]

    def test_received_bytes_are_granted_again(self, new_peer, opening):
        peer = new_peer(ConnectionLimits(stream_window=10_000, connection_window=70_000))
        peer.send(opening())
        received = {0: 0, 1: 0}
        for _ in range(100):
            for one in peer.send(frame(DATA, 0, 1, bytes(1000))):
                received[one.stream_id] += one.window_increment
        assert 100_000 - 10_000 <= received[1] <= 100_000
        assert 100_000 - 70_000 <= received[0] <= 100_000

    def test_padding_and_data_of_closed_streams_count(self, peer, opening):  # 6.1, 6.9
        peer.send(opening())
        peer.connection.send_trailers(1, framing.HEAD)
        padded = frame(DATA, PADDED, 1, b"\xff" + bytes(300))
        assert any(isinstance(one, hf.WindowUpdateFrame) for _ in range(150) for one in peer.send(padded))

    def test_more_than_the_connections_window_is_an_error(self, new_peer, opening):
        peer = new_peer(ConnectionLimits(stream_window=LARGEST, connection_window=70_000, frame_bytes=1 << 20))
        assert peer.error(opening(), frame(DATA, 0, 1, bytes(70_001))) is ErrorCode.FLOW_CONTROL_ERROR

    def test_a_client_that_does_not_read_may_not_go_on_writing(self, new_peer, opening):
        peer = new_peer(ConnectionLimits(stream_window=10_000, connection_window=70_000, queue_bytes=50_000))
        peer.send(opening(), settings({INITIAL_WINDOW_SIZE: 0}))
        peer.connection.send_headers(1, framing.HEAD)
        peer.connection.send_data(1, bytes(50_001))
        peer.written()
        assert peer.send(*[frame(DATA, 0, 1, bytes(1000)) for _ in range(10)]) == []
        assert peer.stream_error(frame(DATA, 0, 1, b"x")) == (1, ErrorCode.FLOW_CONTROL_ERROR)

    def test_and_may_once_it_has_read(self, new_peer, opening):
        peer = new_peer(ConnectionLimits(stream_window=10_000, connection_window=70_000, queue_bytes=50_000))
        peer.send(opening(), settings({INITIAL_WINDOW_SIZE: 0}))
        peer.connection.send_headers(1, framing.HEAD)
        peer.connection.send_data(1, bytes(50_001))
        peer.send(*[frame(DATA, 0, 1, bytes(1000)) for _ in range(10)])
        *_, update = peer.send(window_update(1, 60_000))
        assert (update.stream_id, update.window_increment) == (1, 10_000)

    def test_waiting_data_is_dropped_with_its_stream(self, opened):
        opened.send(settings({INITIAL_WINDOW_SIZE: 0}))
        opened.connection.send_headers(1, framing.HEAD)
        opened.connection.send_data(1, bytes(5000))
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


class TestFloodsOfFrames:  # 10.5
    @pytest.mark.parametrize("data", ANNOYANCES.values(), ids=ANNOYANCES)
    def test_frames_that_bring_nothing_are_borne_for_a_while(self, data, new_peer, opening):
        peer = new_peer(ConnectionLimits())
        peer.send(opening(1), opening(3, flags=END_HEADERS | END_STREAM), frame(RST_STREAM, 0, 3, number(8)))
        peer.connection.restore_flood_budget()
        peer.send(data * (FLOOD_BUDGET // 2 - 1))
        assert not peer.connection.closed
        assert peer.error(data * FLOOD_BUDGET) is ErrorCode.ENHANCE_YOUR_CALM

    def test_they_are_forgiven_in_time(self, peer):
        for _ in range(5):
            peer.connection.restore_flood_budget()
            peer.send(frame(PING, 0, 0, bytes(8)) * FLOOD_BUDGET)
        assert not peer.connection.closed

    def test_received_data_restores_the_flood_budget(self, opened):
        for _ in range(2 * FLOOD_BUDGET):
            opened.send(frame(PING, 0, 0, bytes(8)) * 4, frame(DATA, 0, 1, b"x"))
        assert not opened.connection.closed

    @pytest.mark.parametrize("with_data", [False, True])
    def test_resets_of_open_streams_end_no_other_stream(self, with_data, new_peer, opening):
        """Other callers behind the same Envoy are not affected."""
        peer = new_peer(ConnectionLimits())
        peer.send(opening(1))
        for stream_id in range(3, 8 * FLOOD_BUDGET, 2):
            peer.send(opening(stream_id), frame(DATA, 0, stream_id, b"x"))
            if with_data:
                peer.connection.send_headers(stream_id, framing.HEAD)
            peer.send(frame(RST_STREAM, 0, stream_id, number(8)))
        assert not peer.connection.closed
        assert list(peer.connection._streams) == [1]
        assert len(peer.connection._closed) <= 256

    def test_resets_that_come_after_our_end_are_paid_for_by_their_streams(self, new_peer, opening):
        peer = new_peer(ConnectionLimits())
        for stream_id in range(1, 8 * FLOOD_BUDGET, 2):
            peer.send(opening(stream_id))
            peer.connection.send_trailers(stream_id, framing.HEAD)
            peer.send(frame(DATA, END_STREAM, stream_id), frame(RST_STREAM, 0, stream_id, number(8)))
        assert not peer.connection.closed

    def test_streams_above_the_limit_are_rejected_and_nothing_else(self, new_peer, opening):
        peer = new_peer(ConnectionLimits(streams=1))
        for stream_id in range(1, 8 * FLOOD_BUDGET, 2):
            peer.send(opening(stream_id))
        assert not peer.connection.closed
        assert list(peer.connection._streams) == [1]

    def test_a_window_update_of_a_real_size_is_free_until_the_window_is_too_large(self, opened):
        opened.send(window_update(0, USEFUL_INCREMENT) * 4 * FLOOD_BUDGET)
        assert not opened.connection.closed
        assert opened.error(window_update(0, USEFUL_INCREMENT) * (LARGEST // USEFUL_INCREMENT)) is (
            ErrorCode.FLOW_CONTROL_ERROR
        )

    def test_data_that_was_on_its_way_to_a_stream_that_we_ended_is_none(self, opened):
        opened.connection.send_trailers(1, framing.HEAD)
        for _ in range(2 * FLOOD_BUDGET):
            opened.send(frame(DATA, 0, 1, b"x"))
        assert not opened.connection.closed

    @pytest.mark.parametrize("piece", [b"", b"x", bytes(16_384)])
    def test_continuation(self, piece, peer, opening):
        data = frame(CONTINUATION, 0, 1, piece)
        assert peer.error(opening(flags=0), *[data] * 100) is ErrorCode.ENHANCE_YOUR_CALM

    def test_a_header_list_that_is_too_large_unpacked(self, new_peer, opening):
        assert new_peer(ConnectionLimits()).error(opening(more=[("x", "y" * 100)] * 600)) is ErrorCode.ENHANCE_YOUR_CALM
