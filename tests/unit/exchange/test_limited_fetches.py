"""Images that a caller with limits names by URL: the request counts before they are fetched, and once."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as altered

from extproc import config
from extproc.config.rate_limits import RateLimits
from extproc.exchange.directives import Directive, Forward, Reply, Wait
from extproc.exchange.events import RequestBody, RequestHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Fetch, Fetched, FetchedImages, FetchFailure
from extproc.limits.counters import MemoryCounters
from extproc.tenancy.directory import Directory

NOW = 1_790_000_000.0
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PARTS = [
    {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}},
    {"type": "text", "text": "What is it? " * 40},
]
BODY = {"model": "anthropic.claude-sonnet-4-6", "messages": [{"role": "user", "content": PARTS}]}

Limited = Callable[..., Gateway]


@pytest.fixture
def limited(gateway: Gateway) -> Limited:
    """Return a gateway whose organisation has these limits; time stands still."""

    def make(**limits: int) -> Gateway:
        own = config.Organisation(limits=RateLimits(**limits))
        settings = altered(gateway.settings, organisations={**gateway.settings.organisations, "acme": own})
        counters = MemoryCounters(lambda: 0)
        return replace(gateway, settings=settings, directory=Directory(settings), counters=counters)

    return make


def asked(gateway: Gateway, **more: Any) -> tuple[Exchange, Directive]:
    exchange = Exchange(gateway, "0" * 32)
    headers = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": "Bearer qc_test"}
    exchange.receive(RequestHeaders(headers), NOW)
    [directive] = exchange.receive(RequestBody(bytearray(json.dumps(BODY | more).encode())), NOW)
    return exchange, directive


def fetched(gateway: Gateway, result: FetchedImages | FetchFailure, **more: Any) -> Directive:
    exchange, wait = asked(gateway, **more)
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, Fetch)
    [directive] = exchange.receive(Resumed(result), NOW)
    return directive


def reply(directive: Directive) -> tuple[int, Any, list[str]]:
    """Return the status of an error, its body, and what is left of the requests, as often as a header names it."""
    assert isinstance(directive, Reply)
    left = [value for name, value in directive.headers if name == "x-ratelimit-remaining-requests"]
    return directive.status, json.loads(directive.body)["error"], left


def test_a_caller_beyond_its_limit_has_no_image_fetched(limited: Limited) -> None:
    gateway = limited(requests_per_minute=2)
    left = [reply(fetched(gateway, FetchFailure(0, "No such image.", "image_failed")))[::2] for _ in range(2)]
    assert left == [(400, ["1"]), (400, ["0"])], "an image that cannot be had was asked for all the same"
    status, error, left_now = reply(asked(gateway)[1])
    assert (status, error["code"], left_now) == (429, "rate_limit_exceeded", ["0"])
    assert "Rate limit reached for anthropic.claude-sonnet-4-6 in acme on requests per min" in error["message"]


def test_a_request_counts_once(limited: Limited) -> None:
    gateway = limited(requests_per_minute=3, tokens_per_minute=100_000)
    forward = fetched(gateway, FetchedImages((Fetched(PNG, "image/png"),)))
    assert isinstance(forward, Forward)
    text = {**BODY, "messages": [{"role": "user", "content": "Hello!"}]}
    assert isinstance(asked(gateway, **text)[1], Forward)
    assert isinstance(asked(gateway)[1], Wait)
    assert reply(asked(gateway)[1])[::2] == (429, ["0"])


def test_tokens_count_when_the_images_are_there(limited: Limited) -> None:
    gateway = limited(requests_per_minute=5, tokens_per_minute=100)
    status, error, left = reply(fetched(gateway, FetchedImages((Fetched(PNG, "image/png"),))))
    assert (status, error["type"], left) == (429, "tokens", ["4"])
    assert "Request too large" in error["message"]


def test_streams_count_when_the_images_are_there(limited: Limited) -> None:
    gateway = limited(concurrent_streams=1)
    images = FetchedImages((Fetched(PNG, "image/png"),))
    assert isinstance(fetched(gateway, images, stream=True), Forward)
    status, error, left = reply(fetched(gateway, images, stream=True))
    assert (status, error["type"], left) == (429, "requests", [])


def test_without_limits_nothing_counts(gateway: Gateway) -> None:
    images = FetchedImages((Fetched(PNG, "image/png"),))
    assert isinstance(fetched(gateway, images), Forward)
