"""A caller whose token is looked up before anything else happens with the request."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from extproc.config import LOOKUP_SECONDS, Models, Organisation, ResponsesSettings, Settings, Token
from extproc.config.capacity import slow_bytes
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.directives import Abort, Continue, Forward, Reply, Wait
from extproc.exchange.events import Idle, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import FetchedImages
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import Directory
from extproc.tenancy.store import LookedUp, Lookup, Unavailable
from extproc.tenancy.table_store import TableStore

NOW = 1_790_000_000.0
SECRET = "qc_looked-up"
TOKEN = Token(name="new", sha256=digest(SECRET), organisations=("acme",))
NOVA = Organisation(models=Models(allow=("amazon.*",)))
CHAT = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": f"Bearer {SECRET}"}
LIST = {":method": "GET", ":path": "/oai/v1/models", "authorization": f"Bearer {SECRET}"}
FOUND = LookedUp(TOKEN, "acme", NOVA)


@pytest.fixture
def store() -> TableStore:
    return TableStore(lambda key: None)


@pytest.fixture
def exchange(gateway: Gateway, store: TableStore) -> Exchange:
    gateway.settings = Settings()
    gateway.directory = Directory(gateway.settings, store)
    return Exchange(gateway, "0" * 32)


def waiting(exchange: Exchange, headers: Mapping[str, str] = CHAT, **more: Any) -> Exchange:
    [wait] = exchange.receive(RequestHeaders({**headers, **more}, headers is LIST), NOW)
    assert wait == Wait(Lookup(TOKEN.sha256, more.get("openai-organization", "").strip()), LOOKUP_SECONDS)
    assert exchange.idle_timeout(0.0) is None
    return exchange


def error(directive: object) -> Any:
    assert isinstance(directive, Reply)
    return directive.status, json.loads(directive.body)["error"]["code"]


def test_the_request_goes_on_when_the_caller_is_known(exchange: Exchange) -> None:
    [directive] = waiting(exchange).receive(Resumed(FOUND), NOW)
    assert directive == Continue(("authorization",))
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello"}]}
    [forward] = exchange.receive(RequestBody(json.dumps(body).encode()), NOW)
    assert isinstance(forward, Forward)
    assert forward.metadata is not None
    assert (forward.metadata["token"], forward.metadata["organisation"]) == ("new", "acme")


def test_the_organisations_models_are_those_of_the_table(exchange: Exchange) -> None:
    [reply] = waiting(exchange, LIST).receive(Resumed(FOUND), NOW)
    assert isinstance(reply, Reply)
    assert {model["id"] for model in json.loads(reply.body)["data"]} == {
        "amazon.nova-micro-v1:0",
        "amazon.titan-embed-text-v2:0",
    }
    assert exchange.done


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (LookedUp(), (401, "invalid_api_key")),
        (LookedUp(TOKEN, "acme", None), (403, "organisation_not_allowed")),
        (LookedUp(TOKEN, "acme", Organisation(enabled=False)), (403, "organisation_not_allowed")),
        (LookedUp(Token(name="none", sha256=TOKEN.sha256)), (403, "organisation_not_allowed")),
        (Unavailable(), (503, "directory_unavailable")),
        (Unavailable(busy=True), (503, "directory_unavailable")),
    ],
)
def test_rejections(exchange: Exchange, result: LookedUp | Unavailable, expected: tuple[int, str]) -> None:
    [reply] = waiting(exchange).receive(Resumed(result), NOW)
    assert error(reply) == expected
    assert exchange.done
    assert isinstance(reply, Reply)
    assert (dict(reply.headers).get("retry-after") is not None) is (expected[0] == 503)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-1"}])
def test_what_is_no_token_is_never_looked_up(exchange: Exchange, headers: Mapping[str, str]) -> None:
    request = {":method": "POST", ":path": "/oai/v1/chat/completions", **headers}
    [reply] = exchange.receive(RequestHeaders(request), NOW)
    assert error(reply) == (401, "invalid_api_key")


def test_a_known_caller_is_not_waited_for(exchange: Exchange, store: TableStore) -> None:
    store.put(f"token#{TOKEN.sha256}", TOKEN, 10, NOW)
    store.put("org#acme", NOVA, 10, NOW)
    [directive] = exchange.receive(RequestHeaders(CHAT), NOW)
    assert isinstance(directive, Continue)


def test_the_organisation_of_a_known_token_may_still_be_looked_up(exchange: Exchange, store: TableStore) -> None:
    store.put(f"token#{TOKEN.sha256}", TOKEN, 10, NOW)
    waiting(exchange, **{"openai-organization": " acme"})


def test_envoys_own_response_ends_the_wait(exchange: Exchange) -> None:
    waiting(exchange)
    assert exchange.receive(ResponseHeaders({":status": "504"}, local=True, details="timeout"), NOW) == ()
    [reply] = exchange.receive(ResponseBody(b"timeout", end_of_stream=True), NOW)
    assert error(reply)[0] == 504


@pytest.mark.parametrize("event", [RequestBody(b"{}"), Resumed(FetchedImages()), Idle(1.0)])
def test_anything_else_ends_the_exchange_in_error(exchange: Exchange, event: Any) -> None:
    [abort] = waiting(exchange).receive(event, NOW)
    assert isinstance(abort, Abort)


def test_optional_endpoints_need_keys_of_the_operators(gateway: Gateway, store: TableStore) -> None:
    assert Directory(Settings(), store).offered == set()
    assert Directory(Settings(), store).response_keys == ()
    keyed = Directory(Settings(responses=ResponsesSettings(("k" * 32,))), store)
    assert (keyed.offered, keyed.response_keys) == ({"responses"}, (b"k" * 32,))


def test_a_body_counts_while_its_caller_is_looked_up_and_no_longer(exchange: Exchange, gateway: Gateway) -> None:
    """Envoy takes it in before anybody is known for whom memory could be reserved."""
    gateway.budget = MemoryBudget(1 << 28, 1 << 27)
    waiting(exchange, **{"content-length": "100000"})
    assert gateway.budget._pieces == {"address ": slow_bytes(100_000) + 1}
    [directive] = exchange.receive(Resumed(FOUND), NOW)
    assert isinstance(directive, Continue)
    assert gateway.budget._pieces == {}
    other = waiting(Exchange(gateway, "1" * 32), **{"content-length": "100000"})
    other.close(NOW)
    assert gateway.budget._pieces == {}
    exchange.close(NOW)


def test_strangers_at_one_address_have_few_large_bodies_looked_up_at_once(exchange: Exchange, gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 28, 1 << 27)
    large = {**CHAT, "content-length": "33000000"}
    waiting(exchange, large)
    second, small = Exchange(gateway, "1" * 32), Exchange(gateway, "2" * 32)
    assert error(second.receive(RequestHeaders(large), NOW)[0]) == (503, "directory_unavailable")
    waiting(small, **{"content-length": "16000"})
    other = waiting(Exchange(gateway, "3" * 32), {**large, "x-envoy-external-address": "192.0.2.1"})
    for each in (exchange, second, small, other):
        each.close(NOW)
    assert gateway.budget._pieces == {}
