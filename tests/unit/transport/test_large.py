"""Bodies that are taken out of Envoy's messages by hand, against protobuf."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.large import take_body

BODY = pb.ProcessingRequest(request_body=pb.HttpBody(body=b"body", end_of_stream=True)).SerializeToString()
ATTRIBUTES = pb.ProcessingRequest(attributes={"filter": {}}, observability_mode=True).SerializeToString()
UNKNOWN = bytes([15 << 3, 5, 14 << 3 | 1, *range(8), 13 << 3 | 5, 1, 2, 3, 4, 12 << 3 | 2, 1, 9])
HEADERS = pb.ProcessingRequest(request_headers=pb.HttpHeaders(end_of_stream=True)).SerializeToString()
GROUP = bytes([14 << 3 | 3, 14 << 3 | 4])
LONGER = bytes([0x22, 0x86, 0x00, 0x0A, 0x04]) + b"body"
"""A length with a zero byte that it need not have."""

PARTS = [BODY, ATTRIBUTES, UNKNOWN, HEADERS, GROUP, LONGER, BODY[:-1], b"\x22", b"\x22\x00", b"\x0a\x01", b"\xff"]
some_messages = st.lists(st.sampled_from(PARTS) | st.binary(max_size=4), max_size=5).map(b"".join)


def read(data: bytes) -> pb.ProcessingRequest | None:
    try:
        return pb.ProcessingRequest.FromString(data)
    except DecodeError:
        return None


@given(some_messages)
def test_the_extracted_body_and_the_rest_equal_protobufs_reading(data: bytes) -> None:
    rest, body = take_body(bytearray(data))
    large = read(rest)
    if body is not None and large is not None and large.WhichOneof("request") == "request_body":
        assert large.request_body.body == b""
        large.request_body.body = bytes(body)
    assert large == read(data)


@pytest.mark.parametrize("data", [BODY, UNKNOWN + BODY + ATTRIBUTES, BODY + UNKNOWN])
def test_the_body_is_taken_out_of_envoys_message(data: bytes) -> None:
    assert take_body(bytearray(data))[1] == b"body"


@pytest.mark.parametrize("data", [b"", HEADERS, BODY + BODY, BODY + GROUP, LONGER, b"\x22\x00", BODY[:-3]])
def test_nothing_is_taken_where_there_is_not_one_body_for_certain(data: bytes) -> None:
    assert take_body(bytearray(data)) == (data, None)
