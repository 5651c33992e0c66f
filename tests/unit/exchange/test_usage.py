"""A request for usage: who may make it, the query that it waits for, and the response."""

import hashlib
import json
from typing import Any

import msgspec
import pytest

from extproc import config
from extproc.config.usage import USAGE_SECONDS, UsageSettings
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.directives import Abort, Reply, Wait
from extproc.exchange.events import RequestHeaders, ResponseHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Assumed, QueryUsage, UsageFailure, UsagePage
from extproc.openai.usage_query import DAY, UsageQuery
from extproc.tenancy.directory import Directory

NOW = 1_790_000_000.0
TODAY = int(NOW) // DAY * DAY
PATH = "/oai/v1/organization/usage/completions"


def token(name: str, **more: Any) -> config.Token:
    sha256 = hashlib.sha256(f"qc_{name}".encode()).hexdigest()
    return config.Token(name=name, sha256=sha256, organisations=("acme",), **more)


SETTINGS = config.Settings(
    organisations={"acme": config.Organisation(region="eu-west-1", aliases={"small": "amazon.nova-micro-v1:0"})},
    tokens=(token("watcher", scopes=("usage", "chat")), token("plain"), token("chats", scopes=("chat",))),
    usage=UsageSettings(ledger="/var/usage.jsonl", sqlite="/var/usage.sqlite", keep_days=30),
)


@pytest.fixture
def gateway(gateway: Gateway) -> Gateway:
    gateway.settings, gateway.directory = SETTINGS, Directory(SETTINGS)
    return gateway


def asked(gateway: Gateway, query: str = f"start_time={TODAY}", name: str = "watcher") -> tuple[Exchange, Any]:
    exchange = Exchange(gateway, "0" * 32)
    headers = {":method": "GET", ":path": f"{PATH}?{query}", "authorization": f"Bearer qc_{name}"}
    [directive] = exchange.receive(RequestHeaders(headers, end_of_stream=True), NOW)
    return exchange, directive


def error(directive: Any) -> dict[str, Any]:
    assert isinstance(directive, Reply)
    return {"status": directive.status, **json.loads(directive.body)["error"]}


def test_it_waits_for_the_query_of_its_organisation_whatever_region_that_has(gateway: Gateway) -> None:
    _, wait = asked(gateway)
    job = QueryUsage("acme", UsageQuery("completions", DAY, TODAY, TODAY + DAY, TODAY + DAY))
    assert wait == Wait(job, USAGE_SECONDS)


def test_the_page_is_the_response_and_counts_as_bytes_in_flight(gateway: Gateway) -> None:
    exchange, _ = asked(gateway)
    assert exchange.idle_timeout(0.0) is None
    [reply] = exchange.receive(Resumed(UsagePage(b"{}" * 500)), NOW)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body) == (200, b"{}" * 500)
    assert {"openai-organization": "acme", "content-type": "application/json"}.items() <= dict(reply.headers).items()
    assert reply.metadata is not None
    assert (reply.metadata["operation"], reply.metadata["token"]) == ("usage", "watcher")
    assert gateway.budget.taken >= 1000
    exchange.close(NOW)
    assert gateway.budget.taken == 0


def test_queries_that_wait_count_as_requests_in_flight(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1000, 1000, 300)
    waiting = [asked(gateway) for _ in range(3)]
    assert all(isinstance(directive, Wait) for _, directive in waiting)
    assert gateway.budget.taken == 900
    assert error(asked(gateway)[1])["status"] == 429
    for exchange, _ in waiting:
        exchange.close(NOW)
    assert gateway.budget.taken == 0


@pytest.mark.parametrize("reason", ["behind", "slow", "broken"])
def test_without_a_page_it_is_a_503(gateway: Gateway, reason: Any) -> None:
    exchange, _ = asked(gateway)
    [reply] = exchange.receive(Resumed(UsageFailure(reason)), NOW)
    assert (error(reply)["status"], error(reply)["code"]) == (503, "usage_unavailable")
    assert int(dict(reply.headers)["retry-after"]) > 0


def test_a_page_that_memory_has_no_room_for_is_an_error(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1000, 1000, 10)
    exchange, _ = asked(gateway)
    [reply] = exchange.receive(Resumed(UsagePage(b"x" * 2000)), NOW)
    assert error(reply)["status"] == 413
    exchange.close(NOW)
    assert gateway.budget.taken == 0


def test_another_result_or_event_ends_it(gateway: Gateway) -> None:
    exchange, _ = asked(gateway)
    [abort] = exchange.receive(Resumed(Assumed()), NOW)
    assert isinstance(abort, Abort)


def test_envoys_own_reply_meanwhile_is_one(gateway: Gateway) -> None:
    exchange, _ = asked(gateway)
    exchange.receive(ResponseHeaders({":status": "408", "content-length": "0"}, end_of_stream=True), NOW)
    assert exchange.done


@pytest.mark.parametrize("name", ["plain", "chats"])
def test_a_token_whose_scopes_do_not_name_it_may_not(gateway: Gateway, name: str) -> None:
    _, reply = asked(gateway, "nonsense", name)
    assert (error(reply)["status"], error(reply)["code"]) == (403, "insufficient_permissions")


def test_without_sums_there_is_no_such_path(gateway: Gateway) -> None:
    gateway.settings = msgspec.structs.replace(SETTINGS, usage=UsageSettings(ledger="/var/usage.jsonl"))
    _, reply = asked(gateway, name="nobody")
    assert (error(reply)["status"], error(reply)["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (f"start_time={TODAY - 30 * DAY - 1}", "start_time"),
        (f"start_time={TODAY - 2 * DAY - 1}&end_time={TODAY - 2 * DAY}&bucket_width=1m", "start_time"),
        (f"start_time={TODAY}&models=small", "models"),
        (f"start_time={TODAY}&end_time=5", "end_time"),
    ],
)
def test_bad_input_is_a_400_that_names_it(gateway: Gateway, query: str, param: str) -> None:
    _, reply = asked(gateway, query)
    assert (error(reply)["status"], error(reply)["param"]) == (400, param)


@pytest.mark.parametrize(
    "query",
    [
        f"start_time={TODAY - 30 * DAY}",
        f"start_time={TODAY - 2 * DAY}&end_time={TODAY - 2 * DAY + 60}&bucket_width=1m",
        f"start_time={TODAY}&models=amazon.nova-micro-v1:0",
    ],
)
def test_what_is_kept_can_be_asked_for(gateway: Gateway, query: str) -> None:
    assert isinstance(asked(gateway, query)[1], Wait)
