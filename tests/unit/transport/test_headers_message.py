"""Messages with headers that are read by hand, against protobuf."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.headers_message import HeadersMessage, headers_message, message_of

FILTER = "envoy.filters.http.ext_proc"
MODES = pb.ProtocolConfiguration(request_body_mode=pb.BUFFERED, response_body_mode=pb.FULL_DUPLEX_STREAMED)
NAMES = st.text(max_size=6) | st.sampled_from(["x-a", ":path", "n" * 200])
VALUES = st.binary(max_size=6) | st.sampled_from([b"v" * 127, b"v" * 128, b"\xff\x00"])
ITEMS = st.tuples(NAMES, VALUES)


def headers_of(items: list[tuple[str, bytes]], end_of_stream: bool) -> pb.HttpHeaders:
    values = [pb.HeaderValue(key=name, raw_value=value) for name, value in items]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end_of_stream)


def request(items: list[tuple[str, bytes]], end_of_stream: bool = False, context: bytes = b"") -> bytes:
    message = pb.ProcessingRequest(request_headers=headers_of(items, end_of_stream), protocol_config=MODES)
    return message.SerializeToString() + b"\x42" + bytes([len(context)]) + context


def response(items: list[tuple[str, bytes]], end_of_stream: bool = False, details: str = "via_upstream") -> bytes:
    message = pb.ProcessingRequest(response_headers=headers_of(items, end_of_stream), metadata_context=b"")
    tail = pb.ProcessingRequest()
    tail.attributes[FILTER]["response.code_details"] = details
    return message.SerializeToString() + b"\x42\x00" + tail.SerializeToString()


REQUEST = request([(":method", b"POST"), ("x-a", b"1"), ("x-a", b"2")])
RESPONSE = response([(":status", b"200"), ("empty", b"")])


def by_protobuf(data: bytes) -> HeadersMessage | None:
    try:
        message = pb.ProcessingRequest.FromString(data)
    except DecodeError:
        return None
    match message.WhichOneof("request"):
        case "request_headers":
            return message_of(message, message.request_headers, is_response=False)
        case "response_headers":
            return message_of(message, message.response_headers, is_response=True)
    return None


def plain(message: HeadersMessage | None) -> object:
    if message is None:
        return None
    rest = message.rest
    parts = list(message.headers.items()), message.end_of_stream, message.is_response
    return *parts, rest.details, rest.metadata_context, rest.fault


@given(st.lists(ITEMS, max_size=4), st.booleans(), st.binary(max_size=3))
def test_a_request_is_read_as_protobuf_reads_it(
    items: list[tuple[str, bytes]], end_of_stream: bool, context: bytes
) -> None:
    data = request(items, end_of_stream, context)
    read = headers_message(data)
    assert read is None or plain(read) == plain(by_protobuf(data))
    assert read is not None or not items or any(not name for name, _ in items)


@given(st.lists(ITEMS, max_size=4), st.booleans(), st.text(max_size=4))
def test_a_response_is_read_as_protobuf_reads_it(
    items: list[tuple[str, bytes]], end_of_stream: bool, details: str
) -> None:
    data = response(items, end_of_stream, details)
    read = headers_message(data)
    assert read is None or plain(read) == plain(by_protobuf(data))
    assert read is not None or not items or any(not name for name, _ in items)


@given(st.sampled_from([REQUEST, RESPONSE]), st.data())
def test_bytes_that_are_others_are_read_as_by_protobuf_or_left_to_it(message: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(message)))
    changed = message[:at] + data.draw(st.binary(max_size=3)) + message[at + data.draw(st.integers(0, 3)) :]
    read = headers_message(changed)
    assert read is None or plain(read) == plain(by_protobuf(changed))


@given(st.lists(st.sampled_from([REQUEST, RESPONSE, b"\x18\x01", b"\x0a\x03\x0a\x01a", b"\x12\x00"]), max_size=3))
def test_joined_messages_are_read_as_by_protobuf_or_left_to_it(parts: list[bytes]) -> None:
    data = b"".join(parts)
    read = headers_message(data)
    assert read is None or plain(read) == plain(by_protobuf(data))


def test_envoys_messages_are_read() -> None:
    assert plain(headers_message(REQUEST)) == ([(":method", "POST"), ("x-a", "1,2")], False, False, "", b"", "")
    assert plain(headers_message(RESPONSE)) == (
        [(":status", "200"), ("empty", "")],
        False,
        True,
        "via_upstream",
        b"",
        "",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x12",
        b"\x12\x00",
        REQUEST[:-1],
        REQUEST[:30],
        REQUEST + RESPONSE,
        pb.ProcessingRequest(request_headers=pb.HttpHeaders(end_of_stream=True)).SerializeToString(),
        pb.ProcessingRequest(
            request_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=[pb.HeaderValue(key="a", value="b")]))
        ).SerializeToString(),
        b"\x12\x07\x0a\x05\x0a\x03\x0a\x01\xff",  # a name that is not UTF-8
        pb.ProcessingRequest(request_body=pb.HttpBody(body=b"body")).SerializeToString(),
    ],
)
def test_other_messages_are_left_to_protobuf(data: bytes) -> None:
    assert headers_message(data) is None
