"""Images that a chat names by URL: fetched before anything else, and rejected at their path."""

import base64
import json
from typing import Any

import pytest

from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.config import MediaSettings
from extproc.exchange.chat_endpoint import DecodedChat, decode
from extproc.exchange.endpoint import AskContext
from extproc.exchange.image_fetch import ImageFetch
from extproc.exchange.jobs import Fetch, Fetched, FetchedImages, FetchFailure
from extproc.openai.errors import ApiError
from extproc.translate.media import MAX_REMOTE_IMAGES

PNG = b"\x89PNG\r\n\x1a\n rest"
MODEL = "anthropic.claude-sonnet-4-6"
MEDIA = MediaSettings(max_bytes=2048, total_bytes=4096, concurrency=2)


def chat(*urls: str) -> DecodedChat:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    messages: list[Any] = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    body = {"model": MODEL, "messages": [*messages, {"role": "user", "content": parts}]}
    return decode(json.dumps(body).encode())


def fetch(*urls: str) -> ImageFetch:
    return ImageFetch(chat(*urls).images, MEDIA, "acme", 1 << 30)


def sent(request: DecodedChat, images: dict[str, bytes]) -> Any:
    [call] = request.ask(Target(MODEL, MODEL), BUILT_IN.of(MODEL), AskContext(images, lambda _: "")).calls
    return json.loads(bytes(call.body))["messages"][-1]["content"]


def test_a_chat_without_remote_images_has_nothing_to_fetch() -> None:
    request = chat("data:image/png;base64," + base64.b64encode(PNG).decode())
    assert request.images == {}
    assert sent(request, {})[-1]["image"]["format"] == "png"


def test_each_image_is_fetched_once_and_sent_at_every_reference() -> None:
    urls = ("https://x/a", "https://x/b", "https://x/a")
    fetching = fetch(*urls)
    assert fetching.job == Fetch(("https://x/a", "https://x/b"), 2048, 4096, 2, "acme")
    images, size = fetching.receive(FetchedImages((Fetched(PNG, "text/html"), Fetched(b"GIF89a", "image/png"))))
    assert size == 2 * len(PNG) + 6
    blocks = sent(chat(*urls), images)[1:]
    assert [block["image"]["format"] for block in blocks] == ["png", "gif", "png"]
    assert base64.b64decode(blocks[0]["image"]["source"]["bytes"]) == PNG


def test_an_image_that_could_not_be_fetched_is_rejected_at_its_path() -> None:
    with pytest.raises(ApiError) as caught:
        fetch("https://x/a", "https://x/a", "https://x/b").receive(
            FetchFailure(1, "It is too large. Send a smaller one.", "image_too_large")
        )
    error = caught.value
    assert (error.status, error.param) == (400, "messages[2].content[2].image_url.url")
    assert (error.code, error.message) == ("image_too_large", "It is too large. Send a smaller one.")


def test_an_image_counts_as_often_as_it_is_named() -> None:
    """Otherwise an image of three megabytes, named twenty times, would be sent as eighty."""
    large = Fetched(PNG.ljust(2000), "image/png")
    twice, thrice = fetch(*["https://x/a"] * 2), fetch("https://x/b", *["https://x/a"] * 3)
    assert (twice.job, thrice.job) == (
        Fetch(("https://x/a",), 2048, 4096, 2, "acme"),
        Fetch(("https://x/b", "https://x/a"), 2048, 4096, 2, "acme"),
    )
    assert twice.receive(FetchedImages((large,)))[1] == 4000
    with pytest.raises(ApiError) as caught:
        thrice.receive(FetchedImages((Fetched(PNG, "image/png"), large)))
    assert (caught.value.status, caught.value.code) == (400, "image_too_large")
    assert caught.value.param == "messages[2].content[1].image_url.url"
    assert "more than 4096 bytes" in caught.value.message


def test_too_many_images_are_rejected_before_any_is_fetched() -> None:
    urls = [f"https://x/{number}" for number in range(MAX_REMOTE_IMAGES)]
    assert len(fetch(*urls).job.urls) == MAX_REMOTE_IMAGES
    with pytest.raises(ApiError) as caught:
        fetch(*urls, "https://x/one-more")
    assert (caught.value.status, caught.value.code) == (400, "too_many_images")
    assert caught.value.param == f"messages[2].content[{MAX_REMOTE_IMAGES}].image_url.url"


def test_without_the_images_the_error_names_what_to_send_instead() -> None:
    with pytest.raises(ApiError) as caught:
        sent(chat("https://x/a"), {})
    assert (caught.value.status, caught.value.param) == (400, "messages[2].content[0].image_url.url")
    assert "data: URL" in caught.value.message
