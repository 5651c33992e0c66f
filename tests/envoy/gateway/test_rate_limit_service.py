"""Limits by a rate limit service that Envoy asks: what it is asked and told, and what callers get."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import APIStatusError, OpenAI, RateLimitError

from tests.envoy.gateway.rate_limit_service import RESET_SECONDS, Call, Entries, RateLimitService

NOVA = "amazon.nova-lite-v1:0"
EMBEDDER = "amazon.titan-embed-text-v2:0"
ASKED: Any = [{"role": "user", "content": "Hello! " * 40}]
HELD: Any = [{"role": "user", "content": "Count to 500. [[local: hold]]"}]


def entries(kind: str, *whose: str) -> Entries:
    return (("kind", kind), *zip(("organisation", "token"), whose, strict=False))


QUESTION: Call = {
    entries("requests", "acme"): 1,
    entries("tokens", "acme"): 0,
    entries("requests", "acme", "ci"): 1,
    entries("tokens", "acme", "ci"): 0,
}


def report(tokens: int) -> Call:
    return {entries("tokens", "acme"): tokens, entries("tokens", "acme", "ci"): tokens}


@pytest.fixture(scope="module")
def running() -> Iterator[RateLimitService]:
    service = RateLimitService()
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def gateway(running: RateLimitService, start_shared: Any) -> Any:
    limits = {"by": "envoy", "service": f"127.0.0.1:{running.port}"}
    return start_shared({"rate_limits": limits, "endpoints": {"responses": True}}, args=["--access-log"])


@pytest.fixture
def service(running: RateLimitService, gateway: Any, local: Any) -> RateLimitService:
    """The service, which has no limits and remembers nothing."""
    running.forget()
    return running


@pytest.fixture
def openai(gateway: Any) -> Any:
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)


@pytest.fixture
def told(service: RateLimitService, eventually: Callable[..., Any]) -> Callable[[int], list[Call]]:
    """Return the calls of the service, once there are so many."""

    def wait(number: int) -> list[Call]:
        eventually(lambda: len(service.calls) >= number)
        return service.calls

    return wait


def ask(client: OpenAI, messages: Any = ASKED, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=NOVA, messages=messages, **options)


def record(gateway: Any, request_id: str) -> Any:
    line = gateway.wait_for(rf'.*"id":"{request_id}".*')[0]
    return json.loads(line[line.index("{") :])["oai"]


def test_a_chat(openai: OpenAI, told: Any) -> None:
    usage = ask(openai).parse().usage
    assert told(2) == [QUESTION, report(usage.total_tokens)]


def test_a_stream(openai: OpenAI, told: Any) -> None:
    stream = ask(openai, stream=True, stream_options={"include_usage": True}).parse()
    usage = list(stream)[-1].usage
    assert told(2) == [QUESTION, report(usage.total_tokens)]


def test_a_response(openai: OpenAI, told: Any) -> None:
    usage = openai.responses.create(model=NOVA, input="Count to 9.").usage
    assert usage is not None
    assert told(2) == [QUESTION, report(usage.total_tokens)]


def test_an_embedding(openai: OpenAI, told: Any) -> None:
    usage = openai.embeddings.create(model=EMBEDDER, input="a text").usage
    assert told(2) == [QUESTION, report(usage.total_tokens)]


UNASKED: Call = {entries("requests", "acme"): 1, entries("requests", "acme", "ci"): 1}
"""What is told beside the tokens of a request that Envoy has not asked about."""


def test_embeddings_of_several_calls_are_told_and_not_asked_about(openai: OpenAI, told: Any) -> None:
    usage = openai.embeddings.create(model=EMBEDDER, input=["two", "texts"]).usage
    ask(openai)
    assert told(3)[:2] == [report(usage.total_tokens) | UNASKED, QUESTION]


def test_embeddings_of_several_calls_of_which_none_is_served_are_no_request(openai: OpenAI, told: Any) -> None:
    with pytest.raises(APIStatusError):
        openai.embeddings.create(model=EMBEDDER, input=["[[local: status=500]] x", "[[local: status=500]] y"])
    with pytest.raises(APIStatusError):
        openai.embeddings.create(model=EMBEDDER, input=["a", "b"], dimensions=3)
    assert told(2) == [report(0), report(0)]


def test_a_failure_of_bedrock_has_no_hits(openai: OpenAI, told: Any) -> None:
    with pytest.raises(APIStatusError):
        ask(openai, [{"role": "user", "content": "[[local: status=500]] x"}])
    assert told(2) == [QUESTION, report(0)]


def test_what_the_worker_rejects_is_not_asked_about(openai: OpenAI, told: Any) -> None:
    with pytest.raises(APIStatusError):
        openai.chat.completions.create(model=NOVA, messages=[])
    usage = ask(openai).parse().usage
    assert told(3) == [report(0), QUESTION, report(usage.total_tokens)]


def test_a_stranger_costs_the_service_nothing(openai: OpenAI, told: Any) -> None:
    with pytest.raises(APIStatusError):
        ask(openai.with_options(api_key="qc_nobody"))
    usage = ask(openai).parse().usage
    assert told(2) == [QUESTION, report(usage.total_tokens)]


def begun(client: OpenAI) -> Any:
    """Return a stream of which some text has arrived, and the rest is held back."""
    response = ask(client, HELD, stream=True)
    stream = response.parse()
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    return response, stream


def test_a_client_that_leaves_is_charged_what_was_sent(gateway: Any, openai: OpenAI, told: Any) -> None:
    response, stream = begun(openai)
    stream.close()
    counted = record(gateway, response.headers["x-request-id"])
    assert counted["estimated"] is True
    assert counted["output_tokens"] > 0
    assert told(2) == [QUESTION, report(counted["input_tokens"] + counted["output_tokens"])]


@pytest.mark.parametrize("stream", [False, True])
def test_over_a_limit_of_requests(
    gateway: Any, service: RateLimitService, openai: OpenAI, told: Any, local: Any, stream: bool
) -> None:
    service.forget({entries("requests", "acme", "ci"): 1})
    ask(openai)
    with pytest.raises(RateLimitError) as rejected:
        ask(openai, stream=stream)
    response = rejected.value.response
    assert rejected.value.code == "rate_limit_exceeded"
    assert response.headers["retry-after"] == str(RESET_SECONDS)
    assert response.json()["error"].keys() == {"message", "type", "param", "code"}
    assert not [name for name in response.headers if name.startswith(("x-ratelimit", "x-envoy"))]
    assert len(local.calls()) == 1, "Bedrock was called"
    assert told(4)[2:] == [QUESTION, report(0)]
    assert record(gateway, response.headers["x-request-id"])["input_tokens"] == 0


def test_over_a_limit_of_tokens(service: RateLimitService, openai: OpenAI, told: Any) -> None:
    """The last call before it may exceed it, as what it takes is known at its end."""
    service.forget({entries("tokens", "acme"): 10})
    used = ask(openai).parse().usage.total_tokens
    assert told(2)[1] == report(used)
    assert used > 10
    with pytest.raises(RateLimitError):
        ask(openai)


def test_a_service_that_is_away_lets_calls_pass(running: RateLimitService, service: Any, openai: OpenAI) -> None:
    running.stop()
    try:
        assert ask(openai).parse().usage.total_tokens > 0
    finally:
        running.start()


def test_a_service_that_hangs_lets_calls_pass(service: RateLimitService, openai: OpenAI) -> None:
    service.released.clear()
    try:
        assert ask(openai).parse().usage.total_tokens > 0
    finally:
        service.released.set()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_a_service_that_is_away_rejects_where_it_is_to(start_gateway: Any, local_of: Any, nowhere: str) -> None:
    gateway = start_gateway({"rate_limits": {"by": "envoy", "service": nowhere, "on_store_error": "reject"}})
    client = OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)
    for stream in (False, True):
        with pytest.raises(APIStatusError) as rejected:
            ask(client, stream=stream)
        error = rejected.value
        assert (error.status_code, error.code) == (503, "limits_unavailable")
        assert error.response.headers["retry-after"] == "1"
    assert local_of(gateway.local_url).calls() == []


def test_a_stream_whose_worker_is_killed_is_charged(gateway: Any, openai: OpenAI, told: Any) -> None:
    """The last of this gateway: it leaves it another worker."""
    gateway.expect_restarts()
    response, stream = begun(openai)
    since = len(gateway.log())
    os.kill(gateway.pids("extproc.worker.command")[0], signal.SIGKILL)
    with pytest.raises(Exception, match=r"\w"):
        list(stream)
    counted = record(gateway, response.headers["x-request-id"])
    assert counted["output_tokens"] > 0
    assert told(2) == [QUESTION, report(counted["input_tokens"] + counted["output_tokens"])]
    gateway.wait_for("was ended by SIGKILL", since)


def test_what_is_beyond_the_limit_by_address_is_no_question(running: RateLimitService, start_gateway: Any) -> None:
    limits = {"by": "envoy", "service": f"127.0.0.1:{running.port}"}
    gateway = start_gateway({"rate_limits": limits, "limits": {"address_requests_per_second": 1}})
    running.forget()
    client = OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)
    served, rejected = 0, 0
    while rejected < 5:
        try:
            ask(client)
            served += 1
        except RateLimitError:
            rejected += 1
    assert served
    assert running.calls.count(QUESTION) == served
