"""Envoy's side of the wire: messages as Envoy sends them, a reader of responses, and the other end of HTTP/2."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import hyperframe.frame as hf
import pytest
from hpack import Encoder

from extproc.transport import ext_proc_pb2 as pb
from extproc.transport import grpcio
from extproc.transport.http2.connection import Connection
from extproc.transport.http2.events import ConnectionLimits, HeadersReceived
from extproc.transport.http2.frames import END_HEADERS, HEADERS, PREFACE, SETTINGS_ACK, ErrorCode, frame, settings
from extproc.transport.http2.server import Http2Server
from tests.unit.transport.served import WAITING, ServedExchanges

FILTER = "envoy.filters.http.ext_proc"


def _headers(pairs, end_of_stream):
    values = [pb.HeaderValue(key=key, raw_value=value.encode("latin-1")) for key, value in pairs]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end_of_stream)


def request_headers(*pairs, end_of_stream=False, modes=(pb.BUFFERED, pb.FULL_DUPLEX_STREAMED)):
    """Build the first message of an exchange; by default a POST, with the modes that the gateway needs."""
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
    """Return a response as Envoy reads it, as plain values."""
    message = pb.ProcessingResponse.FromString(data)
    kind = message.WhichOneof("response")
    plain = {"kind": kind}
    if message.HasField("dynamic_metadata"):
        plain["metadata"] = {name: dict(fields) for name, fields in message.dynamic_metadata.items()}
    if message.HasField("override_message_timeout"):
        plain["more_time"] = message.override_message_timeout.ToMilliseconds() / 1000
    if kind == "immediate_response":
        immediate = message.immediate_response
        return (
            plain
            | {"status": immediate.status.code, "body": immediate.body, "details": immediate.details}
            | mutation(immediate.headers)
        )
    if kind in ("request_headers", "response_headers", "request_body", "response_body"):
        return plain | common(getattr(message, kind).response)
    return plain


def mutation(headers):
    assert all(
        option.append_action == pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD for option in headers.set_headers
    )
    assert not any(option.header.value for option in headers.set_headers)
    names = [option.header.key for option in headers.set_headers]
    assert len(set(names)) == len(names)
    plain = {}
    if headers.set_headers:
        plain["set"] = {o.header.key: o.header.raw_value.decode("latin-1") for o in headers.set_headers}
    if headers.remove_headers:
        plain["remove"] = set(headers.remove_headers)
    return plain


def common(response):
    plain = mutation(response.header_mutation)
    if response.status:
        plain["replace"] = True
    kind = response.body_mutation.WhichOneof("mutation")
    if kind == "body":
        plain["body"] = response.body_mutation.body
    elif kind == "streamed_response":
        piece = response.body_mutation.streamed_response
        plain |= {"piece": piece.body, "end_of_stream": piece.end_of_stream}
    return plain


@pytest.fixture(scope="session")
def envoy():
    """Return builders of Envoy's messages, and `read` for the responses."""
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
    """An exchange that follows a script for each kind of event: directives, or an error to raise.

    A script's list is used up, one entry an event; the last entry stays. `events` records the received events.
    """

    def __init__(self, script=None, timeout=None):
        self.script = {kind: list(entries) for kind, entries in (script or {}).items()}
        self.timeout = timeout
        self.progressed = True
        self.events = []
        self.times = []
        self.closed = 0

    def close(self, now):
        self.closed += 1

    def idle_timeout(self, written):
        return None if self.timeout is None else written + self.timeout

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
    """Return a path for a unix socket that is short wherever pytest keeps its own folders."""
    with tempfile.TemporaryDirectory(prefix="oai-", dir="/tmp") as folder:
        yield Path(folder) / "w0.sock"


# Both transports


@pytest.fixture(params=[grpcio.GrpcioServer, Http2Server], ids=["grpcio", "http2"])
def driver(request):
    return request.param


@pytest.fixture
def gateway(driver, socket_path, scripted):
    def build(script=None, timeout=None, steady=None, message_bytes=1 << 20):
        return ServedExchanges(driver, socket_path, scripted, script or WAITING, timeout, steady, message_bytes)

    return build


# HTTP/2: hyperframe reads the written bytes

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
    parts = []
    while data:
        one, length = hf.Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        assert len(data) >= 9 + length
        parts.append(one)
        data = data[9 + length :]
    return parts


class Peer:
    """A connection whose client has sent its preface."""

    def __init__(self, limits=LIMITS, greeting=HELLO):
        self.connection = Connection(limits)
        self.events = self.connection.receive(greeting)
        self.greeting = self.written()

    def send(self, *data):
        """Send these bytes and return the frames of the response; the events are in `events`."""
        self.events = self.connection.receive(b"".join(data))
        return self.written()

    def written(self):
        return _frames(b"".join(self.connection.data_to_send()))

    def error(self, *data):
        """Return the code of the GOAWAY that these bytes cause; nothing is received or sent after it."""
        *_, last = self.send(*data)
        assert isinstance(last, hf.GoAwayFrame)
        assert self.connection.closed
        assert self.send(_opening(99)) == []
        assert self.events == []
        assert last.error_code == self.connection.fault.code
        return ErrorCode(last.error_code)

    def stream_error(self, *data):
        """Return the stream and code of the RST_STREAM that these bytes cause."""
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
    """Return a peer with the stream 1 open."""
    peer = Peer()
    peer.send(_opening())
    assert [type(event) for event in peer.events] == [HeadersReceived]
    return peer


@pytest.fixture(scope="session")
def opening():
    """Return the HEADERS of a call."""
    return _opening


@pytest.fixture(scope="session")
def kinds():
    """Return the kinds of these frames."""
    return lambda frames: [type(one).__name__.removesuffix("Frame") for one in frames]
