"""Headers and trailers at the gateway: of the caller's headers none crosses, of Bedrock's none, and no trailers do.

A recording server takes Bedrock's place, over HTTP/1.1 and over HTTP/2, and sees what really arrives.
"""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from tests.envoy.gateway.conftest import Client
from tests.envoy.gateway.recording_server import Fields, Recorded, RecordingServer, SetResponse, converse

NOVA = "amazon.nova-micro-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
CHAT, EMBEDDINGS = "/oai/v1/chat/completions", "/oai/v1/embeddings"
QUESTION = {"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]}

TO_BEDROCK = {
    *(":method", ":scheme", ":authority", ":path", "host", "content-length", "transfer-encoding"),
    *("content-type", "accept", "user-agent", "authorization", "x-amz-date"),
    "x-request-id",
}
"""Headers that Bedrock may see. Envoy makes `x-request-id` anew."""

TO_CALLERS = {
    *(":status", "content-type", "content-length", "cache-control", "openai-organization", "x-request-id"),
    *("date", "server", "transfer-encoding", "connection", "retry-after", "x-should-retry", "host"),
}
"""Headers that callers may see. Envoy writes `date` and `server` itself, and removes no `host`: it is empty then."""

MARK = "of-the-other-side"
"""Is in the value of every header that must not cross."""


@pytest.fixture(scope="module")
def recorders(authority: Any) -> Iterator[dict[str, RecordingServer]]:
    """A server for each version of HTTP."""
    context = authority.certify("localhost")
    context.set_alpn_protocols(["h2"])
    servers = {"HTTP/1.1": RecordingServer(None), "HTTP/2": RecordingServer(context)}
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture(scope="module", params=["HTTP/1.1", "HTTP/2"])
def between(
    request: pytest.FixtureRequest, recorders: Any, bedrock: Any, authority: Any, start_shared: Any, client_of: Any
) -> Any:
    """A client of a gateway, and the server behind it."""
    recorder = recorders[request.param]
    scheme, host = ("http", "127.0.0.1") if request.param == "HTTP/1.1" else ("https", "localhost")
    env = {**bedrock.environment, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"{scheme}://{host}:{recorder.port}"}
    env["AWS_CA_BUNDLE"] = str(authority.certificate)
    return client_of(start_shared(env=env, args=["--upstream", "aws"])), recorder


@pytest.fixture
def client(between: Any) -> Any:
    return between[0]


@pytest.fixture
def upstream(between: Any) -> Any:
    """The server behind the gateway, which has seen nothing and sends a good response."""
    recorder = between[1]
    recorder.recorded, recorder.response = [], SetResponse()
    return recorder


# Callers, with every header in their hands


def send(client: Any, headers: Fields, body: object = QUESTION, path: str = CHAT, trailers: Fields = []) -> Recorded:  # noqa: B006 (read only)
    """Make one request over HTTP/2; return the response."""
    h2 = H2Connection(H2Configuration(header_encoding="latin-1", validate_outbound_headers=False))
    response = Recorded([])
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        h2.initiate_connection()
        own = [(":method", "POST"), (":scheme", "http"), (":authority", "gateway"), (":path", path)]
        own.append(("authorization", f"Bearer {client.tokens['ci']}"))
        h2.send_headers(1, [*own, *headers])
        if body is not None:
            h2.send_data(1, json.dumps(body).encode(), end_stream=not trailers)
        if trailers:
            h2.send_headers(1, trailers, end_stream=True)
        ended = False
        while not ended:
            connection.sendall(h2.data_to_send())
            data = connection.recv(65536)
            assert data, "the connection was closed"
            for event in h2.receive_data(data):
                match event:
                    case ResponseReceived():
                        response.headers = list(event.headers)
                    case DataReceived():
                        response.body += event.data
                        h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case TrailersReceived():
                        response.trailers = list(event.headers)
                    case StreamEnded() | StreamReset():
                        ended = True
    return response


def send_on_http1(client: Any, headers: Fields, body: bytes) -> Recorded:
    """Make one request over HTTP/1.1, its headers spelled as they are; return the response."""
    own = [("Host", "gateway"), ("Authorization", f"Bearer {client.tokens['ci']}"), ("Connection", "close")]
    lines = [f"POST {CHAT} HTTP/1.1", *(f"{name}: {value}" for name, value in (*own, *headers)), "", ""]
    received = b""
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        with suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in fields)]
    return Recorded([(":status", first.split()[1]), *pairs], rest)


def foreign(fields: Fields, allowed: set[str]) -> Fields:
    """Return the headers that must not be there."""
    return [(name, value) for name, value in fields if name.lower() not in allowed or MARK in value]


def status(response: Recorded) -> int:
    return int(dict(response.headers)[":status"])


# Attempts of callers


def words(text: str) -> list[str]:
    return text.split()


ENVOYS = words("""
    x-envoy-anything x-envoy-attempt-count x-envoy-decorator-operation x-envoy-downstream-service-cluster
    x-envoy-downstream-service-node x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace
    x-envoy-hedge-on-per-try-timeout x-envoy-immediate-health-check-fail x-envoy-internal x-envoy-ip-tags
    x-envoy-is-timeout-retry x-envoy-max-retries x-envoy-original-dst-host x-envoy-original-host
    x-envoy-original-method x-envoy-original-path x-envoy-original-url x-envoy-overloaded x-envoy-peer-metadata
    x-envoy-peer-metadata-id x-envoy-ratelimited x-envoy-retriable-header-names x-envoy-retriable-status-codes
    x-envoy-retry-grpc-on x-envoy-retry-on x-envoy-upstream-alt-stat-name x-envoy-upstream-canary
    x-envoy-upstream-rq-per-try-timeout-ms x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms
    x-envoy-upstream-service-time x-envoy-upstream-stream-duration-ms x-envoy- x-envoyage
""")
OTHERS = words("""
    accept accept-charset accept-encoding accept-language api-key authority b3 baggage cache-control cdn-loop
    cf-connecting-ip cookie cookie2 date dnt early-data expect-ct fastly-client-ip forwarded from grpc-timeout
    host-x http2-settings idempotency-key if-match if-modified-since if-none-match if-range if-unmodified-since
    max-forwards openai-beta openai-project openai-organization-x origin path pragma prefer priority
    proxy-authorization proxy-authenticate purpose range referer save-data sec-ch-ua sec-fetch-mode
    sec-websocket-key server set-cookie sourcemap surrogate-capability timing-allow-origin tracestate traceparent
    true-client-ip upgrade-insecure-requests user-agent via warning www-authenticate x-accel-redirect x-amz-acl
    x-amz-content-sha256 x-amz-date x-amz-security-token x-amz-target x-amzn-bedrock-guardrailidentifier
    x-amzn-bedrock-trace x-amzn-requestid x-amzn-trace-id x-api-key x-b3-flags x-b3-parentspanid x-b3-sampled
    x-b3-spanid x-b3-traceid x-client-ip x-client-trace-id x-cloud-trace-context x-cluster-client-ip
    x-correlation-id x-csrf-token x-datadog-trace-id x-forwarded x-forwarded-by x-forwarded-client-cert
    x-forwarded-for x-forwarded-host x-forwarded-path x-forwarded-port x-forwarded-prefix x-forwarded-proto
    x-forwarded-scheme x-forwarded-server x-frame-options x-goog-api-key x-http-method x-http-method-override
    x-method-override x-original-host x-original-url x-ot-span-context x-real-ip x-request-id x-requested-with
    x-rewrite-url x-scheme x-stainless-arch x-stainless-lang x-stainless-retry-count x-token x-url-scheme
    x_underscored !odd#$%&'*+-.^_`|~ 0 a
""")
NAMES = [*ENVOYS, *OTHERS, *(f"x-{number}" for number in range(100))]
ODD = [NAMES[start : start + 60] for start in range(0, len(NAMES), 60)]
"""A few requests' worth: Envoy takes up to 100 fields in each."""


@pytest.mark.parametrize("names", ODD, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_nothing_of_a_callers_headers_leaves(client: Any, upstream: RecordingServer, names: list[str]) -> None:
    response = send(client, [(name, f"1 {MARK}") for name in names])
    assert status(response) == 200, response
    [recorded] = upstream.recorded
    assert foreign(recorded.headers, TO_BEDROCK) == []
    assert dict(recorded.headers)["authorization"].startswith("AWS4-HMAC-SHA256 ")


@pytest.mark.parametrize("names", ODD, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_nothing_of_a_callers_headers_leaves_from_http1(
    client: Any, upstream: RecordingServer, names: list[str]
) -> None:
    body = json.dumps(QUESTION).encode()
    odd = [(name.upper() if number % 2 else name.title(), f"1 {MARK}") for number, name in enumerate(names)]
    hop = [("Connection", "x-hop, keep-alive"), ("X-Hop", MARK), ("Keep-Alive", MARK), ("TE", "trailers")]
    response = send_on_http1(client, [*odd, *hop, ("Content-Length", str(len(body)))], body)
    assert status(response) == 200, response
    [recorded] = upstream.recorded
    assert foreign(recorded.headers, TO_BEDROCK) == []


# Trailers

TRAILERS: Fields = [
    ("authorization", f"Bearer qc_{MARK}"),
    ("x-amz-security-token", MARK),
    ("x-envoy-anything", MARK),
    ("cookie", MARK),
    ("grpc-status", "0"),
]


@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS])
@pytest.mark.parametrize("trailers", [TRAILERS, TRAILERS[:1], TRAILERS[-1:]], ids=["five", "a key", "a number"])
def test_trailers_of_a_request_are_a_400_and_do_not_leave(
    client: Any, upstream: RecordingServer, trailers: Fields, path: str
) -> None:
    body = QUESTION if path == CHAT else {"model": TITAN, "input": "x"}
    response = send(client, [], body, path, trailers)
    assert upstream.recorded == []
    assert status(response) == 400, response
    assert "trailers" in json.loads(response.body)["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS])
@pytest.mark.parametrize("data", [None, b""], ids=["no body", "an empty body"])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the worker has the headers"])
def test_trailers_in_place_of_a_body_are_a_400_and_do_not_leave(
    client: Any, upstream: RecordingServer, path: str, data: bytes | None, late: bool
) -> None:
    """With `request_trailer_mode: SKIP`, Envoy passed the caller's headers on as they were, with the caller's key."""
    h2 = H2Connection(H2Configuration(header_encoding="latin-1"))
    responses: dict[int, int] = {}
    with socket.create_connection((client.host, client.port), timeout=30) as connection:

        def until_response(stream: int) -> None:
            while stream not in responses:
                connection.sendall(h2.data_to_send())
                for event in h2.receive_data(connection.recv(65536)):
                    if isinstance(event, ResponseReceived):
                        responses[event.stream_id] = int(dict(event.headers)[":status"])

        h2.initiate_connection()
        own = [(":scheme", "http"), (":authority", "localhost"), ("authorization", f"Bearer {client.tokens['ci']}")]
        h2.send_headers(1, [(":method", "POST"), (":path", path), *own])
        if data is not None:
            h2.send_data(1, data)
        if late:
            h2.send_headers(3, [(":method", "GET"), (":path", "/oai/v1/models"), *own], end_stream=True)
            until_response(3)
        h2.send_headers(1, TRAILERS, end_stream=True)
        until_response(1)
    assert responses[1] == 400
    assert upstream.recorded == []


@pytest.mark.parametrize("leads_to", ["unprocessed", "bedrock"])
def test_the_key_does_not_leave_even_where_trailers_pass_the_worker(
    site: Any, recorders: dict[str, RecordingServer], eventually: Any, leads_to: str
) -> None:
    """Envoy Gateway always has `request_trailer_mode: SKIP`, and a route that leads to Bedrock."""
    upstream = recorders["HTTP/1.1"]
    upstream.recorded, upstream.response = [], SetResponse(403, [], b"{}")
    site.environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = f"http://127.0.0.1:{upstream.port}"
    address, port = f"unix:{site.folder}/w.sock", site.port()
    site.worker(address)
    arguments = ("--config", "gateway.yaml", "--processor", address, "--listen", f"127.0.0.1:{port}")
    bootstrap = site.run("envoy-config", *arguments)
    assert bootstrap.count("request_trailer_mode: SEND") == 1
    assert bootstrap.count(" cluster: unprocessed\n") == 1
    bootstrap = bootstrap.replace(" cluster: unprocessed\n", f" cluster: {leads_to}\n")
    site.envoy(bootstrap.replace("request_trailer_mode: SEND", "request_trailer_mode: SKIP"))
    client = Client("127.0.0.1", port, site.tokens)
    eventually(lambda: client.health() == 200)
    response = send(client, [("cookie", MARK), ("x-envoy-anything", MARK)], None, trailers=TRAILERS)
    assert status(response) >= 400
    assert bool(upstream.recorded) == (leads_to == "bedrock")
    known = TO_BEDROCK | {"x-forwarded-proto"}  # the route removes it, and this one has a header of Envoy's alone
    assert all(foreign(recorded.headers, known) == [] for recorded in upstream.recorded)
    assert all("authorization" not in dict(recorded.headers) for recorded in upstream.recorded)


def test_trailers_of_chunks_do_not_leave(client: Any, upstream: RecordingServer) -> None:
    """Envoy leaves them out of what it reads from HTTP/1.1."""
    body = json.dumps(QUESTION).encode()
    trailers = "".join(f"{name}: {value}\r\n" for name, value in TRAILERS).encode()
    chunked = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailers)
    response = send_on_http1(client, [("Transfer-Encoding", "chunked"), ("Trailer", "authorization")], chunked)
    assert status(response) in (200, 400), response
    for recorded in upstream.recorded:
        assert recorded.trailers == []
        assert foreign(recorded.headers, TO_BEDROCK) == []


# Possible responses of Bedrock, or of a server in its place

FROM_BEDROCK: Fields = [
    *((name, MARK) for name in ENVOYS),
    *((f"x-amzn-{name}", MARK) for name in ("requestid", "bedrock-input-token-count", "trace-id")),
    *((name, MARK) for name in ("host", "x-amz-id-2", "x-cache", "set-cookie", "alt-svc", "via", "server", "date")),
    *((name, MARK) for name in ("x-request-id", "openai-organization", "openai-version", "retry-after", "location")),
    *((name, MARK) for name in ("strict-transport-security", "access-control-allow-origin", "x-oai-ignored-params")),
    *((name, MARK) for name in ("grpc-status", "trailer", "link", "vary", "etag", "age", "cache-control", "allow")),
]


def frames(event: Callable[..., bytes], *, fails: bool = False) -> bytes:
    """A stream of Bedrock's, or one that begins with an exception."""
    if fails:
        return event("throttlingException", {"message": "slower"}, message="exception")
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    return b"".join(
        (
            event("messageStart", {"role": "assistant"}),
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello!"}}),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("messageStop", {"stopReason": "end_turn"}),
            event("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
        )
    )


VECTOR = json.dumps({"embedding": [0.5] * 1024, "inputTextTokenCount": 1}).encode()
STREAM = {**QUESTION, "stream": True}
ONE, SEVERAL = {"model": TITAN, "input": "x"}, {"model": TITAN, "input": ["x", "y"]}

KINDS: dict[str, tuple[str, object, int, object, int]] = {
    "buffered": (CHAT, QUESTION, 200, converse(), 200),
    "streamed": (CHAT, STREAM, 200, "frames", 200),
    "an exception first": (CHAT, STREAM, 200, "exception", 429),
    "Bedrock's 400": (CHAT, QUESTION, 400, b'{"message": "no"}', 400),
    "Bedrock's 429 to a stream": (CHAT, STREAM, 429, b'{"message": "slower"}', 429),
    "Bedrock's 403": (CHAT, QUESTION, 403, b'{"message": "no"}', 502),
    "an empty 404": (CHAT, QUESTION, 404, b"", 404),
    "no JSON": (CHAT, QUESTION, 200, b"<html>", 502),
    "one embedding": (EMBEDDINGS, ONE, 200, VECTOR, 200),
    "embeddings": (EMBEDDINGS, SEVERAL, 200, VECTOR, 200),
    "embeddings that fail": (EMBEDDINGS, SEVERAL, 503, b"{}", 503),
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_bedrocks_headers_reaches_callers(
    client: Any, upstream: RecordingServer, event: Callable[..., bytes], kind: str
) -> None:
    path, body, code, content, expected = KINDS[kind]
    made = {"frames": lambda: frames(event), "exception": lambda: frames(event, fails=True)}
    payload = made[content]() if isinstance(content, str) else content
    assert isinstance(payload, bytes)
    trailers = [("x-envoy-anything", MARK), ("x-amz-id-2", MARK)]
    upstream.response = SetResponse(code, FROM_BEDROCK, payload, trailers)
    response = send(client, [], body, path)
    assert status(response) == expected, response
    assert foreign(response.headers, TO_CALLERS) == []
    assert dict(response.headers).get("host", "") == ""
    assert response.trailers == []
    assert MARK.encode() not in response.body


def test_models_have_no_header_of_anybodys(client: Any) -> None:
    response = client.exchange("GET", "/oai/v1/models")
    assert foreign(list(response.headers.items()), TO_CALLERS) == []
