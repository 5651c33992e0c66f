"""Headers that every response has, and headers that cross in neither direction.

The client of these tests checks each response, in every file; here it gets one response of each kind.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

NOVA = "amazon.nova-micro-v1:0"
CHAT = "/oai/v1/chat/completions"
TOO_LONG = [("content-length", str(40 * 1024 * 1024))]

RESPONSES: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "models": (200, lambda client: client.exchange("GET", "/oai/v1/models")),
    "chat": (200, lambda client: client.chat("Hello!")),
    "stream": (200, lambda client: client.stream("Hello!")),
    "one embedding": (200, lambda client: client.embed("x")),
    "embeddings": (200, lambda client: client.embed(["x", "y"])),
    "bad request": (400, lambda client: client.post("chat/completions", {})),
    "no HTTP": (400, lambda client: client.raw(b"x\r\n\r\n")),
    "no token": (401, lambda client: client.exchange("GET", "/oai/v1/models", token=None)),
    "no organisation": (403, lambda client: client.exchange("GET", "/oai/v1/models", token="nobody")),
    "not served": (404, lambda client: client.post("images/generations", {})),
    "outside": (404, lambda client: client.exchange("GET", "/")),
    "no model": (404, lambda client: client.chat("Hello!", model="gpt-4o")),
    "no model in a stream": (404, lambda client: client.rejected_stream("Hello!", model="gpt-4o")),
    "wrong method": (405, lambda client: client.exchange("GET", CHAT)),
    "too large": (413, lambda client: client.exchange("POST", CHAT, headers=TOO_LONG)),
    "compressed": (415, lambda client: client.post("embeddings", {}, headers=[("content-encoding", "gzip")])),
    "throttled": (429, lambda client: client.chat("[[local: status=429]]")),
    "throttled stream": (429, lambda client: client.rejected_stream("[[local: status=429]]")),
    "throttled in a stream": (429, lambda client: client.rejected_stream("[[local: exception=throttlingException]]")),
    "throttled among several": (429, lambda client: client.embed(["x", "[[local: status=429]]"])),
    "Bedrock failed": (500, lambda client: client.chat("[[local: status=500]]")),
    "the gateway's own fault": (502, lambda client: client.chat("[[local: status=403]]")),
    "Bedrock is busy": (503, lambda client: client.chat("[[local: status=503]]")),
    "the model is slow": (504, lambda client: client.chat("[[local: status=408]]")),
}


@pytest.mark.parametrize(("status", "get"), RESPONSES.values(), ids=RESPONSES)
def test_every_response_has_a_request_id_and_every_error_the_shape(
    client: Any, status: int, get: Callable[[Any], Any]
) -> None:
    response = get(client)
    assert response.status == status
    assert response.headers["x-request-id"]


def test_each_request_has_an_id_of_its_own_whatever_the_client_sends(client: Any) -> None:
    ids = {client.exchange("GET", path).headers["x-request-id"] for path in ["/oai/v1/models", "/oai/v1/x", "/x"] * 2}
    assert len(ids) == 6
    for path in ("/oai/v1/models", "/oai/v1/x", "/x"):
        response = client.exchange("GET", path, headers=[("x-request-id", "mine")])
        assert response.headers["x-request-id"] not in {"mine", *ids}


def test_the_request_id_is_the_one_that_bedrock_was_sent(client: Any, local: Any) -> None:
    response = client.chat("Hello!")
    [call] = local.calls()
    assert call["headers"]["x-request-id"] == response.headers["x-request-id"]


def test_an_error_for_a_retry_has_a_retry_after(client: Any) -> None:
    for status in (429, 503):
        assert int(client.chat(f"[[local: status={status}]]").headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("UnrecognizedClientException", 403),
        ("InvalidSignatureException", 403),
        ("ExpiredTokenException", 403),
        ("AccessDeniedException", 403),
        ("SomethingNewException", 401),
        ("SomethingNewException", 403),
    ],
)
def test_a_rejection_of_the_gateways_own_credentials_never_looks_like_the_callers(
    client: Any, name: str, status: int
) -> None:
    order = f"[[local: status={status} type={name}]]"
    for response in (
        client.chat(order),
        client.rejected_stream(order),
        client.embed(order),
        client.embed(["x", order]),
    ):
        assert response.status == 502


# Headers that must not leave

MINE = [
    ("cookie", "session=secret"),
    ("x-api-key", "secret"),
    ("api-key", "secret"),
    ("openai-organization", "acme"),
    ("openai-project", "proj_1"),
    ("openai-beta", "assistants=v2"),
    ("x-stainless-lang", "python"),
    ("x-stainless-retry-count", "0"),
    ("x-forwarded-for", "10.1.2.3"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "secret.example.com"),
    ("forwarded", "for=10.1.2.3"),
    ("x-envoy-expected-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-max-retries", "9"),
    ("x-envoy-original-path", "/secret"),
    ("x-amz-security-token", "secret"),
    ("x-amz-date", "20200101T000000Z"),
    ("x-amz-content-sha256", "0" * 64),
    ("x-amzn-bedrock-guardrailidentifier", "none"),
    ("accept-encoding", "gzip, br"),
    ("accept", "text/plain"),
    ("accept-language", "de"),
    ("user-agent", "secret/1.0"),
    ("referer", "https://secret.example.com"),
    ("origin", "https://secret.example.com"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("baggage", "secret=1"),
    ("te", "trailers"),
    ("proxy-authorization", "Basic c2VjcmV0"),
    ("x-anything-else", "secret"),
]

GOES_OUT = {
    "accept",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-amz-date",
    "x-request-id",
}
"""The local Bedrock does not show `authorization`, but rejects a request without it or with a caller's."""

BODIES = {
    "chat": ("chat/completions", {"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]}),
    "stream": ("chat/completions", {"model": NOVA, "messages": [{"role": "user", "content": "Hi!"}], "stream": True}),
    "one embedding": ("embeddings", {"model": "amazon.titan-embed-text-v2:0", "input": "x"}),
    "embeddings": ("embeddings", {"model": "amazon.titan-embed-text-v2:0", "input": ["x", "y"]}),
}


@pytest.mark.parametrize(("path", "body"), BODIES.values(), ids=BODIES)
def test_nothing_of_the_clients_goes_to_bedrock(
    gateway: Any, client: Any, local: Any, path: str, body: dict[str, object]
) -> None:
    connection = client.connect()
    client.send(connection, "POST", f"/oai/v1/{path}", json.dumps(body).encode(), headers=MINE)
    response = connection.getresponse()
    assert response.status == 200
    assert response.read()
    connection.close()
    calls = local.calls()
    assert [call["state"] for call in calls] in (["finished"], ["finished", "finished"])
    for call in calls:
        headers = call["headers"]
        assert set(headers) <= GOES_OUT
        assert headers["host"] == gateway.local_url.removeprefix("http://")
        assert not {value for _, value in MINE} & set(headers.values())
        assert client.tokens["ci"] not in str(call)


def test_a_response_of_bedrocks_shows_nothing_but_what_was_translated(client: Any) -> None:
    names = client.chat("Hello!").headers
    expected = {"content-length", "content-type", "date", "openai-organization", "server", "x-request-id"}
    assert set(names) == expected
    assert set(client.embed(["x", "y"]).headers) == expected
    with client.stream("Hello!") as stream:
        assert set(stream.headers) == expected - {"content-length"} | {"cache-control", "transfer-encoding"}


def test_fields_that_change_nothing_are_named_in_the_response(client: Any) -> None:
    response = client.chat("Hello!", seed=7, user="somebody")
    assert response.headers["x-oai-ignored-params"] == "seed"


# Guardrails

GUARDRAIL = {"guardrailIdentifier": "gr1", "guardrailVersion": "1", "trace": "enabled"}


def test_a_requested_guardrail_trace_is_in_responses_and_in_streams(client: Any) -> None:
    order = "[[local: stop=guardrail_intervened]]"
    whole = client.chat(f"Hello! {order}", guardrailConfig=GUARDRAIL).json()
    with client.stream(f"Hello! {order}", guardrailConfig=GUARDRAIL) as stream:
        *_, last, done = stream.rest()
    assert done == "[DONE]"
    for document in (whole, json.loads(last)):
        assert document["choices"][0]["finish_reason"] == "content_filter"
        assert document["trace"]["guardrail"]["actionReason"] == "Guardrail blocked."
    quiet = {name: value for name, value in GUARDRAIL.items() if name != "trace"}
    assert "trace" not in client.chat("Hello!", guardrailConfig=quiet).json()
