"""What a long document, or several media, are taken for before Bedrock has counted."""

import base64
import json

import pytest

from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.exchange.chat_endpoint import decode
from extproc.exchange.endpoint import AskContext, BedrockCall
from extproc.exchange.meter import MEDIA_TOKENS, input_estimate, input_estimates
from extproc.payload import Payload
from extproc.translate.pdf_pages import HIDDEN, PAGE_TOKENS

MODEL = "anthropic.claude-sonnet-4-6"
DATA = {
    "pdf": ("application/pdf", b"%PDF-1.7\n"),
    "docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04word/"),
    "csv": ("text/csv", b"a,b\n"),
    "png": ("image/png", b"\x89PNG\r\n\x1a\n"),
}


def call_of(*files: tuple[str, int], text: str = "") -> BedrockCall:
    """Return the call of a chat with these files, by kind and size."""
    parts: list[object] = [{"type": "text", "text": text or "What is it?"}]
    for kind, size in files:
        label, head = DATA[kind]
        url = f"data:{label};base64," + base64.b64encode(head.ljust(size, b"1")).decode()
        if kind == "png":
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            parts.append({"type": "file", "file": {"filename": f"{'a name' * 30}.{kind}", "file_data": url}})
    request = decode(json.dumps({"model": MODEL, "messages": [{"role": "user", "content": parts}]}).encode())
    [call] = request.ask(Target(MODEL, MODEL), BUILT_IN.of(MODEL), AskContext({}, lambda _: "")).calls
    return call


def body_of(*files: tuple[str, int], text: str = "") -> Payload:
    return call_of(*files, text=text).body


@pytest.mark.parametrize(
    ("kind", "size", "sure", "guessed"),
    [
        ("png", 1_600_000, MEDIA_TOKENS, 0),
        ("pdf", 20_000, MEDIA_TOKENS, 0),
        ("pdf", 1_600_000, MEDIA_TOKENS, 100_000 - MEDIA_TOKENS),
        ("docx", 400_000, MEDIA_TOKENS, 100_000 - MEDIA_TOKENS),
        ("csv", 400_000, 100_000, 0),
    ],
)
def test_a_long_document_is_estimated_by_its_length(kind: str, size: int, sure: int, guessed: int) -> None:
    found = input_estimates(body_of((kind, size)))
    assert sure <= found[0] < sure + 200, "and the JSON around it"
    assert abs(found[1] - guessed) <= 1
    assert input_estimate(body_of((kind, size))) == sum(found)


def test_the_files_of_a_request_are_told_apart() -> None:
    text = '{"document":{"format":"pdf","name":"x","source":{"bytes":"'
    sure, guessed = input_estimates(body_of(("png", 1_600_000), ("pdf", 1_600_000), ("png", 1_600_000), text=text))
    assert 3 * MEDIA_TOKENS <= sure < 3 * MEDIA_TOKENS + 300
    assert abs(guessed - (100_000 - MEDIA_TOKENS)) <= 1


@pytest.mark.parametrize("size", [1_000, 1_600_000])
def test_a_pdf_on_its_way_has_the_tokens_of_its_pages(size: int) -> None:
    """But no more is reserved than for its length: no small budget is to reject it."""
    call = call_of(("pdf", size), ("pdf", size))
    assert call.page_tokens == 2 * (HIDDEN * PAGE_TOKENS - size // 16)
    assert input_estimate(call.body) <= 2 * (size // 16 + MEDIA_TOKENS)
    assert call_of(("csv", size), ("docx", size)).page_tokens == 0
