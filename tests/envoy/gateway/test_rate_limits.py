"""Limits of organisations and tokens, as OpenAI's SDK meets them behind a real Envoy."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import APIError, BadRequestError, OpenAI, RateLimitError

from extproc.worker.rate_counters import FILE
from tests.conftest import CONFIG, Gateway, Starter
from tests.dynamodb import server

NOVA = "amazon.nova-micro-v1:0"
HELLO: Any = [{"role": "user", "content": "Hello!"}]
HELD: Any = [{"role": "user", "content": "Count to 500. [[local: hold]]"}]
NAMES = [f"x-ratelimit-{what}-{kind}" for kind in ("requests", "tokens") for what in ("limit", "remaining", "reset")]


def limits(organisation: dict[str, Any] | None = None, token: dict[str, Any] | None = None, **more: Any) -> Any:
    """Return a configuration in which `acme`, and its token `ci`, have these limits."""
    organisations = {**CONFIG["organisations"], "acme": {"limits": organisation or {}}}
    tokens = [{**each, **({"limits": token} if token and each["name"] == "ci" else {})} for each in CONFIG["tokens"]]
    return {"organisations": organisations, "tokens": tokens, **more}


def openai(gateway: Gateway, retries: int = 0) -> OpenAI:
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=retries)


def ask(client: OpenAI, **options: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        **{"model": NOVA, "messages": HELLO, "max_tokens": 50, **options}
    )


def rejection(client: OpenAI, **options: Any) -> RateLimitError:
    with pytest.raises(RateLimitError) as error:
        ask(client, **options)
    return error.value


def shown(headers: Any) -> dict[str, str]:
    return {name: headers[name] for name in NAMES if name in headers}


def test_every_response_has_the_headers_of_openai(start_gateway: Starter) -> None:
    client = openai(start_gateway(limits({"requests_per_minute": 5000, "tokens_per_minute": 60_000})))
    response = ask(client)
    found = shown(response.headers)
    left, reset = int(found.pop("x-ratelimit-remaining-tokens")), found.pop("x-ratelimit-reset-tokens")
    assert found == {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-requests": "4999",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-limit-tokens": "60000",
    }
    assert 59_000 < left < 59_950
    assert reset == f"{60_000 - left}ms"
    assert len(shown(ask(client, stream=True).headers)) == 6
    embedded = client.embeddings.with_raw_response.create(model="amazon.titan-embed-text-v2:0", input=["a", "b"])
    assert len(shown(embedded.headers)) == 6


def test_requests_beyond_the_limit_are_told_when_to_come_back(start_gateway: Starter) -> None:
    client = openai(start_gateway(limits({"requests_per_minute": 2})))
    assert [ask(client).headers["x-ratelimit-remaining-requests"] for _ in range(2)] == ["1", "0"]
    error = rejection(client)
    assert (error.type, error.code) == ("requests", "rate_limit_exceeded")
    assert re.search(
        rf"Rate limit reached for {NOVA} in acme on requests per min \(RPM\): Limit 2, Used 2, Requested 1\. "
        r"Please try again in [\d.]+s\.",
        error.message,
    )
    headers = error.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < int(headers["retry-after-ms"]) <= 30_000
    assert int(headers["retry-after"]) == -(-int(headers["retry-after-ms"]) // 1000)


def test_the_sdk_waits_as_it_is_told_and_is_served(start_gateway: Starter) -> None:
    client = openai(start_gateway(limits({"requests_per_minute": 60, "tokens_per_minute": 6000})), retries=3)
    many = [{"role": "user", "content": "word " * 4500}]
    first, second = [ask(client, messages=many) for _ in range(2)]
    assert (first.retries_taken, first.status_code, second.status_code) == (0, 200, 200)
    assert second.retries_taken > 0


def test_a_burst_on_two_workers_is_admitted_up_to_the_limit(start_gateway: Starter) -> None:
    gateway = start_gateway(limits({"requests_per_minute": 20}, workers=2))
    begun = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        outcomes = Counter(pool.map(lambda _: served(openai(gateway)), range(48)))
    flown_back = 20 * (time.monotonic() - begun) / 60
    assert 20 <= outcomes[True] <= 20 + flown_back < 48
    with closing(sqlite3.connect(gateway.run_directory / FILE)) as connection:
        assert connection.execute("select count(*) from workers").fetchone() == (2,)


def served(client: OpenAI) -> bool:
    try:
        return bool(ask(client).status_code == 200)
    except RateLimitError:
        return False


def test_tokens_are_settled_by_what_was_used(start_gateway: Starter) -> None:
    client = openai(start_gateway(limits({"tokens_per_minute": 1000})))
    before = int(ask(client, max_tokens=900).headers["x-ratelimit-remaining-tokens"])
    assert before < 120
    assert int(ask(client, max_tokens=16).headers["x-ratelimit-remaining-tokens"]) > 800


def test_a_rejected_call_gets_its_tokens_back(start_gateway: Starter) -> None:
    client = openai(start_gateway(limits({"tokens_per_minute": 1000})))
    with pytest.raises(BadRequestError) as error:
        ask(client, messages=[{"role": "user", "content": "[[local: status=400]] x"}], max_tokens=900)
    assert len(shown(error.value.response.headers)) == 3
    assert int(ask(client, max_tokens=16).headers["x-ratelimit-remaining-tokens"]) > 900


def test_what_bedrock_does_not_count_is_settled_by_its_estimate(start_gateway: Starter) -> None:
    client = openai(start_gateway(limits({"tokens_per_minute": 1000})))
    text = "word " * 480 + "[[local: nousage]]"
    assert ask(client, messages=[{"role": "user", "content": text}], max_tokens=16).parse().usage.total_tokens == 0
    assert int(ask(client, max_tokens=16).headers["x-ratelimit-remaining-tokens"]) < 500


def test_a_request_that_is_larger_than_the_limit_is_not_tried_again(
    start_gateway: Starter, local_of: Callable[[str], Any]
) -> None:
    gateway = start_gateway(limits({"tokens_per_minute": 500}))
    error = rejection(openai(gateway, retries=5), messages=[{"role": "user", "content": "word " * 1000}])
    assert (error.type, error.code) == ("tokens", "rate_limit_exceeded")
    assert "Request too large for" in error.message
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers
    assert error.response.request.headers["x-stainless-retry-count"] == "0"
    assert gateway.local_url is not None
    assert local_of(gateway.local_url).calls() == []


def test_the_tighter_limit_of_token_and_organisation_counts(start_gateway: Starter) -> None:
    gateway = start_gateway(limits({"requests_per_minute": 9}, {"requests_per_minute": 3}))
    client = openai(gateway)
    assert shown(ask(client).headers)["x-ratelimit-limit-requests"] == "3"
    [ask(client) for _ in range(2)]
    assert "in ci on" in rejection(client).message
    other = OpenAI(base_url=gateway.url, api_key=gateway.tokens["both"], max_retries=0)
    named = {"OpenAI-Organization": "acme"}
    assert shown(ask(other, extra_headers=named).headers)["x-ratelimit-limit-requests"] == "9"


def test_defaults_hold_for_all_and_are_replaced_key_by_key(start_gateway: Starter) -> None:
    defaults = {"organisation": {"requests_per_minute": 7, "tokens_per_minute": 5000}}
    own = {"requests_per_minute": "unlimited"}
    gateway = start_gateway(limits(own, rate_limits=defaults))
    assert [name.rpartition("-")[2] for name in shown(ask(openai(gateway)).headers)] == ["tokens"] * 3
    other = OpenAI(base_url=gateway.url, api_key=gateway.tokens["limited"], max_retries=0)
    assert shown(ask(other).headers)["x-ratelimit-limit-requests"] == "7"


def test_without_limits_there_are_no_headers_and_no_file(start_gateway: Starter) -> None:
    gateway = start_gateway({"workers": 2})
    assert shown(ask(openai(gateway)).headers) == {}
    assert not (gateway.run_directory / FILE).exists()


def test_new_limits_count_at_once_with_what_was_used(start_gateway: Starter) -> None:
    gateway = start_gateway(limits({"requests_per_minute": 600}, workers=2))
    client = openai(gateway)
    assert [ask(client).headers["x-ratelimit-limit-requests"] for _ in range(4)] == ["600"] * 4
    gateway.config_path.write_text(yaml.safe_dump({**CONFIG, **limits({"requests_per_minute": 2}, workers=2)}))
    for index in range(2):
        gateway.wait_for(rf"worker-{index}: .*gateway\.yaml has changed")
    assert ask(client).headers["x-ratelimit-remaining-requests"] in {"0", "1"}


def test_limits_in_a_table_count_too(start_gateway: Starter, tmp_path: Path) -> None:
    in_table = {"organisations": {}, "tokens": [], "directory": {"dynamodb": {"table": "limits"}}, "workers": 2}
    (tmp_path / "file.yaml").write_text(yaml.safe_dump({**CONFIG, **limits({"requests_per_minute": 2})}))
    (tmp_path / "table.yaml").write_text(yaml.safe_dump({**CONFIG, **in_table}))
    with server.dynalite() as port, server.faulty(port) as proxy:
        for arguments in (("init",), ("import", "--from", "file.yaml")):
            command = [sys.executable, "-m", "extproc", "directory", *arguments, "--config", "table.yaml"]
            variables = {**os.environ, **server.environment(proxy.url)}
            subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, timeout=120, check=True)
        client = openai(start_gateway(in_table, env={"AWS_ENDPOINT_URL_DYNAMODB": proxy.url}))
        assert [ask(client).headers["x-ratelimit-remaining-requests"] for _ in range(2)] == ["1", "0"]
        assert rejection(client).type == "requests"


def test_streams_up_to_the_limit_and_their_ends(
    start_gateway: Starter, local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    gateway = start_gateway(limits({"concurrent_streams": 2}, workers=2))
    assert gateway.local_url is not None
    local, client = local_of(gateway.local_url), openai(gateway)
    held = [client.chat.completions.create(model=NOVA, messages=HELD, stream=True) for _ in range(2)]
    error = rejection(client, messages=HELD, stream=True)
    assert "acme on open streams: Limit 2, Used 2" in error.message
    assert error.response.headers["retry-after"] == "1"
    assert ask(client).status_code == 200
    held[0].close()
    again = eventually(lambda: opened(client))
    again.close()
    local.release()
    assert list(held[1])
    eventually(lambda: opened(client)).close()


def opened(client: OpenAI) -> Any:
    """Return a held stream, None where the limit is reached."""
    try:
        return client.chat.completions.create(model=NOVA, messages=HELD, stream=True)
    except RateLimitError:
        return None


def test_a_killed_worker_gives_its_streams_back(start_gateway: Starter, eventually: Callable[..., Any]) -> None:
    gateway = start_gateway(limits({"concurrent_streams": 2}, workers=2))
    gateway.expect_restarts()
    client = openai(gateway)
    held = [client.chat.completions.create(model=NOVA, messages=HELD, stream=True) for _ in range(2)]
    assert opened(client) is None
    for pid in gateway.pids("extproc.worker.command"):
        os.kill(pid, signal.SIGKILL)
    for stream in held:
        with pytest.raises(Exception):  # noqa: B017 - whatever the SDK makes of a cut stream
            list(stream)
    eventually(lambda: reopened(client)).close()


def reopened(client: OpenAI) -> Any:
    """As `opened`, while workers start again."""
    try:
        return opened(client)
    except APIError:
        return None


@pytest.mark.parametrize(("choice", "status"), [("allow", 200), ("reject", 503)])
def test_a_store_that_does_not_work_is_as_configured(
    start_gateway: Starter, client_of: Callable[[Gateway], Any], choice: str, status: int
) -> None:
    settings = {"sqlite": "missing/rates.sqlite", "on_store_error": choice}
    gateway = start_gateway(limits({"requests_per_minute": 5}, rate_limits=settings))
    gateway.wait_for(r"rates cannot be counted in \S+/missing/rates\.sqlite: .*No such file")
    response = client_of(gateway).chat("Hello!")
    assert response.status == status
    if status == 503:
        assert (response.error["code"], response.headers["retry-after"]) == ("limits_unavailable", "1")
    (gateway.folder / "missing").mkdir()
    gateway.wait_for(r"rates are counted in \S+/missing/rates\.sqlite again")
    assert client_of(gateway).chat("Hello!").status == 200


def test_a_locked_file_holds_up_no_call(start_gateway: Starter) -> None:
    gateway = start_gateway(limits({"requests_per_minute": 1000}, rate_limits={"sqlite": "rates.sqlite"}))
    client = openai(gateway)
    assert ask(client).status_code == 200
    with closing(sqlite3.connect(gateway.folder / "rates.sqlite", isolation_level=None)) as connection:
        connection.execute("begin immediate")
        assert [ask(client).status_code for _ in range(5)] == [200] * 5
        gateway.wait_for(r"rates cannot be counted in \S+/rates\.sqlite: database is locked")
        connection.execute("rollback")
    gateway.wait_for(r"rates are counted in \S+/rates\.sqlite again")
