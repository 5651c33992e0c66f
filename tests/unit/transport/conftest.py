"""Envoy's side of the wire: messages as Envoy sends them, a reader of responses, and the other end of HTTP/2."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import hyperframe.frame as hf
import pytest
from hpack import Encoder

from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.http2.connection import Connection
from extproc.transport.http2.events import ConnectionLimits, HeadersReceived
from extproc.transport.http2.frames import END_HEADERS, HEADERS, PREFACE, SETTINGS_ACK, ErrorCode, frame, settings

FILTER = "envoy.filters.http.ext_proc"


def _headers(pairs, end_of_stream):
    values = [pb.HeaderValue(key=key, raw_value=value.encode("latin-1")) for key, value in pairs]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end_of_stream)


def request_headers(*pairs, end_of_stream=False, modes=(pb.BUFFERED, pb.FULL_DUPLEX_STREAMED)):
    """The first message of an exchange; by default a POST, with the modes the gateway needs."""
    headers = _headers(pairs or ((":method", "POST"), (":path", "/oai/v1/embeddings")), end_of_stream)
    message = pb.ProcessingRequest(request_headers=headers)
    message.protocol_config.request_body_mode, message.protocol_config.response_body_mode = modes
    return message.SerializeToString()


def request_body(data=b"{}", end_of_stream=True):
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end_of_stream)).SerializeToString()


def request_trailers():
    return pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString()


def response_headers(status=200, *pairs, end_of_stream=False, details="via_upstream"):
    headers = _headers(((":status", str(status)), *pairs), end_of_stream)
    message = pb.ProcessingRequest(response_headers=headers)
    if details is not None:
        message.attributes[FILTER]["response.code_details"] = details
    return message.SerializeToString()


def response_body(data=b"", end_of_stream=False):
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end_of_stream)).SerializeToString()


def response_trailers():
    return pb.ProcessingRequest(response_trailers=pb.HttpTrailers()).SerializeToString()


def read(data):
    """An answer as Envoy reads it, as plain values."""
    message = pb.ProcessingResponse.FromString(data)
    kind = message.WhichOneof("response")
    said = {"kind": kind}
    if message.HasField("dynamic_metadata"):
        said["metadata"] = {name: dict(fields) for name, fields in message.dynamic_metadata.items()}
    if message.HasField("override_message_timeout"):
        said["more_time"] = message.override_message_timeout.ToMilliseconds() / 1000
    if kind == "immediate_response":
        answer = message.immediate_response
        return (
            said
            | {"status": answer.status.code, "body": answer.body, "details": answer.details}
            | mutation(answer.headers)
        )
    if kind in ("request_headers", "response_headers", "request_body", "response_body"):
        return said | common(getattr(message, kind).response)
    return said


def mutation(headers):
    assert all(
        option.append_action == pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD for option in headers.set_headers
    )
    assert not any(option.header.value for option in headers.set_headers)
    names = [option.header.key for option in headers.set_headers]
    assert len(set(names)) == len(names)
    said = {}
    if headers.set_headers:
        said["set"] = {o.header.key: o.header.raw_value.decode("latin-1") for o in headers.set_headers}
    if headers.remove_headers:
        said["remove"] = set(headers.remove_headers)
    return said


def common(response):
    said = mutation(response.header_mutation)
    if response.status:
        said["replace"] = True
    kind = response.body_mutation.WhichOneof("mutation")
    if kind == "body":
        said["body"] = response.body_mutation.body
    elif kind == "streamed_response":
        piece = response.body_mutation.streamed_response
        said |= {"piece": piece.body, "end_of_stream": piece.end_of_stream}
    return said


@pytest.fixture(scope="session")
def envoy():
    """Builders of Envoy's messages, and `read` for the answers."""
    return SimpleNamespace(
        request_headers=request_headers,
        request_body=request_body,
        request_trailers=request_trailers,
        response_headers=response_headers,
        response_body=response_body,
        response_trailers=response_trailers,
        read=read,
    )


class Scripted:
    """An exchange that says what a script has for each kind of event: directives, or an error to raise.

    A script's list is used up, one entry an event; the last entry stays. What it was told is in `events`.
    """

    def __init__(self, script=None, patience=None):
        self.script = {kind: list(entries) for kind, entries in (script or {}).items()}
        self.patience = patience
        self.events = []
        self.times = []
        self.closed = 0

    def close(self):
        self.closed += 1

    def idle_timeout(self, reported):
        return None if self.patience is None else reported + self.patience

    def receive(self, event, now):
        self.events.append(event)
        self.times.append(now)
        entries = self.script.get(type(event), [[]])
        entry = entries.pop(0) if len(entries) > 1 else entries[0]
        if isinstance(entry, Exception):
            raise entry
        return entry


@pytest.fixture(scope="session")
def scripted():
    return Scripted


@pytest.fixture
def socket_path():
    """A path for a unix socket that is short wherever pytest keeps its own folders."""
    with tempfile.TemporaryDirectory(prefix="oai-", dir="/tmp") as folder:
        yield Path(folder) / "w0.sock"


# HTTP/2: what is written is read by hyperframe

HELLO = PREFACE + settings({}) + SETTINGS_ACK
LIMITS = ConnectionLimits(
    streams=4, stream_window=10_000, connection_window=70_000, frame_bytes=16_384, queue_bytes=100_000
)


def _opening(stream_id=1, flags=END_HEADERS, more=()):
    usual = ((":method", "POST"), (":scheme", "http"), (":path", "/service/Method"), (":authority", "envoy"))
    encoder = Encoder()
    encoder.header_table_size = 0
    return frame(HEADERS, flags, stream_id, encoder.encode([*usual, ("content-type", "application/grpc"), *more]))


def _frames(data):
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
        self.greeting = self.said()

    def send(self, *data):
        """Give it these; gives the frames of its answer. The events are in `events`."""
        self.events = self.connection.receive(b"".join(data))
        return self.said()

    def said(self):
        return _frames(b"".join(self.connection.data_to_send()))

    def error(self, *data):
        """The code of the GOAWAY that these lead to; nothing is heard or said after it."""
        *_, last = self.send(*data)
        assert isinstance(last, hf.GoAwayFrame)
        assert self.connection.closed
        assert self.send(_opening(99)) == []
        assert self.events == []
        assert last.error_code == self.connection.fault.code
        return ErrorCode(last.error_code)

    def stream_error(self, *data):
        """The stream and code of the RST_STREAM that these lead to."""
        *_, last = self.send(*data)
        assert isinstance(last, hf.RstStreamFrame)
        assert not self.connection.closed
        return last.stream_id, ErrorCode(last.error_code)


@pytest.fixture(scope="session")
def new_peer():
    return Peer


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
def opened():
    """A peer with the stream 1."""
    peer = Peer()
    peer.send(_opening())
    assert [type(event) for event in peer.events] == [HeadersReceived]
    return peer


@pytest.fixture(scope="session")
def opening():
    """The HEADERS of a call."""
    return _opening


@pytest.fixture(scope="session")
def kinds():
    """What frames these are."""
    return lambda frames: [type(one).__name__.removesuffix("Frame") for one in frames]
