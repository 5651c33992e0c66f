"""Limits and budgets in a real Redis, which workers and gateways share, and which is killed, stopped and emptied."""

import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Gateway, Starter
from tests.envoy.gateway.test_metrics import scraped
from tests.envoy.gateway.test_rate_limits import HELD, NOVA, ask, limits, openai, opened, rejection, served, shown
from tests.redis.conftest import start_redis as start_redis
from tests.redis.server import Redis

StartRedis = Callable[..., Redis]

AWAY = re.compile(r'^envoy_oai_store_away_calls_total\{.*organisation="([^"]*)".*\} (\d+)$', re.MULTILINE)

LOADED = 250
"""Milliseconds that a store gets on a machine with other load."""


def store(redis: Redis, **more: Any) -> dict[str, Any]:
    """Return the keys of gateway.yaml for it."""
    return {"redis": {"url": redis.url, "timeout_ms": LOADED, **more}}


def test_gateways_share_a_limit(start_gateway: Starter, start_redis: StartRedis) -> None:
    redis = start_redis()
    config = limits({"requests_per_minute": 20, "tokens_per_minute": 10**9}, workers=2, **store(redis))
    clients = [openai(start_gateway(config)) for _ in range(2)]
    assert len(shown(ask(clients[0]).headers)) == 6
    with ThreadPoolExecutor(12) as pool:
        outcomes = Counter(pool.map(lambda n: served(clients[n % 2]), range(60)))
    assert 19 <= outcomes[True] < 60
    assert rejection(clients[1]).response.headers["x-ratelimit-remaining-requests"] == "0"
    assert redis.send("ZCARD", "{oai}:workers") == 4


def test_tokens_are_settled_by_what_was_used(start_gateway: Starter, start_redis: StartRedis) -> None:
    client = openai(start_gateway(limits({"tokens_per_minute": 1000}, **store(start_redis()))))
    before = int(ask(client, max_tokens=900).headers["x-ratelimit-remaining-tokens"])
    assert before < 120
    assert int(ask(client, max_tokens=16).headers["x-ratelimit-remaining-tokens"]) > 800


def test_streams_count_on_all_gateways_until_they_end(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any]
) -> None:
    config = limits({"concurrent_streams": 2}, **store(start_redis()))
    one, two = (openai(start_gateway(config)) for _ in range(2))
    held = [client.chat.completions.create(model=NOVA, messages=HELD, stream=True) for client in (one, two)]
    assert "acme on open streams: Limit 2, Used 2" in rejection(one, messages=HELD, stream=True).message
    held[0].close()
    eventually(lambda: opened(two)).close()
    held[1].close()


def test_a_killed_worker_gives_its_streams_back(
    start_gateway: Starter, start_redis: StartRedis, eventually: Callable[..., Any]
) -> None:
    redis = start_redis()
    config = limits({"concurrent_streams": 1}, **store(redis))
    one, two = (start_gateway(config) for _ in range(2))
    one.expect_restarts()
    held = openai(one).chat.completions.create(model=NOVA, messages=HELD, stream=True)
    assert opened(openai(two)) is None
    for pid in one.pids("extproc.worker.command"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Exception):  # noqa: B017 - whatever the SDK makes of a cut stream
        list(held)
    assert redis.send("ZCARD", "{oai}:streams:organisation acme") == 1
    eventually(lambda: opened(openai(two)), 60).close()


@pytest.mark.parametrize(("choice", "status"), [("allow", 200), ("reject", 503)])
def test_a_killed_store_is_as_configured(
    start_gateway: Starter,
    start_redis: StartRedis,
    client_of: Callable[[Gateway], Any],
    eventually: Callable[..., Any],
    choice: str,
    status: int,
) -> None:
    redis = start_redis()
    config = limits({"requests_per_minute": 100}, rate_limits={"on_store_error": choice}, workers=2, **store(redis))
    gateway = start_gateway(config, args=["--health", "127.0.0.1:0"])
    client = client_of(gateway)
    assert client.chat("Hello!").headers["x-ratelimit-limit-requests"] == "100"
    eventually(lambda: redis.send("ZCARD", "{oai}:workers") == 2)
    for index in range(2):
        gateway.wait_for(rf"worker-{index}: .*serving on")
    redis.kill()
    gateway.wait_for(r"the store redis://\S+ does not work")
    response = client.chat("Hello!")
    assert response.status == status
    if status == 503:
        assert (response.error["code"], response.headers["retry-after"]) == ("limits_unavailable", "1")
    else:
        assert response.headers["x-ratelimit-limit-requests"] == "50"
    eventually(lambda: AWAY.findall(scraped(gateway)) == [("acme", "1")])
    redis.start()
    gateway.wait_for(r"the store redis://\S+ works again")
    eventually(lambda: client.chat("Hello!").headers.get("x-ratelimit-limit-requests") == "100")


def test_a_stopped_store_holds_up_no_call(start_gateway: Starter, start_redis: StartRedis) -> None:
    redis = start_redis()
    gateway = start_gateway(limits({"requests_per_minute": 1000, "concurrent_streams": 5}, **store(redis)))
    client = openai(gateway)
    assert ask(client).status_code == 200
    redis.stop()
    try:
        assert [ask(client).status_code for _ in range(5)] == [200] * 5
        gateway.wait_for(r"the store redis://\S+ does not work: no reply within")
        assert len(list(ask(client, stream=True).parse())) > 2
    finally:
        redis.go_on()
    gateway.wait_for(r"the store redis://\S+ works again")
    assert len(list(ask(client, stream=True).parse())) > 2
    assert redis.send("ZCARD", "{oai}:streams:organisation acme") == 0
