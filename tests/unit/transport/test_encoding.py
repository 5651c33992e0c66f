"""Responses that are encoded by hand, read by protobuf: lengths of one byte and of several, and repetitions."""

import pytest
from google.protobuf.json_format import MessageToDict

from extproc.exchange.directives import Forward, Head, Reply
from extproc.payload import Segments
from extproc.shared_names import METADATA_NAMESPACE
from extproc.telemetry.token_usage import EnvoyTokenUsage
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport import messages
from extproc.transport.encoding import field, tag, varint

SIZES = [0, 1, 127, 128, 16_383, 16_384, 3_000_000]
METADATA = {"words": "é\u2028" * 40, "short": "x", "none": "", "yes": True, "no": False, "one": 1, "many": 2**53}


def read(data):
    return pb.ProcessingResponse.FromString(bytes(data))


def remembered(response):
    """Return the metadata as plain values, with their types."""
    [(name, value)] = response.dynamic_metadata.fields.items()
    assert name == METADATA_NAMESPACE
    values = {key: getattr(one, one.WhichOneof("kind")) for key, one in value.struct_value.fields.items()}
    return {key: (type(one), one) for key, one in values.items()}


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**21, 2**32, 2**63 - 1])
def test_numbers(number):
    seconds = pb.ProcessingResponse()
    seconds.override_message_timeout.seconds = number
    written = field(tag(10), tag(1, 0) + varint(number)) if number else field(tag(10), b"")
    assert written == seconds.SerializeToString()


@pytest.mark.parametrize("in_segments", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_bodies_of_every_size(size, in_segments):
    body = b"b" * size
    payload = Segments((body[: size // 3], memoryview(body)[size // 3 :])) if in_segments else body
    reply = Reply(503, (("x", "y"),), payload, "details", (), METADATA)
    sent = read(messages.forwarded(Forward("/p", "a", (), payload))).request_body.response
    assert sent.body_mutation.body == body
    assert read(messages.immediate(reply)).immediate_response.body == body
    assert read(messages.replaced_whole(reply)).response_headers.response.body_mutation.body == body
    for last in (False, True):
        piece = read(messages.streamed(payload, last, METADATA)).response_body.response.body_mutation.streamed_response
        assert (piece.body, piece.end_of_stream) == (body, last)


@pytest.mark.parametrize("size", SIZES[:-1])
def test_headers_of_every_size(size):
    value = "v" * size
    sent = read(messages.head(Head(200, (("content-type", value), ("other", value)), ("n" * max(size, 1),))))
    mutation = sent.response_headers.response.header_mutation
    assert [option.header.raw_value.decode() for option in mutation.set_headers] == ["200", value, value]
    assert list(mutation.remove_headers) == ["n" * max(size, 1), "content-length"]


def test_metadata_keep_their_types_also_when_they_come_again():
    reply = Reply(200, (), b"", "x", (), METADATA)
    expected = {
        name: (float, float(value)) if type(value) is int else (type(value), value) for name, value in METADATA.items()
    }
    for _ in range(2):
        assert remembered(read(messages.immediate(reply))) == expected
    assert remembered(read(messages.streamed(b"", True, METADATA))) == expected


@pytest.mark.parametrize("size", [*SIZES, 900, 1023, 1024, 1025])
def test_pieces_and_metadata_of_every_size_also_when_they_come_again(size):
    data, text = b"d" * size, "w" * size
    for _ in range(2):
        sent = read(messages.streamed(data, False, {"words": text, "one": 1}))
        piece = sent.response_body.response.body_mutation.streamed_response
        assert (piece.body, piece.end_of_stream) == (data, False)
        assert remembered(sent) == {"words": (str, text), "one": (float, 1.0)}
        assert not read(messages.streamed(data, False, {})).dynamic_metadata.fields


def test_tokens_in_envoys_own_namespace_stand_beside_ours():
    usage = EnvoyTokenUsage({"model": "é" * 200, "input_tokens": 2**40}, {"cached_tokens": 0}, {"reasoning_tokens": 7})
    expected = {
        "model": "é" * 200,
        "input_tokens": 2.0**40,
        "input_token_details": {"cached_tokens": 0.0},
        "output_token_details": {"reasoning_tokens": 7.0},
    }
    reply = Reply(200, (), b"", "x", (), {"yes": True}, usage)
    replies = (messages.immediate(reply), messages.replaced_head(reply), messages.replaced_whole(reply))
    for sent in (*replies, messages.streamed(b"x", True, {"yes": True}, usage)):
        told = MessageToDict(read(sent).dynamic_metadata)
        assert told == {METADATA_NAMESPACE: {"yes": True}, "envoy.ai.token_usage": expected}


def test_a_header_of_every_response_is_not_confused_with_another():
    for status in (200, 404, 200):
        [option] = read(messages.head(Head(status, ()))).response_headers.response.header_mutation.set_headers
        assert (option.header.key, option.header.raw_value) == (":status", str(status).encode())
