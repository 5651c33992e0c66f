"""A request that is counted in a store far away, between its translation and its way to Bedrock."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from extproc import config
from extproc.config import Organisation, Settings, Token
from extproc.config.budgets import Budget
from extproc.config.rate_limits import RateLimits
from extproc.config.redis import ADMIT_SECONDS
from extproc.exchange.directives import Abort, Forward, Reply, Wait
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Admission, Admit, Fetch, Fetched, FetchedImages
from extproc.exchange.spending import unavailable
from extproc.limits.counters import Bucket, Decision, Scope, decide
from extproc.limits.spending import Balance
from extproc.limits.spending import decide as decide_budgets
from extproc.tenancy.directory import Directory

NOW = 1_790_000_000.0
KEY = "qc_counted"
HEADERS = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": f"Bearer {KEY}"}
NOVA = "amazon.nova-micro-v1:0"
PNG = b"\x89PNG\r\n\x1a\n"


class Store:
    """A store far away, and what it is told."""

    def __init__(self) -> None:
        self.ready = True
        self.withdrawn: list[Admit] = []
        self.settled: list[tuple[str, list[int]]] = []
        self.advance = False

    def known(self, scopes: Sequence[Scope], tokens: int) -> Decision | None:
        return decide(scopes, [Bucket() for _ in scopes], 0, tokens, False) if self.advance else None

    def withdraw(self, admit: Admit) -> None:
        self.withdrawn.append(admit)

    def settle(self, call: str, charges: Any, costs: Any, soon: bool = False) -> None:
        self.settled.append((call, list(costs)))

    def reserve(self, call: str, charges: Any, running: Any) -> None:
        raise unavailable()

    def tell(self, key: str, end: int, text: str) -> None:
        pass


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def exchange(gateway: Gateway, store: Store) -> Exchange:
    own = Organisation(limits=RateLimits(requests_per_minute=10), budgets=(Budget("day", tokens=1000),))
    token = Token(name="one", sha256=hashlib.sha256(KEY.encode()).hexdigest(), organisations=("acme",))
    gateway.settings = Settings(
        organisations={"acme": own}, tokens=(token,), aws=config.AwsSettings(request_metadata=())
    )
    gateway.directory, gateway.remote, gateway.accounts = Directory(gateway.settings), store, store
    return Exchange(gateway, "0" * 32)


def counted(exchange: Exchange) -> Admit:
    """Send a request; return the job that it waits for."""
    [wait] = sent(exchange)
    assert isinstance(wait, Wait)
    assert wait.seconds == ADMIT_SECONDS
    assert isinstance(wait.job, Admit)
    assert exchange.idle_timeout(0.0) is None
    return wait.job


def sent(exchange: Exchange, content: Any = "Hello") -> Any:
    exchange.receive(RequestHeaders(HEADERS), NOW)
    body = {
        "model": "amazon.nova-lite-v1:0" if isinstance(content, list) else NOVA,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 50,
    }
    return exchange.receive(RequestBody(json.dumps(body).encode()), NOW)


def admission(admit: Admit, requests: int = 0, spent: int = 0) -> Admission:
    """Return what a store decides that has counted so many requests, and tokens of the budget."""
    found = [Bucket(int(requests * 6e9)) for _ in admit.scopes]
    decision = decide(admit.scopes, found, 0, admit.tokens, admit.stream)
    verdict = decide_budgets(admit.charges, [Balance(spent) for _ in admit.charges])
    return Admission(decision, verdict if decision.rejection is None else None)


def code(directives: Any) -> tuple[int, str]:
    [reply] = directives
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body)["error"]["code"]


def test_an_admitted_request_is_sent_and_settled(exchange: Exchange, store: Store) -> None:
    admit = counted(exchange)
    assert admit.running is not None
    [charge] = admit.charges
    assert charge.amount > 50
    [forward] = exchange.receive(Resumed(admission(admit)), NOW)
    assert isinstance(forward, Forward)
    exchange.close(NOW)
    assert store.settled == [(admit.call, [charge.counted])]
    assert store.withdrawn == []


def test_what_was_taken_in_advance_is_sent_at_once(gateway: Gateway, exchange: Exchange, store: Store) -> None:
    store.advance = True
    own = Organisation(limits=RateLimits(requests_per_minute=10))
    gateway.settings = msgspec.structs.replace(gateway.settings, organisations={"acme": own})
    gateway.directory = Directory(gateway.settings)
    [forward] = sent(exchange)
    assert isinstance(forward, Forward)


def test_a_request_with_a_budget_is_counted_by_the_store(exchange: Exchange, store: Store) -> None:
    store.advance = True
    counted(exchange)


def test_rates_and_budgets_reject_as_they_do_elsewhere(exchange: Exchange, store: Store) -> None:
    assert code(exchange.receive(Resumed(admission(counted(exchange), requests=10)), NOW)) == (
        429,
        "rate_limit_exceeded",
    )
    assert (store.settled, store.withdrawn) == ([], [])


def test_a_budget_rejects_what_the_rates_have_admitted(exchange: Exchange, store: Store) -> None:
    [reply] = directives = exchange.receive(Resumed(admission(counted(exchange), spent=990)), NOW)
    assert code(directives) == (429, "insufficient_quota")
    assert ("x-ratelimit-remaining-requests", "9") in reply.headers
    assert (store.settled, store.withdrawn) == ([], [])


@pytest.mark.parametrize("of", ["decision", "verdict"])
def test_the_errors_of_a_store_are_the_response(exchange: Exchange, of: str) -> None:
    counted(exchange)
    assert code(exchange.receive(Resumed(Admission(**{of: unavailable()})), NOW)) == (503, "budgets_unavailable")


def test_a_request_that_is_over_before_is_withdrawn_once(exchange: Exchange, store: Store) -> None:
    admit = counted(exchange)
    exchange.close(NOW)
    exchange.close(NOW)
    assert store.withdrawn == [admit]


def test_a_response_of_envoys_own_withdraws_it(exchange: Exchange, store: Store) -> None:
    admit = counted(exchange)
    exchange.receive(ResponseHeaders({":status": "504"}, True, local=True), NOW)
    assert store.withdrawn == [admit]
    assert exchange.done


def test_a_store_that_is_not_ready_is_not_waited_for(exchange: Exchange, store: Store) -> None:
    store.ready = False
    assert code(sent(exchange)) == (503, "budgets_unavailable")


def test_a_request_with_images_is_counted_before_they_are_fetched_and_its_tokens_after(exchange: Exchange) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
    [first] = sent(exchange, [{"type": "text", "text": "What is this?"}, image])
    assert isinstance(first.job, Admit)
    assert (first.job.tokens, len(first.job.charges), first.job.scopes[0].requests) == (0, 0, 10)
    [fetch] = exchange.receive(Resumed(admission(first.job)), NOW)
    assert isinstance(fetch.job, Fetch)
    [second] = exchange.receive(Resumed(FetchedImages((Fetched(PNG, "image/png"),))), NOW)
    assert isinstance(second.job, Admit)
    assert (len(second.job.charges), second.job.scopes[0].requests) == (1, 0)
    [forward] = exchange.receive(Resumed(admission(second.job)), NOW)
    assert isinstance(forward, Forward)
    assert exchange._call.ticket is not None
    assert ("x-ratelimit-remaining-requests", "9") in exchange._call.ticket.headers


def test_another_result_is_a_bug(exchange: Exchange) -> None:
    counted(exchange)
    [abort] = exchange.receive(Resumed(FetchedImages(())), NOW)
    assert isinstance(abort, Abort)


def test_a_model_without_a_price_takes_nothing_of_the_limits(gateway: Gateway, store: Store) -> None:
    """Here as in a store far away: it never leaves."""
    own = Organisation(limits=RateLimits(requests_per_minute=1), budgets=(Budget("day", usd="5"),))
    token = Token(name="one", sha256=hashlib.sha256(KEY.encode()).hexdigest(), organisations=("acme",))
    gateway.settings = Settings(organisations={"acme": own}, tokens=(token,))
    gateway.directory, gateway.accounts = Directory(gateway.settings), store
    for _ in range(2):
        exchange = Exchange(gateway, "0" * 32)
        exchange.receive(RequestHeaders(HEADERS), NOW)
        body = {"model": "example.unpriced-v1:0", "messages": [{"role": "user", "content": "Hello"}]}
        assert code(exchange.receive(RequestBody(json.dumps(body).encode()), NOW)) == (403, "model_unpriced")
        exchange.close(NOW)
