"""What a meter tells of a call that runs; tests/envoy/gateway/test_usage.py has calls."""

from collections.abc import Callable

import pytest

from extproc.bedrock.prices import Prices, prices
from extproc.exchange.directives import Body
from extproc.exchange.events import Idle, ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.meter import LATER, REASONING_RATE, Meter
from extproc.openai.completion import Usage
from extproc.telemetry.record import Record

ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
"""The id of a model that AWS does not list."""

DEAR = prices(15.123457, 75.654321)

NOW = 1_790_000_000.0
JSON = {"content-type": "application/json", "x-amzn-requestid": "b-1"}
ANSWER = (
    b'{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn",'
    b'"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5,"cacheReadInputTokens":1}}'
)
UPSTREAM = {
    "a response": (ResponseHeaders({":status": "200", **JSON}), ANSWER),
    "an error of Bedrock's": (ResponseHeaders({":status": "429", **JSON}), b'{"message":"slow down"}'),
    "a reply of Envoy's": (ResponseHeaders({":status": "503"}, local=True, details="no_healthy_upstream"), b"none"),
    "nothing that can be read": (ResponseHeaders({":status": "200", **JSON}), b"<html>"),
}
"""What comes in response to a call."""


def test_a_model_that_is_not_listed_is_known_from_its_first_content_on() -> None:
    record = Record("id", bedrock_model=ARN)
    meter = Meter(record, 0.0)
    assert "known_model" not in meter.running(0, 1.0)
    assert meter.running(5, 2.0)["known_model"] == record.known_model == ARN
    assert "known_model" not in meter.running(9, 3.0)


def test_a_model_that_is_not_listed_is_known_once_it_has_responded() -> None:
    record = Record("id", bedrock_model=ARN)
    meter = Meter(record, 0.0)
    meter.estimate(1)
    meter.reject()
    assert record.known_model == ""
    meter.count(Usage(1, 1), "stop", NOW)
    assert record.known_model == ARN


def prioritised(meter: Meter) -> None:
    meter.choose(DEAR)
    meter.prioritise()


@pytest.mark.parametrize(
    ("choose", "charged"),
    [(lambda meter: meter.choose(DEAR), DEAR), (prioritised, DEAR.at_priority()), (lambda meter: None, None)],
)
def test_a_running_stream_costs_what_its_tokens_would_as_a_whole(
    choose: Callable[[Meter], None], charged: Prices | None
) -> None:
    record = Record("id")
    meter = Meter(record, 0.0)
    choose(meter)
    for prompt in (0, 1, 999_983):
        meter.estimate(prompt)
        for text_bytes in (0, 1, 4, 5, 131, 400_003):
            told = meter.running(text_bytes, 1.0)
            tokens = -(-text_bytes // 4)
            assert told["output_tokens"] == record.output_tokens == tokens
            cost = 0 if charged is None else charged.cost(prompt, tokens, 0, 0, 0)
            assert (told.get("cost_micro_usd", 0), record.cost_micro_usd) == (cost, cost)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("upstream", UPSTREAM, ids=UPSTREAM)
def test_only_these_fields_change_once_a_request_has_left(
    sent: Callable[..., Exchange], gateway: Gateway, upstream: str, stream: bool
) -> None:
    """Of the others, Envoy is not told again."""
    exchange = sent(gateway, stream=stream)
    record = exchange._call.record
    before = record.metadata()
    head, body = UPSTREAM[upstream]
    exchange.receive(head, NOW + 1)
    exchange.receive(ResponseBody(body, end_of_stream=True), NOW + 2)
    exchange.close(NOW)
    after = record.metadata()
    assert after["finish"], "the exchange has ended"
    assert {name for name in after if after[name] != before[name]} <= {*LATER}
    assert {*LATER} <= after.keys()


REASONING = {"model": "anthropic.claude-sonnet-4-6", "reasoning_effort": "high", "max_completion_tokens": 30_000}


def started(sent: Callable[..., Exchange], gateway: Gateway, event: Callable[..., bytes], **more: object) -> Exchange:
    """Return an exchange whose stream began a second after its request, and has shown nothing of the model's since."""
    exchange = sent(gateway, stream=True, **more)
    exchange.receive(ResponseHeaders({":status": "200", "content-type": "application/vnd.amazon.eventstream"}), NOW + 1)
    exchange.receive(ResponseBody(event("messageStart", {"role": "assistant"})), NOW + 1)
    return exchange


def test_reasoning_that_does_not_show_is_estimated_by_its_time(
    sent: Callable[..., Exchange], gateway: Gateway, event: Callable[..., bytes]
) -> None:
    exchange = started(sent, gateway, event, **REASONING)
    *_, alive = exchange.receive(Idle(15.0), NOW + 16)
    assert isinstance(alive, Body)
    assert alive.metadata is not None
    assert alive.metadata["output_tokens"] == 16 * REASONING_RATE
    exchange.close(NOW + 20)
    record = exchange._call.record
    assert (record.output_tokens, record.estimated) == (20 * REASONING_RATE, True)


def test_a_client_that_leaves_before_bedrock_responds_is_one_that_leaves_while_it_reasons(
    sent: Callable[..., Exchange], gateway: Gateway
) -> None:
    exchange = sent(gateway, stream=True, **REASONING)
    exchange.close(NOW + 3)
    assert exchange._call.record.output_tokens == 3 * REASONING_RATE


def test_no_estimate_of_reasoning_is_beyond_the_limit(
    sent: Callable[..., Exchange], gateway: Gateway, event: Callable[..., bytes]
) -> None:
    exchange = started(sent, gateway, event, **REASONING)
    exchange.close(NOW + 3_000)
    assert exchange._call.record.output_tokens == 30_000


def test_a_model_that_does_not_reason_is_estimated_by_its_text(
    sent: Callable[..., Exchange], gateway: Gateway, event: Callable[..., bytes]
) -> None:
    exchange = started(sent, gateway, event)
    delta = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * 40}})
    exchange.receive(ResponseBody(delta), NOW + 20)
    exchange.close(NOW + 30)
    assert exchange._call.record.output_tokens == 10


def test_bedrocks_count_replaces_the_estimate_of_reasoning(
    sent: Callable[..., Exchange], gateway: Gateway, event: Callable[..., bytes]
) -> None:
    exchange = started(sent, gateway, event, **REASONING)
    usage = {"inputTokens": 3, "outputTokens": 7, "totalTokens": 10}
    end = event("messageStop", {"stopReason": "end_turn"}) + event("metadata", {"usage": usage})
    exchange.receive(ResponseBody(end, end_of_stream=True), NOW + 60)
    exchange.close(NOW + 90)
    assert (exchange._call.record.output_tokens, exchange._call.record.estimated) == (7, False)
