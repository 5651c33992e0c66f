"""Embeddings requests of several inputs: side calls, their failures, and what is counted for them."""

import json
from typing import Any

import pytest

from extproc.exchange.directives import Wait
from extproc.exchange.events import (
    Idle,
    RequestBody,
    ResponseBody,
    ResponseHeaders,
    Resumed,
)
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import SideCalls, SideFailure, SideIdle, SideResponse, SideResponses, SideResult
from tests.unit.exchange.replies import error, only
from tests.unit.exchange.test_exchange import NOW, headers, sent, upstream

# Embeddings


def embeddings(exchange: Exchange, **body: Any) -> Any:
    exchange.receive(headers(path="/oai/v1/embeddings"), NOW)
    request = {"model": "amazon.titan-embed-text-v2:0", "dimensions": 256} | body
    return only(exchange.receive(RequestBody(json.dumps(request).encode()), NOW))


def vector(number: int, tokens: int) -> bytes:
    return json.dumps({"embedding": [number] * 256, "inputTextTokenCount": tokens}).encode()


def test_one_text_goes_through_envoy(exchange: Exchange) -> None:
    forward = embeddings(exchange, input="one")
    assert forward.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    exchange.receive(upstream(x_amzn_bedrock_input_token_count="3"), NOW)
    reply = only(exchange.receive(ResponseBody(vector(1, 3), True), NOW))
    assert json.loads(reply.body)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert reply.metadata["input_tokens"] == 3


def test_several_texts_go_out_as_side_calls_and_come_back_in_order(gateway: Gateway, exchange: Exchange) -> None:
    wait = embeddings(exchange, input=["a", "b"])
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, SideCalls)
    assert [json.loads(call.body)["inputText"] for call in wait.job.calls] == ["a", "b"]
    assert wait.job.concurrency == gateway.settings.embeddings.concurrency
    assert wait.job.organisation == "acme"
    assert all(256 * 20 < call.max_bytes < 65_536 for call in wait.job.calls)
    responses = tuple(SideResponse(200, {}, vector(n, 2)) for n in (1, 2))
    reply = only(exchange.receive(Resumed(SideResponses(responses)), NOW))
    body_json = json.loads(reply.body)
    assert [item["embedding"] for item in body_json["data"]] == [[1.0] * 256, [2.0] * 256]
    assert body_json["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (SideResponse(429, {"x-amzn-errortype": "ThrottlingException"}, b"{}"), 429),
        (SideFailure(timed_out=True, message="120 s"), 504),
        (SideFailure(timed_out=False, message="connection refused"), 503),
        (SideFailure(timed_out=False, message="more than 5 bytes", too_large=True), 502),
        (SideIdle(300.0), 504),
        (SideResponses((SideResponse(200, {}, b"[]"), SideResponse(200, {}, b"{}"))), 502),
    ],
)
def test_side_calls_that_fail_are_errors(exchange: Exchange, result: SideResult, status: int) -> None:
    embeddings(exchange, input=["a", "b"])
    reply = only(exchange.receive(Resumed(result), NOW))
    assert reply.status == status
    assert error(reply)


@pytest.mark.parametrize(
    ("result", "begun"),
    [
        (SideResponse(429, {"x-amzn-errortype": "ThrottlingException"}, b"{}", begun=(1,)), [1]),
        (SideFailure(timed_out=True, message="120 s", begun=(0, 2)), [0, 2]),
        (SideFailure(timed_out=False, message="connection refused"), []),
        (SideIdle(300.0, begun=(2,)), [2]),
        (SideResponses((SideResponse(200, {}, b"[]"),) * 3), [0, 1, 2]),
    ],
)
def test_side_calls_that_bedrock_has_begun_are_counted_where_others_fail(
    exchange: Exchange, result: SideResult, begun: list[int]
) -> None:
    wait = embeddings(exchange, input=["a" * 400, "b" * 800, "c" * 1600])
    reply = only(exchange.receive(Resumed(result), NOW))
    assert reply.metadata["input_tokens"] == sum(len(wait.job.calls[place].body) // 4 for place in begun)
    assert reply.metadata["estimated"] is bool(begun)


def test_a_call_that_may_have_begun_is_estimated(exchange: Exchange) -> None:
    told = sent(exchange)
    reply = only(exchange.receive(Idle(300.0), NOW))
    told |= reply.metadata
    assert (reply.status, told["estimated"], told["input_tokens"] > 0) == (504, True, True)


@pytest.mark.parametrize(
    ("details", "estimated"),
    [
        ("upstream_reset_before_response_started{connection_termination}", True),
        ("response_timeout", True),
        ("response_payload_too_large", True),
        ("request_payload_too_large", False),
        ("upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}", False),
        ("upstream_reset_before_response_started{connection_timeout}", False),
        ("no_healthy_upstream", False),
        ("cluster_not_found", False),
        ("upstream_reset_before_response_started{overflow}", False),
    ],
)
def test_a_call_that_envoy_has_not_sent_costs_nothing(exchange: Exchange, details: str, estimated: bool) -> None:
    told = sent(exchange)
    exchange.receive(ResponseHeaders({":status": "503"}, local=True, details=details), NOW)
    told |= only(exchange.receive(ResponseBody(b"", True), NOW)).metadata
    assert (told["estimated"], told["input_tokens"] > 0) == (estimated, estimated)


def test_a_response_that_cannot_be_read_is_estimated(exchange: Exchange) -> None:
    told = sent(exchange)
    exchange.receive(upstream(), NOW)
    reply = only(exchange.receive(ResponseBody(b"[]", True), NOW))
    told |= reply.metadata
    assert (reply.status, told["estimated"], told["input_tokens"] > 0) == (502, True, True)


def test_tokens_of_a_malformed_answer_are_counted(exchange: Exchange) -> None:
    sent(exchange)
    exchange.receive(upstream(), NOW)
    body = {
        "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}},
        "stopReason": "malformed_tool_use",
        "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
        "metrics": {"latencyMs": 1},
    }
    reply = only(exchange.receive(ResponseBody(json.dumps(body).encode(), True), NOW))
    counted = [reply.metadata[name] for name in ("input_tokens", "output_tokens", "estimated", "finish")]
    assert (reply.status, counted) == (502, [7, 3, False, "malformed_tool_use"])


def test_why_a_side_call_failed_is_for_the_access_log_alone(exchange: Exchange) -> None:
    embeddings(exchange, input=["a", "b"])
    reply = only(exchange.receive(Resumed(SideFailure(timed_out=False, message="[Errno 111] at 10.0.0.7")), NOW))
    assert error(reply)["message"] == "Bedrock could not be reached. Try again."
    assert reply.metadata["bedrock_error"] == "[Errno 111] at 10.0.0.7"
