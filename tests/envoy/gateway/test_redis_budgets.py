"""Budgets in a real Redis, which gateways share, and which is killed, stopped, emptied and failed over."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai import APIStatusError, OpenAI, RateLimitError

from tests.conftest import CONFIG, Gateway, Starter
from tests.envoy.gateway.test_budgets import NOVA, PRICES, ask, begun, cost, openai, rejection
from tests.envoy.gateway.test_redis import StartRedis, store
from tests.redis.conftest import start_redis as start_redis
from tests.redis.server import Redis, Switch


def budgets(redis: dict[str, Any], *own: Any, settings: Any = None, **more: Any) -> dict[str, Any]:
    """Return a configuration in which `acme` has these budgets, counted there."""
    organisations = {**CONFIG["organisations"], "acme": {"budgets": list(own)}}
    return {**PRICES, "organisations": organisations, "budgets": settings or {}, **redis, **more}


def balances(redis: Redis) -> dict[str, tuple[int, int]]:
    """Return what is spent and held, by what an account's key begins with: `organisation acme usd day`."""
    found = {key: redis.send("GET", key) for key in redis.send("KEYS", "{oai}:account:*")}
    return {
        key.removeprefix("{oai}:account:").rpartition(" ")[0].removesuffix(" UTC"): tuple(map(int, text.split()))
        for key, text in found.items()
        if text
    }


def held(redis: Redis) -> int:
    return sum(held for _, held in balances(redis).values())


def status(client: OpenAI) -> int:
    """Return the status of a call."""
    try:
        return int(ask(client).status_code)
    except APIStatusError as error:
        return error.status_code


def test_gateways_spend_one_budget_to_the_micro_dollar(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any]
) -> None:
    redis = start_redis()
    config = budgets(store(redis), {"usd": "5", "per": "month"}, {"tokens": "1M", "per": "week"})
    one, two = (openai(start_gateway(config)) for _ in range(2))
    whole = ask(one).parse().usage
    usages = [whole, list(ask(two, stream=True, stream_options={"include_usage": True}).parse())[-1].usage]
    eventually(lambda: held(redis) == 0)
    assert balances(redis) == {
        "organisation acme usd month": (sum(map(cost, usages)), 0),
        "organisation acme tokens week": (sum(usage.total_tokens for usage in usages), 0),
    }


def test_an_exhausted_budget_is_told_as_openai_does_and_logged_once(
    start_gateway: Starter, start_redis: StartRedis
) -> None:
    redis = start_redis()
    config = budgets(store(redis), {"tokens": 120, "per": "day"})
    gateways = [start_gateway(config) for _ in range(2)]
    for gateway in gateways:
        client = openai(gateway)
        while status(client) == 200:
            pass
        assert rejection(client).code == "insufficient_quota"
    told = r"the daily budget of the organisation `acme` does not have what a request may cost"
    gateways[0].wait_for(told)
    assert told.replace("\\", "") not in gateways[1].log()


def test_streams_at_once_exceed_a_nearly_spent_budget_by_the_estimates_error_at_most(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any]
) -> None:
    limit, most, redis = 400_000, 20, start_redis()
    config = budgets(store(redis), {"usd": f"{limit / 1e6}", "per": "day"})
    gateways = [start_gateway(config) for _ in range(2)]
    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(lambda n: streamed(openai(gateways[n % 2]), most), range(200)))
    usages = [usage for usage in outcomes if not isinstance(usage, str)]
    eventually(lambda: held(redis) == 0)
    [(spent, _)] = balances(redis).values()
    error = max(sum(map(cost, usages)) - len(usages) * estimated(most), 0)
    rejected = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
    print(f"{len(usages)} served, {dict(rejected)}; spent {spent} of {limit}; the estimate's error is {error}")
    assert spent == sum(map(cost, usages))
    assert 0 < len(usages) < 200
    assert spent - limit <= error


def estimated(most: int) -> int:
    """Return the micro-USD that are reserved for a stream: the body that Bedrock gets is at least the text's length."""
    body = {"messages": [{"role": "user", "content": [{"text": "Hello!"}]}], "inferenceConfig": {"maxTokens": most}}
    return 1000 * (len(json.dumps(body, separators=(",", ":"))) // 4) + 2000 * most


def streamed(client: OpenAI, most: int) -> Any:
    """Return a stream's usage, or the code of its 429."""
    try:
        chunks = list(ask(client, max_tokens=most, stream=True, stream_options={"include_usage": True}).parse())
    except RateLimitError as error:
        return error.code
    return chunks[-1].usage


def test_a_killed_worker_has_spent_what_was_last_counted(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any]
) -> None:
    redis = start_redis()
    gateway = start_gateway(budgets(store(redis), {"tokens": 10_000, "per": "day"}))
    gateway.expect_restarts()
    stream = begun(openai(gateway), max_tokens=900)
    assert held(redis) > 900
    for pid in gateway.pids("extproc.worker.command"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Exception):  # noqa: B017 - whatever the SDK makes of a cut stream
        list(stream)
    eventually(lambda: held(redis) == 0, seconds=60)
    [(spent, _)] = balances(redis).values()
    assert 5 < spent < 100


def test_a_killed_store_that_starts_again_gets_what_ended_meanwhile(
    start_gateway: Starter, start_redis: StartRedis, local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    redis = start_redis("--appendfsync", "always")
    gateway = start_gateway(budgets(store(redis), {"tokens": 10_000, "per": "day"}))
    client = openai(gateway)
    used = ask(client).parse().usage.total_tokens
    stream = begun(client, max_tokens=900, stream_options={"include_usage": True})
    redis.kill()
    gateway.wait_for(r"the store redis://\S+ does not work")
    assert gateway.local_url is not None
    local_of(gateway.local_url).release()
    used += list(stream)[-1].usage.total_tokens
    used += ask(client).parse().usage.total_tokens  # within what was left a moment ago
    redis.start()
    gateway.wait_for(r"the store redis://\S+ works again")
    eventually(lambda: balances(redis) == {"organisation acme tokens day": (used, 0)})


@pytest.mark.parametrize(("choice", "expected"), [("allow", 200), ("reject", 503)])
def test_a_store_that_was_never_there_is_as_configured(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any], choice: str, expected: int
) -> None:
    redis = start_redis()
    redis.kill()
    settings = {"on_store_error": choice}
    gateway = start_gateway(budgets(store(redis), {"tokens": 10_000, "per": "day"}, settings=settings))
    client = openai(gateway)
    assert status(client) == expected
    redis.start()
    gateway.wait_for(r"the store redis://\S+ works again")
    assert status(client) == 200
    if choice == "allow":
        eventually(lambda: sum(spent for spent, _ in balances(redis).values()) > 20)


def test_a_stopped_store_holds_up_no_call(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any]
) -> None:
    redis = start_redis()
    gateway = start_gateway(budgets(store(redis), {"tokens": 10_000, "per": "day"}))
    client = openai(gateway)
    used = ask(client).parse().usage.total_tokens
    redis.stop()
    try:
        used += sum(ask(client).parse().usage.total_tokens for _ in range(4))
        gateway.wait_for(r"the store redis://\S+ does not work: no reply")
        used += ask(client).parse().usage.total_tokens
    finally:
        redis.go_on()
    gateway.wait_for(r"the store redis://\S+ works again")
    eventually(lambda: balances(redis) == {"organisation acme tokens day": (used, 0)})


def test_an_emptied_store_has_the_open_calls(
    start_gateway: Starter, start_redis: StartRedis, local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    redis = start_redis()
    gateway = start_gateway(budgets(store(redis), {"tokens": 10_000, "per": "day"}))
    stream = begun(openai(gateway), max_tokens=900, stream_options={"include_usage": True})
    redis.send("FLUSHALL")
    eventually(lambda: held(redis) > 900)
    assert gateway.local_url is not None
    local_of(gateway.local_url).release()
    used = list(stream)[-1].usage.total_tokens
    eventually(lambda: balances(redis) == {"organisation acme tokens day": (used, 0)})


@pytest.fixture
def switch() -> Iterator[Callable[[int], Switch]]:
    """Makes a port that leads to a server."""
    made: list[Switch] = []

    def make(target: int) -> Switch:
        made.append(Switch(target))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_replica_that_takes_over_goes_on_with_what_was_spent(
    start_gateway: Starter,
    start_redis: StartRedis,
    switch: Callable[[int], Switch],
    local_of: Callable[[str], Any],
    eventually: Callable[..., Any],
) -> None:
    first = start_redis()
    second = start_redis("--replicaof", "127.0.0.1", str(first.port))
    port = switch(first.port)
    redis = {"redis": {"url": f"redis://127.0.0.1:{port.port}", "timeout_ms": 250}}
    gateway = start_gateway(budgets(redis, {"tokens": 10_000, "per": "day"}))
    client = openai(gateway)
    used = ask(client).parse().usage.total_tokens
    stream = begun(client, max_tokens=900, stream_options={"include_usage": True})
    eventually(lambda: held(second) > 900)
    first.kill()
    port.to(second.port)
    gateway.wait_for(r"the store redis://\S+ does not work: READONLY")
    second.send("REPLICAOF", "NO", "ONE")
    eventually(lambda: status(client) == 200)
    assert gateway.local_url is not None
    local_of(gateway.local_url).release()
    used += list(stream)[-1].usage.total_tokens
    eventually(lambda: held(second) == 0)
    [(spent, _)] = balances(second).values()
    assert spent > used


def test_a_password_a_database_and_another_prefix(start_gateway: Starter, start_redis: StartRedis) -> None:
    redis = start_redis("--requirepass", "secret of the store", password="secret of the store")
    config = {"url": f"{redis.url}/3", "password_file": "password", "prefix": "other", "timeout_ms": 250}
    gateway = start_gateway(budgets({"redis": config}, {"tokens": 10_000, "per": "day"}))
    gateway.wait_for(r"the store redis://\S+ does not work: .*No such file")
    (gateway.folder / "password").write_text("secret of the store\n")
    gateway.wait_for(r"the store redis://\S+ works again")
    assert status(openai(gateway)) == 200
    assert "db3:keys=" in redis.send("INFO", "keyspace")
    assert "secret of" not in gateway.log()


def test_a_gateway_that_ends_has_settled_its_calls(start_gateway: Starter, start_redis: StartRedis) -> None:
    redis = start_redis()
    gateway: Gateway = start_gateway(budgets(store(redis), {"tokens": 10_000, "per": "day"}))
    used = sum(ask(openai(gateway), model=NOVA).parse().usage.total_tokens for _ in range(3))
    gateway.stop()
    assert balances(redis) == {"organisation acme tokens day": (used, 0)}
