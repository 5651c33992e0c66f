"""Images that a chat names by URL: asked for before anything else, and refused at the place that names them."""

import base64
import json
from typing import Any

import pytest

from extproc.bedrock.capabilities import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.config import Media, Settings
from extproc.exchange.calls import MAX_FETCHED, ChatCall
from extproc.exchange.jobs import Fetch, Fetched, FetchFailure
from extproc.openai.errors import ApiError

PNG = b"\x89PNG\r\n\x1a\n rest"
MODEL = "anthropic.claude-sonnet-4-6"
SETTINGS = Settings(media=Media(max_bytes=2048, total_bytes=4096, concurrency=2))


def asked(*urls: str, settings: Settings = SETTINGS) -> ChatCall:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    messages: list[Any] = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    body = {"model": MODEL, "messages": [*messages, {"role": "user", "content": parts}]}
    return ChatCall(json.dumps(body).encode(), settings, "1", 0.0)


def sent(call: ChatCall) -> Any:
    [question] = call.ask(Target(MODEL, MODEL), BUILT_IN.of(MODEL))
    return json.loads(question.body)["messages"][-1]["content"]


def test_a_chat_without_remote_images_fetches_nothing() -> None:
    call = asked("data:image/png;base64," + base64.b64encode(PNG).decode())
    assert call.fetch() is None
    assert sent(call)[-1]["image"]["format"] == "png"


def test_each_image_is_fetched_once_and_goes_out_wherever_it_stands() -> None:
    call = asked("https://x/a", "https://x/b", "https://x/a")
    job = call.fetch("acme")
    assert job == Fetch(("https://x/a", "https://x/b"), 2048, 4096, 2, "acme")
    assert call.fetched((Fetched(PNG, "text/html"), Fetched(b"GIF89a", "image/png"))) == 2 * len(PNG) + 6
    blocks = sent(call)[1:]
    assert [block["image"]["format"] for block in blocks] == ["png", "gif", "png"]
    assert base64.b64decode(blocks[0]["image"]["source"]["bytes"]) == PNG


def test_an_image_that_could_not_be_had_is_refused_at_its_place() -> None:
    call = asked("https://x/a", "https://x/a", "https://x/b")
    call.fetch()
    with pytest.raises(ApiError) as caught:
        call.fetched(FetchFailure(1, "It is too large. Send a smaller one.", "image_too_large"))
    error = caught.value
    assert (error.status, error.param) == (400, "messages[2].content[2].image_url.url")
    assert (error.code, error.message) == ("image_too_large", "It is too large. Send a smaller one.")


def test_an_image_counts_as_often_as_it_is_named() -> None:
    """Else one of three megabytes, named twenty times, would go out as eighty."""
    large = Fetched(PNG.ljust(2000), "image/png")
    twice, thrice = asked(*["https://x/a"] * 2), asked("https://x/b", *["https://x/a"] * 3)
    assert (twice.fetch(), thrice.fetch()) == (
        Fetch(("https://x/a",), 2048, 4096, 2),
        Fetch(("https://x/b", "https://x/a"), 2048, 4096, 2),
    )
    assert twice.fetched((large,)) == 4000
    with pytest.raises(ApiError) as caught:
        thrice.fetched((Fetched(PNG, "image/png"), large))
    assert (caught.value.status, caught.value.code) == (400, "image_too_large")
    assert caught.value.param == "messages[2].content[1].image_url.url"
    assert "more than 4096 bytes" in caught.value.message


def test_too_many_images_are_refused_before_any_is_fetched() -> None:
    urls = [f"https://x/{number}" for number in range(MAX_FETCHED)]
    assert asked(*urls).fetch() is not None
    with pytest.raises(ApiError) as caught:
        asked(*urls, "https://x/one-more").fetch()
    assert (caught.value.status, caught.value.code) == (400, "too_many_images")
    assert caught.value.param == f"messages[2].content[{MAX_FETCHED}].image_url.url"


def test_where_nothing_is_fetched_the_client_hears_what_to_send_instead() -> None:
    call = asked("https://x/a", settings=Settings(media=Media(fetch=False)))
    assert call.fetch() is None
    with pytest.raises(ApiError) as caught:
        sent(call)
    assert (caught.value.status, caught.value.param) == (400, "messages[2].content[0].image_url.url")
    assert "data: URL" in caught.value.message
