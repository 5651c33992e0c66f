"""Bodies in several segments equal the same bodies in one."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.bedrock.converse import (
    ConverseMessage,
    ConverseRequest,
    ImageBlock,
    ImageContent,
    MediaSource,
    TextContent,
    Verbatim,
)
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.sigv4 import Signer
from extproc.payload import Payload, Segments, joined, segments

base64 = st.text(st.sampled_from("ABz09+/="), max_size=12)
blocks = st.lists(st.text(st.characters(max_codepoint=0x7F), max_size=5).map(TextContent) | base64, max_size=5)


def image(source: str | Verbatim) -> ImageContent:
    return ImageContent(ImageBlock("png", MediaSource(source)))


@given(st.lists(st.binary(max_size=5), max_size=5))
def test_pieces_are_their_bytes(parts: list[bytes]) -> None:
    pieces = Segments([memoryview(one) for one in parts])
    whole = b"".join(parts)
    assert (len(pieces), bytes(pieces), b"".join(segments(pieces))) == (len(whole), whole, whole)
    assert segments(whole) == (whole,)


@given(st.lists(st.binary(max_size=5) | st.lists(st.binary(max_size=5), max_size=3).map(Segments), max_size=4))
def test_payloads_are_joined_as_their_bytes_are(payloads: list[Payload]) -> None:
    whole = joined(payloads)
    assert bytes(whole) == b"".join(map(bytes, payloads))
    assert isinstance(whole, Segments) is any(isinstance(one, Segments) for one in payloads)


@given(blocks)
def test_a_body_in_segments_equals_the_body_in_one(parts: list[TextContent | str]) -> None:
    def request(*, verbatim: bool) -> ConverseRequest:
        content = [
            one if isinstance(one, TextContent) else image(Verbatim(memoryview(one.encode())) if verbatim else one)
            for one in parts
        ]
        return ConverseRequest(
            [ConverseMessage("user", list(content))], additional_model_request_fields={"a": msgspec.Raw(b'{"b":[]}')}
        )

    encoded = request(verbatim=True).encode()
    assert bytes(encoded) == request(verbatim=False).encode()
    assert isinstance(encoded, Segments) is any(isinstance(one, str) for one in parts)


def test_long_base64_is_not_copied() -> None:
    characters = memoryview(b"A" * 100)
    encoded = ConverseRequest([ConverseMessage("user", [image(Verbatim(characters))])]).encode()
    assert any(part is characters for part in segments(encoded))


def test_a_zero_byte_that_should_not_be_there_is_not_taken_for_a_place() -> None:
    request = ConverseRequest([ConverseMessage("user", [image(Verbatim(memoryview(b"AAAA")))])])
    request.additional_model_request_fields = {"a": msgspec.Raw(b"\0")}
    with pytest.raises(ValueError, match=r"shorter|longer"):
        request.encode()


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_pieces_are_signed_as_their_bytes_are(parts: list[bytes]) -> None:
    signer, keys = Signer("us-east-1", "localhost"), Credentials("AKID", "secret")
    pieces = Segments(parts)
    assert signer.sign(keys, "/p", pieces, (), 0.0) == signer.sign(keys, "/p", bytes(pieces), (), 0.0)


def test_a_text_may_hold_what_marks_a_place() -> None:
    encoded = ConverseRequest(
        [ConverseMessage("user", [TextContent("\0"), image(Verbatim(memoryview(b"AAAA")))])]
    ).encode()
    content = json.loads(bytes(encoded))["messages"][0]["content"]
    assert content == [{"text": "\0"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]
