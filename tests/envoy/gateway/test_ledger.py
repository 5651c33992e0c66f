"""The ledger of usage: each call of an organisation is one line of a file, however it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from tests.admin import admin
from tests.conftest import Gateway

OWN = "amazon.nova-lite-v1:0"
SECRET = "a-word-that-only-the-prompt-has"
HELD: Any = [{"role": "user", "content": f"{SECRET} [[local: hold]]"}]
ASKED: Any = [{"role": "user", "content": f"{SECRET} " * 40}]
Eventually = Callable[..., Any]


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def gateway(request: Any, start_shared: Any) -> Any:
    """A gateway with a ledger, and with a model whose tokens cost dollars."""
    prices = {OWN: {"input": 1_000_000, "output": 1_000_000}}
    return start_shared({"usage": {"ledger": "usage.jsonl"}, "prices": prices, "transport": request.param})


@pytest.fixture
def openai(gateway: Any) -> Any:
    """OpenAI's SDK as one organisation has it, without retries."""
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a ledger so far."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.fixture
def line_of(gateway: Gateway, eventually: Eventually) -> Callable[[str], dict[str, Any]]:
    """Return the one line of a call, once there is one."""

    def lines(request_id: str) -> list[dict[str, Any]]:
        return [each for each in entries(gateway.folder / "usage.jsonl") if each["request_id"] == request_id]

    def wait(request_id: str) -> dict[str, Any]:
        eventually(lambda: lines(request_id))
        [line] = lines(request_id)
        return line

    return wait


def ask(client: OpenAI, messages: Any = ASKED, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model=OWN, messages=messages, **options)


def begun(client: OpenAI) -> Any:
    """Return a stream of which some text has arrived, and the rest is held back."""
    response = ask(client, HELD, stream=True)
    stream = response.parse()
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    return response, stream


def is_estimate(line: dict[str, Any]) -> None:
    assert (line["organisation"], line["token"], line["known_model"]) == ("acme", "ci", OWN)
    assert line["estimated"] is True
    assert min(line["input_tokens"], line["output_tokens"]) > 0
    assert line["cost_micro_usd"] == 1_000_000 * line["input_tokens"] + 1_000_000 * line["output_tokens"]


def test_the_file_is_for_this_user_alone(gateway: Gateway) -> None:
    assert (gateway.folder / "usage.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_whole_response(openai: OpenAI, line_of: Any, local: Any) -> None:
    response = ask(openai)
    usage = response.parse().usage
    line = line_of(response.headers["x-request-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert line["cost_micro_usd"] == 1_000_000 * usage.prompt_tokens + 1_000_000 * usage.completion_tokens
    assert line["cost_micro_usd"] > 100_000_000, "a number of nine digits is written to the last of them"
    assert {name: line[name] for name in ("organisation", "token", "operation", "model", "bedrock_model")} == {
        "organisation": "acme",
        "token": "ci",
        "operation": "chat",
        "model": OWN,
        "bedrock_model": OWN,
    }
    assert (line["status"], line["finish"], line["flags"], line["stream"]) == (200, "stop", "-", False)
    assert (line["priced"], line["estimated"], line["region"]) == (True, False, "us-east-1")
    assert line["bedrock_request_id"]
    assert line["duration_ms"] >= 0


def test_a_stream(openai: OpenAI, line_of: Any, local: Any) -> None:
    response = ask(openai, stream=True, stream_options={"include_usage": True})
    usage = list(response.parse())[-1].usage
    line = line_of(response.headers["x-request-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert (line["estimated"], line["stream"], line["time_to_first_token_ms"] > 0) == (False, True, True)


def test_a_stream_whose_client_leaves(openai: OpenAI, line_of: Any, local: Any) -> None:
    response, stream = begun(openai)
    stream.close()
    line = line_of(response.headers["x-request-id"])
    is_estimate(line)
    assert "DC" in line["flags"]


def test_a_call_that_bedrock_rejects(openai: OpenAI, line_of: Any, local: Any) -> None:
    with pytest.raises(APIStatusError) as rejected:
        ask(openai, [{"role": "user", "content": "[[local: status=400]] x"}])
    line = line_of(rejected.value.response.headers["x-request-id"])
    assert (line["status"], line["input_tokens"], line["cost_micro_usd"]) == (400, 0, 0)


def test_calls_with_the_same_id_of_their_callers_are_two(gateway: Gateway, openai: OpenAI, line_of: Any) -> None:
    replies = [ask(openai, extra_headers={"x-request-id": "same"}) for _ in range(2)]
    ids = {line_of(reply.headers["x-request-id"])["id"] for reply in replies}
    assert len(ids) == 2


def test_a_models_name_is_no_line_of_its_own(gateway: Gateway, openai: OpenAI, line_of: Any) -> None:
    name = '"}\n{"organisation":"other", "cost_micro_usd": 1}'
    with pytest.raises(APIStatusError) as rejected:
        openai.chat.completions.create(model=name, messages=ASKED)
    assert line_of(rejected.value.response.headers["x-request-id"])["model"] == name.replace("\n", "?")
    assert {each["organisation"] for each in entries(gateway.folder / "usage.jsonl")} == {"acme"}


@pytest.mark.parametrize(
    ("name", "kept"),
    [("\x7f" * 2048, "?" * 64), ("\u00e4" * 2048, "?" * 64), ("a" * 2048, "a" * 256)],
    ids=["control", "letters", "an id that Bedrock does not know"],
)
def test_a_name_that_is_no_models_makes_no_long_line(
    gateway: Gateway, openai: OpenAI, line_of: Any, name: str, kept: str
) -> None:
    """Rates of requests do not count what is rejected before."""
    with pytest.raises(APIStatusError) as rejected:
        openai.chat.completions.create(model=name, messages=ASKED)
    assert rejected.value.code == "model_not_found"
    assert line_of(rejected.value.response.headers["x-request-id"])["model"] == kept
    lines = (gateway.folder / "usage.jsonl").read_text().splitlines()
    assert max(map(len, lines)) < 1400


def test_a_call_without_a_known_token_has_no_line(gateway: Gateway, openai: OpenAI, line_of: Any) -> None:
    with pytest.raises(APIStatusError) as rejected:
        ask(openai.with_options(api_key="qc_nobody"))
    line_of(ask(openai).headers["x-request-id"])
    assert rejected.value.response.headers["x-request-id"] not in (gateway.folder / "usage.jsonl").read_text()


def test_nothing_of_callers_content_nor_a_key_is_in_it(gateway: Gateway, openai: OpenAI, line_of: Any) -> None:
    line_of(ask(openai, metadata={"note": SECRET}, user=SECRET).headers["x-request-id"])
    text = (gateway.folder / "usage.jsonl").read_text()
    assert not [word for word in (SECRET, "qc_", *gateway.tokens.values()) if word in text]


def test_a_stream_whose_worker_is_killed(gateway: Gateway, openai: OpenAI, line_of: Any, local: Any) -> None:
    """The last of this gateway: it leaves it another worker."""
    gateway.expect_restarts()
    response, stream = begun(openai)
    since = len(gateway.log())
    os.kill(gateway.pids("extproc.worker.command")[0], signal.SIGKILL)
    with pytest.raises(Exception, match=r"\w"):
        list(stream)
    is_estimate(line_of(response.headers["x-request-id"]))
    gateway.wait_for("was ended by SIGKILL", since)


def by_admin(gateway: Gateway) -> None:
    assert admin(gateway.run_directory / "admin.sock", "/reopen_logs", "POST") == b"OK\n"


def by_signal(gateway: Gateway) -> None:
    [envoy] = gateway.pids("--disable-hot-restart")
    os.kill(envoy, signal.SIGUSR1)


def summed_up(gateway: Gateway, *files: Path) -> Any:
    """Return the rows of `oai-extproc usage`; a file that is given twice counts once."""
    command = [sys.executable, "-m", "extproc", "usage", "--by", "organisation", "--format", "json"]
    command += ["--config", str(gateway.config_path), *map(str, (*files, *files))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)["rows"]


@pytest.mark.parametrize("reopen", [by_admin, by_signal])
def test_a_rotation_loses_no_call(
    start_gateway: Any, eventually: Eventually, reopen: Callable[[Gateway], None]
) -> None:
    gateway = start_gateway({"usage": {"ledger": "usage.jsonl"}})
    client = OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0)
    path, old = gateway.folder / "usage.jsonl", gateway.folder / "usage.jsonl.1"
    replies = [ask(client)]
    path.rename(old)
    replies.append(ask(client))
    reopen(gateway)
    eventually(path.exists)
    replies.append(ask(client))
    asked = [reply.headers["x-request-id"] for reply in replies]
    eventually(lambda: len(entries(old)) + len(entries(path)) == 3)
    assert [each["request_id"] for each in (*entries(old), *entries(path))] == asked
    assert path.stat().st_mode & 0o777 == 0o600
    usages = [reply.parse().usage for reply in replies]
    [row] = summed_up(gateway, old)
    assert (row["organisation"], row["calls"]) == ("acme", 3)
    assert row["input_tokens"] == sum(each.prompt_tokens for each in usages)
    assert row["output_tokens"] == sum(each.completion_tokens for each in usages)
