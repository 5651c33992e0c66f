"""Pieces of a response that are found in Envoy's messages by hand, against protobuf."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.response_piece import response_piece

LENGTHS = [0, 1, 121, 122, 123, 127, 128, 16_383, 16_384, 70_000]
METADATA = [b"", b"m", b"m" * 127, b"m" * 128]


def piece(data: bytes, end_of_stream: bool, metadata: bytes | None = None) -> bytes:
    message = pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end_of_stream))
    if metadata is not None:
        message.metadata_context = metadata
    return message.SerializeToString()


WHOLE = piece(b"data", True)
PARTS = [
    WHOLE,
    piece(b"", False),
    pb.ProcessingRequest(metadata_context=b"m").SerializeToString(),
    pb.ProcessingRequest(request_body=pb.HttpBody(body=b"body")).SerializeToString(),
    pb.ProcessingRequest(attributes={"filter": {}}, observability_mode=True).SerializeToString(),
    b"\x42\x00",
    b"\x10\x01",
    b"\x2a\x04\x10\x00\x10\x01",
    b"\x2a\x06\x0a\x01a\x0a\x01b",
    b"\x2a\x04\x18\x01\x10\x01",
    b"\x2a\x02\x0a\x01",
    b"\x2a\x80\x80\x80\x80\x00",
]
LONGER = b"\x2a\x86\x00\x0a\x04data"
"""A length with a zero byte that it need not have."""


@given(st.lists(st.sampled_from([*PARTS, LONGER]) | st.binary(max_size=4), max_size=3).map(b"".join))
@example(WHOLE + b"\x42")
@example(WHOLE + b"\x42\x05")
def test_what_is_found_is_what_protobuf_finds(data: bytes) -> None:
    start, stop, ended = response_piece(data)
    if start:
        expected = pb.ProcessingRequest.FromString(data)
        assert expected.WhichOneof("request") == "response_body"
        assert (data[start:stop], ended) == (expected.response_body.body, expected.response_body.end_of_stream)
        expected.ClearField("response_body")
        expected.ClearField("metadata_context")
        assert not expected.ByteSize()
    else:
        assert (stop, ended) == (0, False)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_byte_that_is_another_changes_what_is_found_as_it_does_for_protobuf(at: int, byte: int) -> None:
    data = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    start, stop, ended = response_piece(data)
    if start:
        body = pb.ProcessingRequest.FromString(data).response_body
        assert (data[start:stop], ended) == (body.body, body.end_of_stream)


@pytest.mark.parametrize("end_of_stream", [False, True])
@pytest.mark.parametrize("metadata", [None, *METADATA])
@pytest.mark.parametrize("length", LENGTHS)
def test_envoys_pieces_are_found(length: int, metadata: bytes | None, end_of_stream: bool) -> None:
    data = b"d" * length
    message = piece(data, end_of_stream, metadata)
    start, stop, ended = response_piece(message)
    assert start
    assert (message[start:stop], ended) == (data, end_of_stream)


@pytest.mark.parametrize("message", [b"", b"\x2a", b"\xff", WHOLE[:-1], WHOLE + WHOLE, WHOLE + b"\x10\x01", *PARTS[2:]])
def test_other_messages_are_left_to_protobuf(message: bytes) -> None:
    assert response_piece(message) == (0, 0, False)


def test_a_length_may_have_a_byte_that_it_need_not_have() -> None:
    assert pb.ProcessingRequest.FromString(LONGER).response_body.body == b"data"
    assert response_piece(LONGER) == (5, 9, False)


def test_a_length_that_does_not_end_is_no_number() -> None:
    message = b"\x2a" + b"\xff" * 10
    with pytest.raises(DecodeError):
        pb.ProcessingRequest.FromString(message)
    assert response_piece(message) == (0, 0, False)
