"""Exchanges: translated requests, rejected requests, and the order of events."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from extproc import config
from extproc.exchange.directives import Abort, Continue
from extproc.exchange.events import (
    Idle,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Resumed,
)
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import Directory
from tests.unit.exchange.replies import error, only

NOW = 1_790_000_000.0
TOKEN = "qc_test"
AUTHORITY = "bedrock-runtime.us-east-1.amazonaws.com"


def headers(method: str = "POST", path: str = "/oai/v1/chat/completions", **more: str) -> RequestHeaders:
    """Return a client's headers with a valid token; `more` overrides them, with `_` for `-`."""
    fields = {":method": method, ":path": path, ":authority": "gateway", "authorization": f"Bearer {TOKEN}"}
    fields |= {"x-request-id": "req-1"} | {name.replace("_", "-"): value for name, value in more.items()}
    return RequestHeaders(fields, end_of_stream=method != "POST")


def chat(**more: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": "amazon.nova-micro-v1:0", "messages": messages} | more).encode()


# The request


def test_a_caller_without_a_token_is_rejected_before_any_body_is_read(exchange: Exchange) -> None:
    fields = {":method": "POST", ":path": "/oai/v1/chat/completions", "content-length": "9"}
    reply = only(exchange.receive(RequestHeaders(fields), NOW))
    assert (reply.status, error(reply)["code"]) == (401, "invalid_api_key")
    assert exchange.done


@pytest.mark.parametrize(
    ("token", "organisation", "status", "recorded"),
    [
        ("qc_test", "", 200, ("one", "acme")),
        ("qc_test", "umbrella", 403, ("one", "acme")),
        ("qc_two", "", 400, ("two", "")),
        ("qc_two", "umbrella", 403, ("two", "")),
        ("qc_old", "", 401, ("old", "acme")),
        ("qc_unknown", "acme", 401, ("", "")),
    ],
)
def test_the_record_has_a_known_token_also_where_it_is_rejected(
    gateway: Gateway, token: str, organisation: str, status: int, recorded: tuple[str, str]
) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    old = config.Token(name="old", sha256=digest("qc_old"), organisations=("acme",), expires=past)
    settings = msgspec.structs.replace(gateway.settings, tokens=(*gateway.settings.tokens, old))
    gateway.directory = Directory(settings)
    more = {"authorization": f"Bearer {token}", "openai-organization": organisation, "user-agent": "u" * 1000}
    fields = {":method": "GET", ":path": "/oai/v1/models", **more}
    reply = only(Exchange(gateway, "0" * 32).receive(RequestHeaders(fields, end_of_stream=True), NOW))
    assert reply.status == status
    assert (reply.metadata["token"], reply.metadata["organisation"]) == recorded
    assert (reply.metadata["user_agent"], reply.metadata["region"]) == ("u" * 256, "us-east-1")
    assert ("www-authenticate" in dict(reply.headers)) == (status == 401)


def test_a_callers_program_cannot_command_the_terminal_that_shows_the_log(gateway: Gateway) -> None:
    fields = {":method": "GET", ":path": "/oai/v1/models", "user-agent": "a/1 \x9b2J\x1b]0;x\x07 (\xe9)"}
    reply = only(Exchange(gateway, "0" * 32).receive(RequestHeaders(fields, end_of_stream=True), NOW))
    assert reply.metadata["user_agent"] == "a/1 ?2J?]0;x? (?)"


def test_a_route_that_is_not_there_needs_no_token(exchange: Exchange) -> None:
    reply = only(exchange.receive(RequestHeaders({":method": "POST", ":path": "/oai/v1/responses"}), NOW))
    assert reply.status == 404


def test_every_response_has_envoys_request_id_or_its_own(gateway: Gateway) -> None:
    reply = only(Exchange(gateway, "f" * 32).receive(headers(path="/oai/v1/x"), NOW))
    assert dict(reply.headers)["x-request-id"] == "req-1"
    for bad in ("", "x" * 129, "a\nb", "é"):
        reply = only(Exchange(gateway, "f" * 32).receive(headers(path="/oai/v1/x", x_request_id=bad), NOW))
        assert dict(reply.headers)["x-request-id"] == "f" * 32


@pytest.mark.parametrize(
    ("more", "status"),
    [({"content_length": "4097"}, 413), ({"content_encoding": "gzip"}, 415), ({"content_length": "4096"}, None)],
)
def test_a_body_is_not_read_if_the_headers_suffice_to_reject_the_request(
    exchange: Exchange, more: dict[str, str], status: int | None
) -> None:
    directive = only(exchange.receive(headers(**more), NOW))
    if status is None:
        assert directive == Continue(("authorization",))
    else:
        assert directive.status == status
        assert error(directive)


def test_a_post_without_a_body_is_a_400(exchange: Exchange) -> None:
    event = RequestHeaders(headers().headers, end_of_stream=True)
    assert only(exchange.receive(event, NOW)).status == 400


def test_the_body_limit_holds_even_if_envoy_lets_more_through(exchange: Exchange) -> None:
    exchange.receive(headers(), NOW)
    reply = only(exchange.receive(RequestBody(b" " * 4097), NOW))
    assert (reply.status, error(reply)["code"]) == (413, "request_too_large")


def test_a_chat_is_forwarded_translated_and_signed(exchange: Exchange) -> None:
    exchange.receive(headers(), NOW)
    forward = only(exchange.receive(RequestBody(chat()), NOW))
    assert forward.path == "/model/amazon.nova-micro-v1%3A0/converse"
    assert forward.authority == AUTHORITY
    assert json.loads(forward.body)["messages"] == [{"role": "user", "content": [{"text": "Hello"}]}]
    sent = dict(forward.headers)
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert sent["content-type"] == "application/json"
    assert forward.metadata["organisation"] == "acme"
    assert forward.metadata["model"] == "amazon.nova-micro-v1:0"


def test_a_request_that_the_translation_rejects_has_no_known_model(exchange: Exchange) -> None:
    """Mistakes cost nothing, and metrics have a series for each known model and kind of end."""
    exchange.receive(headers(), NOW)
    metadata = only(
        exchange.receive(RequestBody(chat(messages=[{"role": "tool", "tool_call_id": "x", "content": "y"}])), NOW)
    ).metadata
    assert metadata["bedrock_model"].endswith("amazon.nova-micro-v1:0")
    assert not metadata.get("known_model")


def test_nothing_of_the_client_leaves(exchange: Exchange) -> None:
    more = {
        "cookie": "a=b",
        "openai_organization": "acme",
        "x_api_key": "k",
        "accept_encoding": "gzip",
        "accept": "*/*",
    }
    more |= {"x_amz_date": "x", "x_stainless_lang": "js", "x_forwarded_for": "10.0.0.1", "x_envoy_anything": "1"}
    event = headers(content_length="9", host="gateway", **more)
    passed = only(exchange.receive(event, NOW))
    assert event.headers.keys() - set(passed.remove) == {
        *(":method", ":path", ":authority", "host", "content-length"),
        "x-request-id",
    }
    forward = only(exchange.receive(RequestBody(chat()), NOW))
    assert {"authorization", "accept", "x-amz-date"} <= {name for name, _ in forward.headers}
    assert TOKEN not in repr(forward)


def test_a_bare_id_goes_to_the_profile_of_the_regions_geography(exchange: Exchange) -> None:
    exchange.receive(headers(), NOW)
    forward = only(exchange.receive(RequestBody(chat(model="anthropic.claude-sonnet-4-6", stream=True)), NOW))
    assert forward.path == "/model/us.anthropic.claude-sonnet-4-6/converse-stream"
    assert dict(forward.headers)["accept"] == "application/vnd.amazon.eventstream"


def test_a_model_that_the_organisation_may_not_use_does_not_exist_for_it(gateway: Gateway) -> None:
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(authorization="Bearer qc_two", openai_organization="frugal"), NOW)
    reply = only(exchange.receive(RequestBody(chat(model="anthropic.claude-sonnet-4-6")), NOW))
    assert (reply.status, error(reply)["code"], error(reply)["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("eu.anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-6"),
        ("amazon.nova-micro-v1", "amazon.nova-micro-v1:0"),
        ("somebody.else-1", None),
    ],
)
def test_a_model_that_bedrock_does_not_know_is_the_gateways_own_404(
    gateway: Gateway, sent: Callable[..., Exchange], asked: str, meant: str | None
) -> None:
    exchange = sent(gateway, model=asked)
    exchange.receive(ResponseHeaders({":status": "400", "x-amzn-errortype": "ValidationException"}), NOW)
    failure = b'{"message": "The provided model identifier is invalid."}'
    reply = only(exchange.receive(ResponseBody(failure, end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"], error(reply)["param"]) == (404, "model_not_found", "model")
    message = error(reply)["message"]
    assert message.startswith(f"The model '{asked}' does not exist, or organisation 'acme' may not use it.")
    assert ("Did you mean" in message) == (meant is not None)
    assert meant is None or f"Did you mean `{meant}`?" in message
    assert "GET /oai/v1/models" in message
    assert "(The provided model identifier is invalid.)" in message


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("text-embedding-3-small", 404, "model_not_found"),
        ("amazon.titan-embed-text-v2", 404, "model_not_found"),
        ("amazon.nova-micro-v1:0", 400, None),
    ],
)
def test_an_unknown_model_of_an_embeddings_request_is_the_same_404(
    gateway: Gateway, asked: str, status: int, code: str | None
) -> None:
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(path="/oai/v1/embeddings"), NOW)
    reply = only(exchange.receive(RequestBody(json.dumps({"model": asked, "input": "a"}).encode()), NOW))
    assert (reply.status, error(reply)["code"], error(reply)["param"]) == (status, code, "model")
    if asked.startswith("amazon.titan"):
        assert "Did you mean `amazon.titan-embed-text-v2:0`?" in error(reply)["message"]


def test_a_suggestion_is_a_model_that_the_organisation_may_use(gateway: Gateway) -> None:
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(authorization="Bearer qc_two", openai_organization="frugal"), NOW)
    reply = only(exchange.receive(RequestBody(chat(model="claude-sonnet-4-6")), NOW))
    assert "anthropic" not in error(reply)["message"]


def test_without_credentials_nothing_leaves_and_no_token_is_blamed(gateway: Gateway) -> None:
    gateway.identity = lambda: None
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(), NOW)
    reply = only(exchange.receive(RequestBody(chat()), NOW))
    assert (reply.status, error(reply)["code"]) == (503, "gateway_credentials")


def test_models_are_listed_from_the_headers_alone(gateway: Gateway) -> None:
    event = headers("GET", "/oai/v1/models", authorization="Bearer qc_two", openai_organization="frugal")
    listed = json.loads(only(Exchange(gateway, "0" * 32).receive(event, NOW)).body)
    assert [model["id"] for model in listed["data"]] == ["amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"]
    event = headers("GET", "/oai/v1/models/amazon.nova-micro-v1:0")
    model_list = json.loads(only(Exchange(gateway, "0" * 32).receive(event, NOW)).body)
    expected = {"id": "amazon.nova-micro-v1:0", "object": "model", "created": 1_700_000_000, "owned_by": "amazon"}
    assert model_list == expected
    reply = only(Exchange(gateway, "0" * 32).receive(headers("GET", "/oai/v1/models/nothing"), NOW))
    assert (reply.status, error(reply)["code"]) == (404, "model_not_found")


def upstream(status: int = 200, *, end: bool = False, local: bool = False, **more: str) -> ResponseHeaders:
    fields = {":status": str(status)} | {name.replace("_", "-"): value for name, value in more.items()}
    return ResponseHeaders(fields, end, local, "via_upstream" if not local else "upstream_reset")


def sent(exchange: Exchange) -> dict[str, Any]:
    """Bring a chat on its way to Bedrock; return the metadata that Envoy has then."""
    exchange.receive(headers(), NOW)
    forward = only(exchange.receive(RequestBody(chat()), NOW))
    return dict(forward.metadata)


@pytest.mark.parametrize("status", [400, 408, 411, 429, 500, 502, 503, 504])
def test_envoys_own_error_text_is_only_in_the_access_log(exchange: Exchange, status: int) -> None:
    exchange.receive(headers(), NOW)
    details = "local_connection_failure|socket_creation_failure"
    exchange.receive(ResponseHeaders({":status": str(status)}, local=True, details=details), NOW)
    reply = only(exchange.receive(ResponseBody(b"no", end_of_stream=True), NOW))
    assert "failure" not in reply.body.decode()
    assert reply.metadata["bedrock_error"] == details


# The order of things


def test_a_response_before_anything_was_sent_is_envoys(exchange: Exchange) -> None:
    exchange.receive(headers(), NOW)
    exchange.receive(upstream(413), NOW)
    reply = only(exchange.receive(ResponseBody(b"Payload Too Large", end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (413, "request_too_large")


def test_another_filters_own_reply_passes_untouched(exchange: Exchange) -> None:
    assert only(exchange.receive(upstream(200, local=True), NOW)) == Continue()
    assert exchange.done


@pytest.mark.parametrize("event", [RequestBody(b""), ResponseBody(b""), ResponseTrailers(), Resumed(()), Idle(1.0)])
def test_an_event_that_cannot_come_first_aborts(exchange: Exchange, event: Any) -> None:
    assert isinstance(only(exchange.receive(event, NOW)), Abort)
    assert exchange.done


def test_after_the_last_directive_nothing_is_sent(exchange: Exchange) -> None:
    exchange.receive(headers(path="/oai/v1/x"), NOW)
    for event in (RequestBody(b""), upstream(), ResponseBody(b"", end_of_stream=True), Idle(1.0)):
        assert not exchange.receive(event, NOW)


def test_a_request_with_trailers_is_rejected_before_it_is_read(exchange: Exchange) -> None:
    exchange.receive(headers(), NOW)
    reply = only(exchange.receive(RequestBody(b"", trailers=True), NOW))
    assert reply.status == 400
    assert "trailers" in error(reply)["message"]
