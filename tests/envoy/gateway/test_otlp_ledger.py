"""The ledger by OpenTelemetry's protocol: what a collector gets, and what becomes of it while the collector is away."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from tests.conftest import Gateway
from tests.envoy.gateway.collector import Collector

OWN = "amazon.nova-lite-v1:0"
SECRET = "a-word-that-only-the-prompt-has"
ASKED: Any = [{"role": "user", "content": f"{SECRET} " * 40}]
HELD: Any = [{"role": "user", "content": f"{SECRET} [[local: hold]]"}]
PRICE = 123_457
"""Dollars for a million tokens: a call costs a number of more than six digits."""
Records = Callable[[str], list[dict[str, str]]]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.start()
    yield collector
    collector.stop()


@pytest.fixture(scope="module")
def gateway(collector: Collector, start_shared: Any) -> Any:
    """A gateway with a ledger of both kinds, and with a model whose tokens cost dollars."""
    prices = {OWN: {"input": PRICE, "output": PRICE}}
    return start_shared({"usage": {"ledger": "usage.jsonl", "otlp": collector.settings}, "prices": prices})


@pytest.fixture
def openai(gateway: Any) -> Any:
    """OpenAI's SDK as one organisation has it, without retries."""
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)


@pytest.fixture
def records_of(collector: Collector, eventually: Callable[..., Any]) -> Records:
    """Return the records of a call, once there is one."""

    def wait(request_id: str) -> list[dict[str, str]]:
        eventually(lambda: collector.of(request_id))
        return collector.of(request_id)

    return wait


def ask(client: OpenAI, messages: Any = ASKED, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=OWN, messages=messages, **options)


def line(gateway: Gateway, request_id: str, eventually: Any) -> Any:
    """Return the line of a call in the file."""

    def lines() -> list[Any]:
        whole = (gateway.folder / "usage.jsonl").read_text().splitlines(keepends=True)
        return [each for each in map(json.loads, whole) if each["request_id"] == request_id]

    return eventually(lines)[0]


def text(value: Any) -> str:
    """Return a value of the file as a collector gets it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) else str(value)


def test_a_record_is_the_line_of_the_file(
    gateway: Gateway, collector: Collector, openai: OpenAI, records_of: Records, eventually: Any
) -> None:
    response = ask(openai)
    request_id, usage = response.headers["x-request-id"], response.parse().usage
    [record] = records_of(request_id)
    written = line(gateway, request_id, eventually)
    assert record.pop("id") != written.pop("id"), "an id is of one delivery's kind"
    assert record == {name: text(value) for name, value in written.items()}
    assert (record["input_tokens"], record["output_tokens"]) == (str(usage.prompt_tokens), str(usage.completion_tokens))
    assert record["cost_micro_usd"] == str(PRICE * usage.total_tokens)
    assert collector.resources[-1] == {"service.name": "oai-extproc"}


def test_a_client_that_leaves(openai: OpenAI, records_of: Records, local: Any) -> None:
    response = ask(openai, HELD, stream=True)
    stream = response.parse()
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    stream.close()
    [record] = records_of(response.headers["x-request-id"])
    assert (record["estimated"], record["flags"]) == ("true", "DC")
    assert min(int(record["input_tokens"]), int(record["output_tokens"])) > 0


def test_strangers_and_content_stay_out(collector: Collector, openai: OpenAI, records_of: Records) -> None:
    with pytest.raises(APIStatusError) as rejected:
        ask(openai.with_options(api_key="qc_nobody"))
    records_of(ask(openai, user=SECRET).headers["x-request-id"])
    assert collector.of(rejected.value.response.headers["x-request-id"]) == []
    assert SECRET not in json.dumps(collector.records)
    assert "qc_" not in json.dumps(collector.records)


def test_a_collector_that_rejects_gets_it_again(collector: Collector, openai: OpenAI, records_of: Records) -> None:
    collector.failing = 2
    [_] = records_of(ask(openai).headers["x-request-id"])
    assert collector.failing == 0


def test_a_collector_that_is_started_again_gets_what_was_meanwhile(
    collector: Collector, openai: OpenAI, records_of: Records, eventually: Any, gateway: Gateway
) -> None:
    collector.stop()
    try:
        request_ids = [ask(openai).headers["x-request-id"] for _ in range(3)]
        for each in request_ids:
            line(gateway, each, eventually)
    finally:
        collector.start()
    for each in request_ids:
        [_] = records_of(each)


def test_what_was_received_and_not_acknowledged_comes_twice_with_one_id(
    collector: Collector, openai: OpenAI, eventually: Any
) -> None:
    collector.forgetful = 1
    request_id = ask(openai).headers["x-request-id"]
    eventually(lambda: len(collector.of(request_id)) == 2)
    first, second = collector.of(request_id)
    assert first == second
    assert first["id"]


def test_a_worker_that_is_killed(gateway: Gateway, openai: OpenAI, records_of: Records, local: Any) -> None:
    """The last of this gateway: it leaves it another worker."""
    gateway.expect_restarts()
    response = ask(openai, HELD, stream=True)
    stream = response.parse()
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    since = len(gateway.log())
    os.kill(gateway.pids("extproc.worker.command")[0], signal.SIGKILL)
    with pytest.raises(Exception, match=r"\w"):
        list(stream)
    [record] = records_of(response.headers["x-request-id"])
    assert (record["estimated"], int(record["output_tokens"]) > 0) == ("true", True)
    gateway.wait_for("was ended by SIGKILL", since)
