"""Small requests for embeddings of many inputs: what they cost before anything of them is sent."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from extproc import cl100k_base, config
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.config.rate_limits import RateLimits
from extproc.exchange import embeddings_endpoint
from extproc.exchange.budget import MemoryBudget, Reservation
from extproc.exchange.call_series import CallSeries
from extproc.exchange.directives import Reply, Wait
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.endpoint import AskContext, BedrockCall, TranslatedRequest
from extproc.exchange.events import RequestBody
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import SideCalls
from extproc.exchange.meter import input_estimate
from extproc.exchange.outgoing import hold_calls
from extproc.exchange.side_calls import BATCH
from extproc.exchange.translation import decoded
from extproc.tenancy.directory import Directory
from tests.unit.exchange.replies import error, only
from tests.unit.exchange.test_exchange import NOW, headers

TITAN = "amazon.titan-embed-text-v2:0"
MODELS = (TITAN, "amazon.titan-embed-text-v1", "amazon.nova-2-multimodal-embeddings-v1:0", "cohere.embed-v4:0")
INPUTS: dict[str, object] = {"texts": "a", "token arrays": [1], "umlauts": "\u00e4\n\u0001"}


def body_of(item: object, count: int, model: str = TITAN) -> bytes:
    return json.dumps({"model": model, "input": [item] * count}).encode()


def translated(body: bytes) -> TranslatedRequest:
    request = decoded(body, EMBEDDINGS, (), None, 0)
    return request.ask(Target(request.model, request.model), BUILT_IN.of(None), AskContext({}, cl100k_base.decode))


def python_calls(work: Callable[[], object]) -> int:
    """Return how many functions of Python's are called."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(("name", "each"), [("texts", 0), ("umlauts", 0), ("token arrays", 1)])
def test_an_input_more_takes_no_function_of_pythons_or_that_of_its_token_ids(name: str, each: int) -> None:
    few, many = body_of(INPUTS[name], 100), body_of(INPUTS[name], 2000)
    translated(few)
    more = python_calls(lambda: translated(many)) - python_calls(lambda: translated(few))
    assert more <= 1900 * each + 10


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BedrockCall]:
    """The calls to Bedrock that the endpoint has made."""
    calls: list[BedrockCall] = []

    def make(*values: Any, **fields: Any) -> BedrockCall:
        calls.append(BedrockCall(*values, **fields))
        return calls[-1]

    monkeypatch.setattr(embeddings_endpoint, "BedrockCall", make)
    return calls


def limited(gateway: Gateway, **limits: int) -> Gateway:
    settings = replace_limits(gateway.settings, RateLimits(**limits))
    return replace(gateway, settings=settings, directory=Directory(settings))


def replace_limits(settings: config.Settings, limits: RateLimits) -> config.Settings:
    organisations = {**settings.organisations, "acme": config.Organisation(limits=limits)}
    larger = config.LimitSettings(request_bytes=1 << 20)
    return config.Settings(
        organisations=organisations, tokens=settings.tokens, aws=settings.aws, budgets=settings.budgets, limits=larger
    )


def received(gateway: Gateway, body: bytes) -> Any:
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(path="/oai/v1/embeddings"), NOW)
    return only(exchange.receive(RequestBody(body), NOW))


def test_calls_are_made_as_they_are_sent(gateway: Gateway, made: Sequence[BedrockCall]) -> None:
    wait = received(limited(gateway, requests_per_minute=5), body_of("a", 2 * BATCH))
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, SideCalls)
    assert len(wait.job.calls) == BATCH
    assert len(made) <= BATCH + 4


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_a_request_beyond_a_rate_makes_none(gateway: Gateway, made: list[BedrockCall], limit: str) -> None:
    crowded = limited(gateway, **{limit: 1})
    replies = [received(crowded, body_of("a", 2 if limit == "requests_per_minute" else 100))]
    made.clear()
    replies.append(received(crowded, body_of("a", 2000)))
    assert isinstance(replies[-1], Reply)
    assert (replies[-1].status, error(replies[-1])["code"]) == (429, "rate_limit_exceeded")
    assert len(made) <= 4


def test_a_request_without_memory_makes_none(gateway: Gateway, made: Sequence[BedrockCall]) -> None:
    reply = received(replace(limited(gateway), budget=MemoryBudget(1 << 24, 1 << 23)), body_of("a", 2000))
    assert (reply.status, error(reply)["code"]) == (413, "request_too_large")
    assert len(made) <= 4


def held(calls: Sequence[BedrockCall]) -> tuple[int, int]:
    """Return the bytes that a request with these calls holds, as they go out and for their responses."""
    reservation = Reservation(MemoryBudget(1 << 40, 1 << 40), "acme", 0)
    hold_calls(reservation, calls)
    return reservation.outgoing, reservation.response


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", INPUTS)
def test_the_sums_are_those_over_the_calls(model: str, name: str) -> None:
    calls = translated(body_of(INPUTS[name], 200, model)).calls
    assert isinstance(calls, CallSeries)
    assert held(calls) == held(tuple(calls))
    assert calls.tokens == sum(input_estimate(call.body) for call in calls)
    assert calls.inputs == sum(call.inputs for call in calls) == 200
    assert calls[1:3] == tuple(calls)[1:3]
    assert calls[-1] == tuple(calls)[-1]
