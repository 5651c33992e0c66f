"""Malformed bodies: one readable `ApiError` that names the path."""

from typing import Literal

import pytest
from msgspec import Raw, Struct

from extproc.openai.decoding import decode, decode_at
from extproc.openai.errors import ApiError


class Part(Struct, tag_field="type", tag="part"):
    text: str


class Other(Struct, tag_field="type", tag="other"):
    text: str


class Shape(Struct, forbid_unknown_fields=True):
    name: str
    parts: list[Part | Other] = []
    mode: Literal["on", "off"] | None = None
    labels: dict[str, int] | None = None
    free: Raw = Raw(b"null")


def rejection(body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decode(body, Shape)
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    return caught.value


def test_a_good_body_becomes_the_struct() -> None:
    assert decode(b'{"name":"x","parts":[{"type":"other","text":"y"}]}', Shape) == Shape("x", [Other("y")])


@pytest.mark.parametrize(
    ("body", "code", "param", "message"),
    [
        (b"{}", "missing_required_parameter", "name", "Missing required parameter: 'name'."),
        (b'{"name":5}', "invalid_type", "name", "Invalid type for 'name': expected str, got int."),
        (b"[]", "invalid_type", None, "Invalid type: expected object, got array."),
        (b'{"name":"x","nam":1}', "unknown_parameter", "nam", "Unrecognized request argument supplied: nam"),
        (
            b'{"name":"x","parts":[{"type":"part","text":"y"},{"type":"part"}]}',
            "missing_required_parameter",
            "parts[1].text",
            "Missing required parameter: 'parts[1].text'.",
        ),
        (
            b'{"name":"x","parts":[{"text":"y"}]}',
            "missing_required_parameter",
            "parts[0].type",
            "Missing required parameter: 'parts[0].type'.",
        ),
        (
            b'{"name":"x","parts":[{"type":"pat"}]}',
            "invalid_value",
            "parts[0].type",
            "Invalid value for 'parts[0].type': 'pat'.",
        ),
        (b'{"name":"x","mode":"up"}', "invalid_value", "mode", "Invalid value for 'mode': 'up'."),
        (
            b'{"name":"x","mode":5}',
            "invalid_type",
            "mode",
            "Invalid type for 'mode': expected str or null, got int.",
        ),
        (
            b'{"name":"x","labels":{"a":"b"}}',
            "invalid_type",
            "labels",
            "Invalid type for 'labels': expected int, got str.",
        ),
    ],
)
def test_a_wrong_field_is_named(body: bytes, code: str, param: str | None, message: str) -> None:
    error = rejection(body)
    assert (error.code, error.param, error.message) == (code, param, message)


@pytest.mark.parametrize("body", [b"", b"{", b"{]", b'{"name":"x"}}', b"\xef\xbb\xbf{}", b'{"name":NaN}'])
def test_a_body_that_is_not_json_is_reported_as_such(body: bytes) -> None:
    error = rejection(body)
    assert error.message.startswith("The request body is not valid JSON")
    assert error.param is None


@pytest.mark.parametrize(
    "body",
    [b'{"name":"\xff"}', b'{"name":"x","free":"\xff"}', b'{"name":"x","free":{"\xed\xa0\x80":1}}'],
    ids=["in a string", "in free JSON", "a surrogate in UTF-8"],
)
def test_bytes_that_are_not_utf8_are_rejected_anywhere(body: bytes) -> None:
    assert "UTF-8" in rejection(body).message


@pytest.mark.parametrize("escape", [rb"\ud83d", rb"\uDE00", rb"\ud83d\u0041"])
def test_half_a_surrogate_pair_is_named_as_the_fault(escape: bytes) -> None:
    error = rejection(b'{"name":"cut ' + escape + b'"}')
    assert "surrogate" in error.message


def test_a_body_that_is_nested_without_end_is_rejected() -> None:
    assert "nested too deeply" in rejection(b'{"name":"x","free":' + b"[" * 100_000).message


def test_raw_json_that_is_nested_without_end_is_rejected() -> None:
    with pytest.raises(ApiError, match="nested too deeply"):
        decode_at(Raw(b'{"name":"x","free":' + b"[" * 100_000), Shape, "tools[0]")


def test_a_clients_text_cannot_pass_for_the_path_of_the_fault() -> None:
    error = rejection(b'{"name":"x","parts":[{"type":"pat - at `$.fake`"}]}')
    assert error.param == "parts[0].type"


@pytest.mark.parametrize(
    "body", [b'{"name":"x","%s":1}', b'{"name":"x","mode":"%s"}', b'{"name":"x","parts":[{"type":"%s"}]}']
)
def test_a_fault_of_a_megabyte_is_not_sent_back_whole(body: bytes) -> None:
    error = rejection(body.replace(b"%s", b"a" * 1_000_000))
    assert len(error.encode()) < 5000
