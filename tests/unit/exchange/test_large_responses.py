"""Whole responses of Bedrock's that are large, which another process assembles; and those with too much text."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.exchange.directives import Abort, Wait
from extproc.exchange.endpoint import LARGE_RESPONSES
from extproc.exchange.events import Event, ResponseBody, ResponseHeaders, ResponseTrailers, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Complete
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.errors import ModelError
from extproc.translate.response_limits import MAX_WHOLE_TEXT, longest_text
from tests.unit.exchange.replies import error, only

Send = Callable[..., Exchange]

NOW = 1_790_000_000.0
LONG = "x" * LARGE_RESPONSES


def converse(*blocks: Any) -> bytes:
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    message = {"role": "assistant", "content": list(blocks)}
    return json.dumps({"output": {"message": message}, "stopReason": "end_turn", "usage": usage}).encode()


def responding(exchange: Exchange) -> Exchange:
    assert not exchange.receive(ResponseHeaders({":status": "200"}), NOW)
    return exchange


def job_of(exchange: Exchange, *events: Event) -> Complete:
    """Return the job for which the exchange waits after the last of these events."""
    *before, last = events
    assert all(not exchange.receive(event, NOW) for event in before)
    wait = only(exchange.receive(last, NOW))
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, Complete)
    return wait.job


def completed(job: Complete) -> Any:
    return job.pending.complete(job.context, [(response.headers, response.body) for response in job.responses])


def test_a_response_that_is_not_large_is_assembled_at_once(sent: Send, gateway: Gateway) -> None:
    body = converse({"text": "x" * (LARGE_RESPONSES - len(converse({"text": ""})) - 1)})
    assert only(responding(sent(gateway)).receive(ResponseBody(body, end_of_stream=True), NOW)).status == 200


@pytest.mark.parametrize("end", [ResponseBody(b"", end_of_stream=True), ResponseTrailers()], ids=["body", "trailers"])
def test_a_large_response_is_assembled_by_another_process(sent: Send, gateway: Gateway, end: Event) -> None:
    exchange = responding(sent(gateway))
    job = job_of(exchange, ResponseBody(converse({"text": LONG})), end)
    assert (job.endpoint.operation, job.organisation, job.token) == ("chat", "acme", "one")
    assert not exchange.done
    assert exchange.idle_timeout(0.0) is None
    reply = only(exchange.receive(Resumed(completed(job)), NOW))
    assert (reply.status, json.loads(reply.body)["choices"][0]["message"]["content"]) == (200, LONG)
    assert {"input_tokens": 3, "output_tokens": 5, "finish": "stop", "estimated": False}.items() <= (
        exchange._call.record.metadata().items()
    )
    assert exchange.done


def test_a_large_response_that_cannot_be_assembled_is_an_error_and_an_estimate(sent: Send, gateway: Gateway) -> None:
    exchange = responding(sent(gateway, max_tokens=30_000))
    job_of(exchange, ResponseBody(converse({"text": LONG}), end_of_stream=True))
    reply = only(exchange.receive(Resumed(ApiError(503, "No.", code="translation_unavailable")), NOW))
    assert (reply.status, error(reply)["code"]) == (503, "translation_unavailable")
    assert (exchange._call.record.estimated, exchange._call.record.output_tokens) == (True, 30_000)


def test_what_bedrock_counted_of_a_large_response_that_failed_counts(sent: Send, gateway: Gateway) -> None:
    exchange = responding(sent(gateway))
    job_of(exchange, ResponseBody(converse({"text": LONG}), end_of_stream=True))
    failure = ModelError(ApiError(502, "No.", code="model_error"), Usage(3, 5))
    assert only(exchange.receive(Resumed(failure), NOW)).status == 502
    assert (exchange._call.record.estimated, exchange._call.record.output_tokens) == (False, 5)


def test_nothing_follows_a_large_response_that_has_ended(sent: Send, gateway: Gateway) -> None:
    exchange = responding(sent(gateway))
    job_of(exchange, ResponseBody(converse({"text": LONG}), end_of_stream=True))
    assert isinstance(only(exchange.receive(ResponseBody(b"more", end_of_stream=True), NOW)), Abort)


@pytest.mark.parametrize("most", [1, 4000])
def test_a_response_with_more_text_than_its_limit_of_tokens_can_be_is_an_error(
    sent: Send, gateway: Gateway, most: int
) -> None:
    whole = converse({"text": "x" * longest_text(most)})
    reply = only(responding(sent(gateway, max_tokens=most)).receive(ResponseBody(whole, end_of_stream=True), NOW))
    assert reply.status == 200
    more = converse({"text": "x" * longest_text(most)}, {"text": "x"})
    exchange = responding(sent(gateway, max_tokens=most))
    reply = only(exchange.receive(ResponseBody(more, end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (502, "bad_upstream_answer")
    assert f"more than {longest_text(most):,} bytes of text" in error(reply)["message"]
    assert (exchange._call.record.estimated, exchange._call.record.output_tokens) == (True, most)


def test_a_response_to_a_request_without_a_limit_has_one_all_the_same(sent: Send, gateway: Gateway) -> None:
    job = job_of(responding(sent(gateway)), ResponseBody(converse({"text": "x" * MAX_WHOLE_TEXT}), end_of_stream=True))
    assert completed(job).finish == "stop"
    more = converse({"text": "x" * MAX_WHOLE_TEXT}, {"text": "x"})
    with pytest.raises(ApiError, match="bytes of text"):
        completed(job_of(responding(sent(gateway)), ResponseBody(more, end_of_stream=True)))
