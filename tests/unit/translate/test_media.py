"""Images: what goes through, and what is refused at its path."""

import base64
from typing import Any

import msgspec
import pytest

from extproc.openai.errors import ApiError
from extproc.translate.media import image_block

PATH = "messages[0].content[1].image_url.url"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(10)


def url(content: bytes, head: str = "data:image/png;base64") -> str:
    return f"{head},{base64.b64encode(content).decode()}"


def block(text: str) -> Any:
    return msgspec.to_builtins(image_block(text, PATH))["image"]


def refused(text: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        image_block(text, PATH)
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


def test_the_base64_goes_through_as_it_came() -> None:
    text = base64.b64encode(PNG).decode()
    assert block(f"data:image/png;base64,{text}")["source"] == {"bytes": text}


def test_line_breaks_in_the_base64_are_taken_out() -> None:
    text = base64.b64encode(PNG).decode()
    broken = f"{text[:4]}\r\n{text[4:8]}\n\t {text[8:]}\n"
    assert block(f"data:image/png;base64,{broken}")["source"] == {"bytes": text}


@pytest.mark.parametrize("text", ["https://example.com/a.png", "http://x/a,b", "file:///etc/passwd", "s3://b/k", ""])
def test_what_would_have_to_be_fetched_is_refused_with_the_way_out(text: str) -> None:
    assert "data: URL" in refused(text).message


@pytest.mark.parametrize("text", ["data:image/png", "data:image/png,abc", "data:text/plain;base64d,aGk="])
def test_a_data_url_without_base64_is_refused(text: str) -> None:
    assert "base64 PNG" in refused(text).message


@pytest.mark.parametrize("data", ["iVBORw0KGgo", "iVBOR!0K", "=AAA", "AA=A", "AAAA=AAA", "ïVBO", "AAAA====", "-_-_"])
def test_damaged_base64_is_refused(data: str) -> None:
    assert "damaged" in refused(f"data:image/png;base64,{data}").message


@pytest.mark.parametrize(
    "content", [b"", b"hi", b"%PDF-1.7", b"<svg/>", b"BM bitmap", b"RIFF\x10\x00\x00\x00WAVEfmt ", PNG[:7]]
)
def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    assert "not an image" in refused(url(content)).message


def test_a_refusal_does_not_send_the_image_back() -> None:
    assert len(refused(url(b"x" * 100_000)).message) < 200
