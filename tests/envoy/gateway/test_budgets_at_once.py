"""200 streams that are open at once, at the last of a budget, half of them dearer than estimated."""

import http.client
import itertools
import json
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from typing import Any

from tests.conftest import Gateway, Starter
from tests.envoy.gateway.conftest import Client, question
from tests.envoy.gateway.test_budgets import NOVA, PRICES, balances, budgets, held

AT_ONCE, TOO_MANY, MOST = 200, 40, 20

WORDS = {"long": "a" * 800, "short": "a " * 400}
"""Texts of one length, which is what they are estimated by; short words are twice as many tokens."""


def test_streams_at_once_exceed_a_nearly_spent_budget_by_the_estimates_error_at_most(
    start_gateway: Starter, client_of: Callable[[Gateway], Client]
) -> None:
    limit = 400_000_000
    prices = {NOVA: {**PRICES["prices"][NOVA], "cached": 1}}
    gateway = start_gateway(budgets({"usd": str(limit // 10**6), "per": "month"}, workers=2, prices=prices))
    client = client_of(gateway)
    reserved = reservation(gateway, client)
    spend(gateway, client, limit - AT_ONCE * reserved - reserved // 2)
    [(before, _)] = balances(gateway).values()
    kinds = [*WORDS] * ((AT_ONCE + TOO_MANY) // 2)
    with ThreadPoolExecutor(len(kinds)) as pool:
        calls = [pool.submit(streamed, client, WORDS[kind]) for kind in kinds]
        bedrock(gateway, "GET", f"calls?held={AT_ONCE}")
        rejected = [each.result() for each in itertools.islice(as_completed(calls), TOO_MANY)]
        assert balances(gateway) == {"organisation acme usd month": (before, AT_ONCE * reserved)}
        bedrock(gateway, "POST", "release")
        outcomes = [each.result() for each in calls]
    costs = [cost for cost in outcomes if isinstance(cost, int)]
    [(spent, left)] = balances(gateway).values()
    error, overshoot = sum(max(cost - reserved, 0) for cost in costs), spent - limit
    print(
        f"{len(costs)} streams open at once, {len(rejected)} rejected: of {limit} micro-USD {before} were spent before "
        f"and {spent} after; exceeded by {overshoot}, the estimates' error is {error}"
    )
    assert rejected == ["rate_limit_exceeded"] * TOO_MANY
    assert (len(costs), spent, left) == (AT_ONCE, before + sum(costs), 0)
    assert 0 < overshoot <= error


def reservation(gateway: Gateway, client: Client) -> int:
    """Return the micro-USD that one of the streams holds."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(streamed, client, WORDS["long"])
        bedrock(gateway, "GET", "calls?held=1")
        reserved = held(gateway)
        bedrock(gateway, "POST", "release")
        assert isinstance(call.result(), int)
    return reserved


def spend(gateway: Gateway, client: Client, amount: int) -> None:
    """Spend the budget up to an amount, by tokens that Bedrock reads from a cache, and nobody estimates."""
    spent, rest = 0, amount
    while spent < amount:  # the first shows what else a call costs
        [(before, _)] = balances(gateway).values()
        cached = max(amount - before - rest, 0)
        assert client.chat(f"Hi [[local: cacheread={cached:09}]]", model=NOVA, max_tokens=MOST).status == 200
        [(spent, _)] = balances(gateway).values()
        rest = spent - before
    assert spent == amount


def bedrock(gateway: Gateway, method: str, path: str) -> None:
    request = urllib.request.Request(f"{gateway.local_url}/_local/{path}", method=method)
    with urllib.request.urlopen(request, timeout=120) as response:
        response.read()


def streamed(client: Client, text: str) -> Any:
    """Return the micro-USD that a stream has cost, or the code of its 429."""
    fields = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": MOST}
    body = question(f"{text} Count to 500. [[local: hold]]", NOVA, fields)
    with closing(http.client.HTTPConnection(client.host, client.port, timeout=120)) as connection:
        client.send(connection, "POST", "/oai/v1/chat/completions", json.dumps(body).encode())
        response = connection.getresponse()
        received = response.read()
    if response.status == 429:
        return json.loads(received)["error"]["code"]
    *_, last, done, _ = received.decode().split("\n\n")
    assert done == "data: [DONE]"
    usage = json.loads(last.removeprefix("data: "))["usage"]
    return 1000 * usage["prompt_tokens"] + 2000 * usage["completion_tokens"]
