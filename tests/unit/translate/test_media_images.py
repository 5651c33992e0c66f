"""Images in `data:` URLs: accepted ones, and those rejected at their path."""

import base64
import tracemalloc
from typing import Any

import msgspec
import pytest

from extproc.openai.errors import ApiError
from extproc.translate.lazy_base64 import LazyBase64
from extproc.translate.media import _data_url
from tests.unit.translate.test_media import PATH, PNG, image_block, url


def block(text: str) -> Any:
    return msgspec.to_builtins(image_block(text))["image"]


def rejection(text: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        image_block(text)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, PATH, "invalid_image")
    return error


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0 jpeg", "jpeg"),
        (b"GIF87a rest", "gif"),
        (b"GIF89a rest", "gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "webp"),
    ],
)
def test_the_format_is_read_from_the_bytes(content: bytes, format_: str) -> None:
    assert block(url(content, "data:image/bmp;base64"))["format"] == format_


@pytest.mark.parametrize(
    "head", ["data:image/png;base64", "DATA:image/PNG;BASE64", "data:;base64", "data:image/png;charset=utf-8;base64"]
)
def test_any_data_url_in_base64_will_do(head: str) -> None:
    assert block(url(PNG, head))["format"] == "png"


def test_base64_passes_through_unchanged() -> None:
    text = base64.b64encode(PNG).decode()
    assert block(f"data:image/png;base64,{text}")["source"] == {"bytes": text}


def test_line_breaks_in_the_base64_are_taken_out() -> None:
    text = base64.b64encode(PNG).decode()
    broken = f"{text[:4]}\r\n{text[4:8]}\n\t {text[8:]}\n"
    assert block(f"data:image/png;base64,{broken}")["source"] == {"bytes": text}


@pytest.mark.parametrize("text", ["https://example.com/a.png", "http://x/a,b", "file:///etc/passwd", "s3://b/k", ""])
def test_media_that_would_have_to_be_fetched_are_rejected_with_an_alternative(text: str) -> None:
    assert "data: URL" in rejection(text).message


@pytest.mark.parametrize("form", ["data:%s", "data:%s;base64,aGk=", "data:image/png,%s"])
def test_a_long_head_of_a_data_url_is_not_copied(form: str) -> None:
    """To make text beyond ASCII lower case takes twelve bytes a character, beside four for each copy."""
    text = form % ("\U0001f600" * 200_000)
    tracemalloc.start()
    with pytest.raises(ApiError):
        _data_url(LazyBase64(text), "a data: URL", "image", "url")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text)


@pytest.mark.parametrize("text", ["data:image/png", "data:image/png,abc", "data:text/plain;base64d,aGk="])
def test_a_data_url_without_base64_is_rejected(text: str) -> None:
    assert "base64 PNG" in rejection(text).message


@pytest.mark.parametrize("data", ["iVBORw0KGgo", "iVBOR!0K", "=AAA", "AA=A", "AAAA=AAA", "ïVBO", "AAAA====", "-_-_"])
def test_damaged_base64_is_rejected(data: str) -> None:
    assert "damaged" in rejection(f"data:image/png;base64,{data}").message


@pytest.mark.parametrize(
    "content", [b"", b"hi", b"%PDF-1.7", b"<svg/>", b"BM bitmap", b"RIFF\x10\x00\x00\x00WAVEfmt ", PNG[:7]]
)
def test_bytes_that_are_no_image_are_rejected(content: bytes) -> None:
    assert "not an image" in rejection(url(content)).message


def test_an_error_does_not_send_the_image_back() -> None:
    assert len(rejection(url(b"x" * 100_000)).message) < 200
