"""Budgets of organisations, tokens and users, as OpenAI's SDK meets them behind a real Envoy."""

import base64
import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from openai import APIStatusError, OpenAI, PermissionDeniedError, RateLimitError

from tests.conftest import CONFIG, Gateway, Starter
from tests.scrapes import scrape

NOVA = "amazon.nova-lite-v1:0"
UNPRICED = "example.unpriced-v1:0"
HELLO: Any = [{"role": "user", "content": "Hello!"}]
HELD: Any = [{"role": "user", "content": "Count to 500. [[local: hold]]"}]
PRICES = {"prices": {NOVA: {"input": 1000, "output": 2000}}}
"""Micro-USD: a token of input costs a thousand, one of output two thousand."""

FILE = "spent.sqlite"


def budgets(*own: Any, settings: Any = None, **more: Any) -> Any:
    """Return a configuration in which `acme` has these budgets."""
    acme = {"budgets": list(own)} if own else {}
    organisations = {**CONFIG["organisations"], "acme": {**acme, **more.pop("acme", {})}}
    return {**PRICES, "organisations": organisations, "budgets": {"sqlite": FILE, **(settings or {})}, **more}


def openai(gateway: Gateway, token: str = "ci", retries: int = 0) -> OpenAI:
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens[token], max_retries=retries)


def ask(client: OpenAI, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        **{"model": NOVA, "messages": HELLO, "max_tokens": 50, **options}
    )


def rejection(client: OpenAI, **options: Any) -> RateLimitError:
    with pytest.raises(RateLimitError) as error:
        ask(client, **options)
    return error.value


def balances(gateway: Gateway) -> dict[str, tuple[int, int]]:
    """Return what is spent and held, by what an account's key begins with: `organisation acme usd day`."""
    with closing(sqlite3.connect(gateway.folder / FILE)) as connection:
        rows = connection.execute("select key, spent, held from accounts").fetchall()
    return {key.rpartition(" ")[0].removesuffix(" UTC"): (spent, held) for key, spent, held in rows}


def cost(usage: Any) -> int:
    return int(1000 * usage.prompt_tokens + 2000 * usage.completion_tokens)


def begun(client: OpenAI, **options: Any) -> Any:
    """Return a stream of which some text has arrived, and the rest is held back."""
    stream = ask(client, **{"messages": HELD, "stream": True, **options}).parse()
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    return stream


def midnight() -> datetime:
    return (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def test_calls_are_counted_to_the_micro_dollar_and_to_the_token(start_gateway: Starter) -> None:
    gateway = start_gateway(budgets({"usd": "5", "per": "month"}, {"tokens": "1M", "per": "week"}))
    client = openai(gateway)
    whole = ask(client).parse().usage
    streamed = list(ask(client, stream=True, stream_options={"include_usage": True}).parse())[-1].usage
    tokens = whole.total_tokens + streamed.total_tokens
    assert balances(gateway) == {
        "organisation acme usd month": (cost(whole) + cost(streamed), 0),
        "organisation acme tokens week": (tokens, 0),
    }


def test_an_exhausted_budget_is_told_as_openai_does(start_gateway: Starter) -> None:
    gateway = start_gateway(budgets({"tokens": 120, "per": "day"}))
    client = openai(gateway, retries=5)
    while True:
        try:
            ask(client, max_tokens=16)
        except RateLimitError as found:
            error = found
            break
    assert (error.type, error.code) == ("insufficient_quota", "insufficient_quota")
    ends = midnight()
    assert "daily budget of the organisation `acme`" in error.message
    assert f"begins anew at {ends:%Y-%m-%dT%H:%M:%S}Z" in error.message
    assert "120" not in error.message
    headers = error.response.headers
    assert headers["x-should-retry"] == "false"
    assert abs(int(headers["retry-after"]) - (ends - datetime.now(UTC)).total_seconds()) < 60
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
    gateway.wait_for(r"the daily budget of the organisation `acme` does not have what a request may cost")


def test_a_request_that_never_fits_reaches_no_bedrock(start_gateway: Starter, local_of: Callable[[str], Any]) -> None:
    gateway = start_gateway(budgets({"usd": "0.10", "per": "day"}))
    error = rejection(openai(gateway), max_tokens=4000)
    assert error.code == "insufficient_quota"
    assert "less left than this request may cost" in error.message
    assert gateway.local_url is not None
    assert local_of(gateway.local_url).calls() == []
    assert balances(gateway) == {}


def test_a_rest_that_open_calls_hold_is_worth_another_try(
    start_gateway: Starter, local_of: Callable[[str], Any]
) -> None:
    gateway = start_gateway(budgets({"tokens": 1500, "per": "day"}))
    client = openai(gateway)
    stream = begun(client, max_tokens=900)
    error = rejection(client, max_tokens=900)
    assert (error.code, error.response.headers["retry-after"]) == ("rate_limit_exceeded", "1")
    assert "x-should-retry" not in error.response.headers
    assert gateway.local_url is not None
    local_of(gateway.local_url).release()
    list(stream)
    assert ask(client, max_tokens=50).status_code == 200


def test_callers_the_log_and_the_metrics_are_warned(start_gateway: Starter, eventually: Callable[..., Any]) -> None:
    daily, args = {"tokens": 1000, "per": "day", "warn_at": 5}, ["--health", "127.0.0.1:0"]
    gateway = start_gateway(budgets(daily, workers=2), args=args)
    client = openai(gateway)
    assert "x-oai-budget-used-percent" not in ask(client, max_tokens=60).headers
    used = [ask(client, max_tokens=60).headers.get("x-oai-budget-used-percent") for _ in range(6)]
    assert 5 <= int(used[-1]) < 100
    assert [int(each) for each in used if each] == sorted(int(each) for each in used if each)
    stream = ask(client, max_tokens=60, stream=True)
    assert int(stream.headers["x-oai-budget-used-percent"]) >= int(used[-1])
    assert list(stream.parse())
    gateway.wait_for(r"the daily budget of the organisation `acme` is used to \d+ %")
    assert gateway.log().count("is used to") == 1
    error = rejection(client, max_tokens=2000)
    assert int(error.response.headers["x-oai-budget-used-percent"]) >= int(used[-1])
    eventually(lambda: warned_calls(gateway) == sum(each is not None for each in used) + 2)


def warned_calls(gateway: Gateway) -> int:
    """Return the number of calls that `/metrics` has, of the organisation's budget."""
    address = gateway.wait_for(r"health +http://(\S+)/healthz, and /metrics")[1]
    text = scrape(address)
    found = re.findall(r"^envoy_oai_budget_warned_calls_total\{(.*)\} (\d+)$", text, re.MULTILINE)
    assert all('budget="organisation"' in labels and 'organisation="acme"' in labels for labels, _ in found)
    return sum(int(number) for _, number in found)


def test_audit_rejects_nothing_and_logs_once(start_gateway: Starter) -> None:
    gateway = start_gateway(budgets({"tokens": 10, "per": "day", "mode": "audit"}))
    client = openai(gateway)
    usages = [ask(client).parse().usage for _ in range(3)]
    assert balances(gateway) == {"organisation acme tokens day": (sum(usage.total_tokens for usage in usages), 0)}
    gateway.wait_for(r"the daily budget of .* audit: requests are served all the same")
    assert gateway.log().count("audit: requests") == 2, "once before `warn_at` is reached, and once from then on"


def test_each_user_has_an_own_budget(start_gateway: Starter) -> None:
    gateway = start_gateway(budgets(acme={"per_user_daily_budget_cents": 20}))
    client = openai(gateway)
    assert ask(client, user="ann").status_code == 200
    spent = {
        user: exhausted(client, user)
        for user in ({"user": "ann"}, {"safety_identifier": "bob"}, {})
        for user in (json.dumps(user),)
    }
    assert [error.code for error in spent.values()] == ["insufficient_quota"] * 3
    assert "this user of `acme`" in spent["{}"].message
    assert len(balances(gateway)) == 4
    assert not any("ann" in key or "bob" in key for key in balances(gateway))


def exhausted(client: OpenAI, user: str) -> RateLimitError:
    while True:
        try:
            ask(client, **json.loads(user))
        except RateLimitError as error:
            return error


def test_tokens_and_defaults_have_budgets_and_an_empty_list_has_none(start_gateway: Starter) -> None:
    settings = {"token": [{"tokens": 1, "per": "day"}], "organisation": [{"tokens": 2, "per": "day"}]}
    tokens = [{**each, **({"budgets": []} if each["name"] == "both" else {})} for each in CONFIG["tokens"]]
    gateway = start_gateway(budgets(settings=settings, acme={"budgets": []}, tokens=tokens))
    assert "the API key `ci`" in rejection(openai(gateway)).message
    named = {"OpenAI-Organization": "acme"}
    assert ask(openai(gateway, "both"), extra_headers=named).status_code == 200
    named = {"OpenAI-Organization": "umbrella"}
    assert "the organisation `umbrella`" in rejection(openai(gateway, "both"), extra_headers=named).message


@pytest.mark.parametrize("choice", ["reject", "free"])
def test_a_model_without_a_price_is_as_configured(start_gateway: Starter, choice: str) -> None:
    gateway = start_gateway(budgets({"usd": "5", "per": "day"}, settings={"on_unpriced": choice}))
    with pytest.raises(APIStatusError) as error:
        ask(openai(gateway), model=UNPRICED)
    if choice == "reject":
        assert isinstance(error.value, PermissionDeniedError)
        assert (error.value.code, error.value.param) == ("model_unpriced", "model")
        assert UNPRICED in error.value.message
    else:
        assert error.value.code != "model_unpriced"  # it went to Bedrock, which has no such model


def test_a_stream_whose_client_leaves_is_spent_as_far_as_it_was_sent(
    start_gateway: Starter, eventually: Callable[..., Any]
) -> None:
    gateway = start_gateway(budgets({"tokens": 10_000, "per": "day"}))
    begun(openai(gateway), max_tokens=900).close()
    eventually(lambda: held(gateway) == 0)
    [(spent, _)] = balances(gateway).values()
    assert 5 < spent < 100


def held(gateway: Gateway) -> int:
    return sum(held for _, held in balances(gateway).values())


def test_an_error_of_bedrock_costs_nothing(start_gateway: Starter) -> None:
    gateway = start_gateway(budgets({"usd": "5", "per": "day"}))
    with pytest.raises(APIStatusError):
        ask(openai(gateway), messages=[{"role": "user", "content": "[[local: status=400]] x"}])
    assert balances(gateway) == {"organisation acme usd day": (0, 0)}


def test_a_killed_worker_has_spent_what_was_last_counted(
    start_gateway: Starter, eventually: Callable[..., Any]
) -> None:
    gateway = start_gateway(budgets({"tokens": 10_000, "per": "day"}))
    gateway.expect_restarts()
    stream = begun(openai(gateway), max_tokens=900)
    assert held(gateway) > 900
    for pid in gateway.pids("extproc.worker.command"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Exception):  # noqa: B017 - whatever the SDK makes of a cut stream
        list(stream)
    eventually(lambda: held(gateway) == 0)
    [(spent, _)] = balances(gateway).values()
    assert 5 < spent < 100


def test_a_restart_keeps_what_was_spent(start_gateway: Starter) -> None:
    settings = budgets({"tokens": 1000, "per": "day"})
    first = start_gateway(settings)
    used = ask(openai(first)).parse().usage.total_tokens
    first.stop()
    settings["budgets"]["sqlite"] = str(first.folder / FILE)
    second = start_gateway(settings)
    used += ask(openai(second)).parse().usage.total_tokens
    assert balances(first) == {"organisation acme tokens day": (used, 0)}


def test_new_budgets_count_at_once_with_what_was_spent(start_gateway: Starter) -> None:
    gateway = start_gateway(budgets({"tokens": 1000, "per": "day"}))
    client = openai(gateway)
    assert ask(client).status_code == 200
    gateway.config_path.write_text(yaml.safe_dump({**CONFIG, **budgets({"tokens": 20, "per": "day"})}))
    gateway.wait_for(r"gateway\.yaml has changed")
    assert rejection(client).code == "insufficient_quota"


def test_the_first_budgets_of_a_gateway_that_runs_count_at_once(start_gateway: Starter) -> None:
    gateway = start_gateway()
    client = openai(gateway)
    assert ask(client).status_code == 200
    gateway.config_path.write_text(yaml.safe_dump({**CONFIG, **budgets({"tokens": 1000, "per": "day"})}))
    gateway.wait_for(r"gateway\.yaml has changed")
    used = ask(client).parse().usage.total_tokens
    assert balances(gateway) == {"organisation acme tokens day": (used, 0)}


@pytest.mark.parametrize(("choice", "status"), [("allow", 200), ("reject", 503)])
def test_a_store_that_does_not_work_is_as_configured(
    start_gateway: Starter,
    client_of: Callable[[Gateway], Any],
    eventually: Callable[..., Any],
    choice: str,
    status: int,
) -> None:
    settings = {"sqlite": "missing/spent.sqlite", "on_store_error": choice}
    gateway = start_gateway(budgets({"tokens": 1000, "per": "day"}, settings=settings))
    gateway.wait_for(r"budgets cannot be counted in \S+/missing/spent\.sqlite: .*No such file")
    response = client_of(gateway).chat("Hello!", model=NOVA, max_tokens=50)
    assert response.status == status
    if status == 503:
        assert (response.error["code"], response.headers["retry-after"]) == ("budgets_unavailable", "1")
    (gateway.folder / "missing").mkdir()
    gateway.wait_for(r"budgets are counted in \S+/missing/spent\.sqlite again")
    with closing(sqlite3.connect(gateway.folder / "missing" / "spent.sqlite")) as connection:
        spent = connection.execute("select sum(spent) from accounts").fetchone()[0]
    assert spent == (response.json()["usage"]["total_tokens"] if status == 200 else None)


def test_a_settlement_that_finds_the_file_locked_is_made_later(
    start_gateway: Starter, local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    gateway = start_gateway(budgets({"tokens": 10_000, "per": "day"}))
    stream = begun(openai(gateway), max_tokens=900, stream_options={"include_usage": True})
    assert gateway.local_url is not None
    with closing(sqlite3.connect(gateway.folder / FILE, isolation_level=None)) as connection:
        connection.execute("begin immediate")
        local_of(gateway.local_url).release()
        used = list(stream)[-1].usage.total_tokens
        gateway.wait_for(r"budgets cannot be counted in \S+/spent\.sqlite: database is locked")
        connection.execute("rollback")
    eventually(lambda: held(gateway) == 0)
    assert balances(gateway) == {"organisation acme tokens day": (used, 0)}


def test_a_file_that_is_removed_is_made_anew_with_the_open_calls(
    start_gateway: Starter, local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    gateway = start_gateway(budgets({"tokens": 10_000, "per": "day"}))
    stream = begun(openai(gateway), max_tokens=900, stream_options={"include_usage": True})
    for suffix in ("", "-wal", "-shm"):
        (gateway.folder / f"{FILE}{suffix}").unlink(missing_ok=True)
    eventually(lambda: is_held(gateway))
    assert gateway.local_url is not None
    local_of(gateway.local_url).release()
    used = list(stream)[-1].usage.total_tokens
    assert balances(gateway) == {"organisation acme tokens day": (used, 0)}


def is_held(gateway: Gateway) -> bool:
    """Return whether the file is there, with its tables, and holds the call."""
    try:
        return (gateway.folder / FILE).exists() and held(gateway) > 900
    except sqlite3.OperationalError:
        return False


def test_reasoning_that_does_not_show_costs_who_leaves_it(start_gateway: Starter, eventually: Any) -> None:
    claude = "anthropic.claude-sonnet-4-6"
    settings = budgets({"tokens": "1M", "per": "day"}, streaming={"keepalive_seconds": 1})
    gateway = start_gateway(settings)
    thinking: Any = [{"role": "user", "content": "Hello! [[local: hold=start]]"}]
    options: Any = {"model": claude, "messages": thinking, "reasoning_effort": "high", "max_completion_tokens": 20_000}
    with openai(gateway).chat.completions.with_streaming_response.create(**options, stream=True) as response:
        next(line for line in response.iter_lines() if line.startswith(":"))
    eventually(lambda: balances(gateway)["organisation acme tokens day"][1] == 0)
    assert balances(gateway)["organisation acme tokens day"][0] > 200, "of one second at least"


@pytest.mark.parametrize("padding", [0, 700_000], ids=["small", "large"])
def test_a_pdf_of_many_pages_is_no_way_around_a_budget(
    start_gateway: Starter, eventually: Callable[..., Any], padding: int
) -> None:
    """Whoever leaves before Bedrock has counted has spent its pages, though no more was reserved than for its length.

    A large one is translated in another process.
    """
    gateway = start_gateway(budgets({"tokens": 300_000, "per": "day"}, usage={"ledger": "usage.jsonl"}))
    tree = b"<</Type/Pages/Count 100/Kids[%s]>>endobj" % b" ".join([b"5 0 R"] * 100)
    pdf = b"%PDF-1.4\n1 0 obj" + tree + b"5 0 obj<</Type/Page/Parent 1 0 R>>endobj" + b" " * padding
    url = "data:application/pdf;base64," + base64.b64encode(pdf).decode()
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": url}}
    content = [file, {"type": "text", "text": "Count to 500. [[local: hold]]"}]
    client, messages = openai(gateway), [{"role": "user", "content": content}]
    stream = begun(client, messages=messages, max_tokens=100)
    assert held(gateway) < 60_000
    stream.close()
    eventually(lambda: held(gateway) == 0)
    [(spent, _)] = balances(gateway).values()
    assert spent >= 300_000
    ledger = gateway.folder / "usage.jsonl"
    eventually(lambda: ledger.read_text().endswith("\n"))
    assert json.loads(ledger.read_text())["input_tokens"] >= 300_000
    assert rejection(client).code == "insufficient_quota"
