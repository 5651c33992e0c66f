"""The tokens and the cost of each call in the access log, however it ends; the local Bedrock has the true counts."""

import json
import os
import signal
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

NOVA = "amazon.nova-micro-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-6"
OWN = "amazon.nova-lite-v1:0"
QUESTION: Any = [{"role": "user", "content": "Hello! " * 40}]
HELD: Any = [{"role": "user", "content": "Count to 500. [[local: hold]]"}]

TIERS = "amazon.nova-pro-v1:0"

PRICES = {
    OWN: {"input": 1000, "output": 2000},
    TIERS: {"input": 1000, "output": 2000},
    "amazon.titan-embed-text-*": {"input": 500},
}


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def gateway(request: Any, start_shared: Any) -> Any:
    """A gateway with prices of its own for some models."""
    return start_shared({"prices": PRICES, "transport": request.param}, args=["--access-log"])


@pytest.fixture
def openai(gateway: Any) -> Any:
    """OpenAI's SDK as one organisation has it, without retries."""
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)


def record(gateway: Any, request_id: str) -> dict[str, Any]:
    """Return the line of a call, once there is one, with its `oai` on top."""
    line = gateway.wait_for(rf'.*"id":"{request_id}".*')[0]
    entry: dict[str, Any] = json.loads(line[line.index("{") :])
    return {**entry, **entry["oai"]}


def ask(client: OpenAI, model: str, messages: Any = QUESTION, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=model, messages=messages, **options)


def test_a_whole_response_costs_what_its_tokens_do(gateway: Any, openai: OpenAI, local: Any) -> None:
    response = ask(openai, OWN)
    usage = response.parse().usage
    line = record(gateway, response.headers["x-request-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert line["cost_micro_usd"] == 1000 * usage.prompt_tokens + 2000 * usage.completion_tokens
    assert (line["priced"], line["estimated"]) == (True, False)


@pytest.mark.parametrize("stream", [False, True])
def test_the_tier_priority_costs_more(gateway: Any, openai: OpenAI, stream: bool) -> None:
    response = ask(openai, TIERS, service_tier="priority", stream=stream)
    parsed = response.parse()
    served = [chunk.service_tier for chunk in parsed][-1] if stream else parsed.service_tier
    line = record(gateway, response.headers["x-request-id"])
    plain = 1000 * line["input_tokens"] + 2000 * line["output_tokens"]
    assert (served, line["cost_micro_usd"], line["estimated"]) == ("priority", plain * 7 // 4, False)


def test_a_model_of_the_built_in_table_has_its_price(gateway: Any, openai: OpenAI, local: Any) -> None:
    response = ask(openai, CLAUDE)
    usage = response.parse().usage
    line = record(gateway, response.headers["x-request-id"])
    assert line["cost_micro_usd"] == round(3.3 * usage.prompt_tokens + 16.5 * usage.completion_tokens + 0.499)


def test_a_stream_is_counted_at_its_end(gateway: Any, openai: OpenAI, local: Any) -> None:
    response = ask(openai, OWN, stream=True, stream_options={"include_usage": True})
    usage = list(response.parse())[-1].usage
    line = record(gateway, response.headers["x-request-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert line["cost_micro_usd"] == 1000 * usage.prompt_tokens + 2000 * usage.completion_tokens
    assert (line["estimated"], line["time_to_first_token_ms"] > 0) == (False, True)


def test_embeddings_of_several_calls_are_priced(gateway: Any, openai: OpenAI, local: Any) -> None:
    response = openai.embeddings.with_raw_response.create(model="amazon.titan-embed-text-v2:0", input=["a", "b c"])
    tokens = response.parse().usage.prompt_tokens
    line = record(gateway, response.headers["x-request-id"])
    assert (line["input_tokens"], line["cost_micro_usd"]) == (tokens, 500 * tokens)
    assert (line["priced"], line["estimated"]) == (True, False)


def test_a_rejection_of_bedrock_costs_nothing(gateway: Any, openai: OpenAI, local: Any) -> None:
    with pytest.raises(APIStatusError) as rejected:
        ask(openai, OWN, [{"role": "user", "content": "[[local: status=400]] x"}])
    line = record(gateway, rejected.value.response.headers["x-request-id"])
    counted = {name: line[name] for name in ("input_tokens", "output_tokens", "cost_micro_usd", "estimated")}
    assert counted == {"input_tokens": 0, "output_tokens": 0, "cost_micro_usd": 0, "estimated": False}


def test_embeddings_are_counted_as_far_as_bedrock_served_them(gateway: Any, openai: OpenAI, local: Any) -> None:
    texts = ["word " * 400] * 40  # the last is begun once all but 16 of them have been served
    with pytest.raises(APIStatusError) as rejected:
        openai.embeddings.create(model="amazon.titan-embed-text-v2:0", input=[*texts, "[[local: status=400]] x"])
    line = record(gateway, rejected.value.response.headers["x-request-id"])
    assert 20 * 400 < line["input_tokens"] < 41 * 600
    assert (line["cost_micro_usd"], line["estimated"]) == (500 * line["input_tokens"], True)


def test_a_malformed_answer_costs_what_bedrock_has_counted(gateway: Any, openai: OpenAI, local: Any) -> None:
    with pytest.raises(APIStatusError) as failed:
        ask(openai, OWN, [{"role": "user", "content": "Hi [[local: stop=malformed_model_output]]"}])
    line = record(gateway, failed.value.response.headers["x-request-id"])
    assert (line["finish"], line["estimated"], line["output_tokens"] > 0) == ("malformed_model_output", False, True)
    assert line["cost_micro_usd"] == 1000 * line["input_tokens"] + 2000 * line["output_tokens"]


def begun(client: OpenAI) -> Any:
    """Return a stream of which some text has arrived, and the rest is held back."""
    response = ask(client, OWN, HELD, stream=True)
    stream = response.parse()
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    return response, stream


def is_estimate(line: dict[str, Any]) -> None:
    """A call that did not end: all who and what of it is there, with tokens of both kinds and their cost."""
    assert (line["organisation"], line["token"], line["model"]) == ("acme", "ci", OWN)
    assert line["estimated"] is True
    assert line["input_tokens"] > 10
    assert line["output_tokens"] > 0
    assert line["cost_micro_usd"] == 1000 * line["input_tokens"] + 2000 * line["output_tokens"]
    assert line["time_to_first_token_ms"] > 0


def test_a_stream_whose_client_leaves_is_estimated(gateway: Any, openai: OpenAI, local: Any) -> None:
    response, stream = begun(openai)
    stream.close()
    line = record(gateway, response.headers["x-request-id"])
    is_estimate(line)
    assert "DC" in line["flags"]


def test_a_call_whose_client_leaves_before_any_answer_is_estimated(gateway: Any, openai: OpenAI, local: Any) -> None:
    with pytest.raises(Exception, match="timed out"):
        ask(openai.with_options(timeout=0.5), OWN, HELD)
    line = json.loads(gateway.wait_for(r'(\{.*"flags":"DC".*"stream":false.*)')[1])["oai"]
    assert (line["estimated"], line["input_tokens"] > 10, line["output_tokens"]) == (True, True, 4096)
    assert line["cost_micro_usd"] == 1000 * line["input_tokens"] + 2000 * 4096


def test_a_stream_whose_worker_is_killed_is_estimated(gateway: Any, openai: OpenAI, local: Any) -> None:
    """The last of this file: it leaves the gateway another worker."""
    gateway.expect_restarts()
    response, stream = begun(openai)
    since = len(gateway.log())
    os.kill(gateway.pids("extproc.worker.command")[0], signal.SIGKILL)
    with pytest.raises(Exception, match=r"\w"):
        list(stream)
    is_estimate(record(gateway, response.headers["x-request-id"]))
    gateway.wait_for("was ended by SIGKILL", since)
