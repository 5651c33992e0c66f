"""Partial messages are bounded in any number, and all of them are completed."""

import tracemalloc
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from extproc.transport.health_protocol import SERVING
from extproc.transport.http2 import framing
from extproc.transport.http2.events import ConnectionLimits
from extproc.transport.http2.framing import Messages
from extproc.transport.http2.session import CHECK, Session

LIMITS = ConnectionLimits(streams=20, stream_window=65_535, connection_window=70_000, held_bytes=400_000)
MESSAGE_BYTES = 1_000_000


@dataclass
class Upload:
    """A call with one message, and the number of bytes still to be sent."""

    id: int
    rest: bytes
    sent: int = 0
    is_complete: bool = False


class UploadingClient:
    """A client that sends health checks, which get a response with any content, in interleaved frames."""

    def __init__(self, limits=LIMITS):
        self.session = Session(lambda: None, lambda: SERVING, MESSAGE_BYTES, limits)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.uploads = {}
        self.flush()

    def begin(self, size):
        call = self.h2.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", CHECK.decode()), (":authority", "e")]
        self.h2.send_headers(call, [*fields, ("content-type", "application/grpc")])
        self.uploads[call] = Upload(call, framing.prefix(size) + bytes(size))
        return self.uploads[call]

    def send(self, keep=0):
        """Send all that the windows allow, except the last `keep` bytes of each message; return the byte count."""
        total = 0
        while moved := sum(self.send_frame(upload, keep) for upload in self.uploads.values()):
            total += moved
        return total

    def send_frame(self, upload, keep):
        if upload.is_complete:
            return 0
        room = min(self.h2.local_flow_control_window(upload.id), self.h2.max_outbound_frame_size)
        data = upload.rest[: max(0, min(room, len(upload.rest) - keep))]
        if data:
            self.h2.send_data(upload.id, data)
            upload.rest = upload.rest[len(data) :]
            upload.sent += len(data)
            self.flush()
        return len(data)

    def flush(self):
        self.session.receive(self.h2.data_to_send())
        for event in self.h2.receive_data(b"".join(self.session.data_to_send())):
            assert not isinstance(event, h2.events.ConnectionTerminated), event
            if isinstance(event, h2.events.DataReceived):
                assert not self.uploads[event.stream_id].rest
                self.uploads[event.stream_id].is_complete = True
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    @property
    def held(self):
        return sum(upload.sent for upload in self.uploads.values() if not upload.is_complete)


@pytest.fixture
def client():
    return UploadingClient()


@pytest.mark.parametrize("size", [60_000, 100_000, 250_000, 900_000])
def test_uploads_hold_no_more_than_a_window_each_and_granted_bytes(client, size):
    for _ in range(LIMITS.streams):
        client.begin(size)
    client.send(keep=1)
    assert client.held <= LIMITS.streams * LIMITS.stream_window + max(LIMITS.held_bytes, size)
    assert client.held >= min(size, LIMITS.stream_window) * LIMITS.streams - LIMITS.streams


@pytest.mark.parametrize("size", [60_000, 100_000, 250_000, 900_000])
def test_and_all_come_to_their_end(client, size):
    for _ in range(LIMITS.streams):
        client.begin(size)
    client.send(keep=1)
    client.send()
    assert all(upload.is_complete for upload in client.uploads.values())
    assert client.session.calls == 0


def test_they_are_sent_for_in_turn(client):
    uploads = [client.begin(300_000) for _ in range(4)]
    client.send(keep=1)
    assert [len(upload.rest) == 1 for upload in uploads] == [True, False, False, False]
    client.send_frame(uploads[0], keep=0)
    client.send(keep=1)
    assert [len(upload.rest) for upload in uploads[:2]] == [0, 1]
    assert not any(len(upload.rest) == 1 for upload in uploads[2:])


@pytest.mark.parametrize("how", ["reset", "ended"])
def test_a_cancelled_upload_frees_its_window(client, how):
    first, second = client.begin(300_000), client.begin(300_000)
    client.send(keep=1)
    assert len(second.rest) > 1
    del client.uploads[first.id]
    if how == "reset":
        client.h2.reset_stream(first.id)
    else:
        client.h2.end_stream(first.id)
    client.flush()
    client.send()
    assert second.is_complete


def test_an_upload_with_an_early_response_frees_its_window(client):
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    first, second = client.begin(300_000), client.begin(300_000)
    client.send(keep=1)
    connection = client.session.connection
    connection.send_headers(first.id, framing.HEAD)
    connection.send_data(first.id, b"an answer")
    connection.send_trailers(first.id, framing.OK_TRAILERS)
    del client.uploads[first.id]
    client.flush()
    client.send()
    assert not second.rest


def test_small_ones_do_not_wait_for_large_ones(client):
    for _ in range(4):
        client.begin(300_000)
    client.send(keep=1)
    small = client.begin(1000)
    client.send(keep=1)
    client.send_frame(small, keep=0)
    assert small.is_complete


def test_padding_does_not_count_for_the_message(client):
    upload = client.begin(900_000)
    client.send(keep=200_000)
    for _ in range(100):
        client.h2.send_data(upload.id, b"", pad_length=255)
        client.flush()
    client.send()
    assert upload.is_complete


def test_messages_after_a_large_one_have_their_window_again(client):
    upload = client.begin(900_000)
    client.send()
    assert upload.is_complete
    other = client.begin(60_000)
    client.send()
    assert other.is_complete


def test_a_message_that_is_only_announced_takes_nothing():
    messages = [Messages(1 << 26) for _ in range(100)]
    tracemalloc.start()
    try:
        for each in messages:
            each.feed(framing.prefix(1 << 26) + b"x", [])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 1000
