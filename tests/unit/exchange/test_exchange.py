import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from extproc import config, tokens
from extproc.bedrock import capabilities
from extproc.bedrock.catalogue import Catalogue, Model, Profile
from extproc.bedrock.sigv4 import Credentials, Signer
from extproc.exchange.directives import Abort, Continue, Directive, Forward, Head, Wait
from extproc.exchange.events import (
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Resumed,
    Silence,
)
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import SideAnswer, SideCalls, SideFailure
from extproc.tenancy.directory import Directory

NOW = 1_790_000_000.0
TOKEN = "qc_test"
AUTHORITY = "bedrock-runtime.us-east-1.amazonaws.com"

SETTINGS = config.Settings(
    organisations={
        "acme": config.Organisation(),
        "frugal": config.Organisation(models=config.Models(allow=("amazon.*",))),
    },
    tokens=(
        config.Token(name="one", sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), organisations=("acme",)),
        config.Token(name="two", sha256=hashlib.sha256(b"qc_two").hexdigest(), organisations=("acme", "frugal")),
    ),
    limits=config.Limits(request_bytes=4096),
)
MODELS = (
    Model("amazon.nova-micro-v1:0", "Amazon", frozenset({"TEXT"}), created=1_700_000_000),
    Model("amazon.titan-embed-text-v2:0", "Amazon", frozenset({"EMBEDDING"})),
    Model("anthropic.claude-sonnet-4-6", "Anthropic", frozenset({"TEXT"}), inference=frozenset({"INFERENCE_PROFILE"})),
)
PROFILES = (
    Profile(
        "us.anthropic.claude-sonnet-4-6",
        "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-6",
        "US Claude",
        ("anthropic.claude-sonnet-4-6",),
    ),
)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(
        settings=SETTINGS,
        directory=Directory(SETTINGS),
        catalogue=Catalogue.build(MODELS, PROFILES, "us-east-1"),
        capabilities=capabilities.BUILT_IN,
        signer=Signer("us-east-1", AUTHORITY),
        authority=AUTHORITY,
        identity=lambda: Credentials("AKID", "secret"),
        detokenise=tokens.decode,
    )


@pytest.fixture
def exchange(gateway: Gateway) -> Exchange:
    return Exchange(gateway, "0" * 32)


def headers(method: str = "POST", path: str = "/oai/v1/chat/completions", **more: str) -> RequestHeaders:
    """A client's headers, with a good token unless `more` says otherwise; `_` stands for `-`."""
    given = {":method": method, ":path": path, ":authority": "gateway", "authorization": f"Bearer {TOKEN}"}
    given |= {"x-request-id": "req-1"} | {name.replace("_", "-"): value for name, value in more.items()}
    return RequestHeaders(given, end_of_stream=method != "POST")


def chat(**more: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": "amazon.nova-micro-v1:0", "messages": messages} | more).encode()


def only(directives: Sequence[Directive]) -> Any:
    [directive] = directives
    return directive


def error(directive: Any) -> dict[str, Any]:
    """The error object in a `Reply`, whose shape is checked."""
    body = json.loads(directive.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert dict(directive.headers)["content-type"] == "application/json"
    assert dict(directive.headers)["x-request-id"]
    return dict(body["error"])


def frame(event: str, payload: Mapping[str, Any], message_type: str = "event") -> bytes:
    """One event-stream message, as AWS frames it."""
    kind = ":event-type" if message_type == "event" else ":exception-type"
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in ((kind, event), (":message-type", message_type), (":content-type", "application/json"))
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(block) + len(body), len(block))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + body
    return message + struct.pack(">I", zlib.crc32(message))


def answer_frames() -> list[bytes]:
    return [
        frame("messageStart", {"role": "assistant"}),
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}}),
        frame("contentBlockStop", {"contentBlockIndex": 0}),
        frame("messageStop", {"stopReason": "end_turn"}),
        frame("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}),
    ]


# The request


def test_a_caller_without_a_token_is_refused_before_any_body_is_read(exchange: Exchange) -> None:
    given = {":method": "POST", ":path": "/oai/v1/chat/completions", "content-length": "9"}
    reply = only(exchange.receive(RequestHeaders(given), NOW))
    assert (reply.status, error(reply)["code"]) == (401, "invalid_api_key")
    assert exchange.done


def test_a_route_that_is_not_there_needs_no_token(exchange: Exchange) -> None:
    reply = only(exchange.receive(RequestHeaders({":method": "POST", ":path": "/oai/v1/responses"}), NOW))
    assert reply.status == 404


def test_every_answer_has_the_request_id_of_envoy_or_one_of_its_own(gateway: Gateway) -> None:
    reply = only(Exchange(gateway, "f" * 32).receive(headers(path="/oai/v1/x"), NOW))
    assert dict(reply.headers)["x-request-id"] == "req-1"
    for bad in ("", "x" * 129, "a\nb", "é"):
        reply = only(Exchange(gateway, "f" * 32).receive(headers(path="/oai/v1/x", x_request_id=bad), NOW))
        assert dict(reply.headers)["x-request-id"] == "f" * 32


@pytest.mark.parametrize(
    ("more", "status"),
    [({"content_length": "4097"}, 413), ({"content_encoding": "gzip"}, 415), ({"content_length": "4096"}, None)],
)
def test_a_body_that_need_not_be_read_to_be_refused_is_not_read(
    exchange: Exchange, more: dict[str, str], status: int | None
) -> None:
    directive = only(exchange.receive(headers(**more), NOW))
    if status is None:
        assert directive == Continue()
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


def test_nothing_of_the_client_leaves(exchange: Exchange) -> None:
    more = {
        "cookie": "a=b",
        "openai_organization": "acme",
        "x_api_key": "k",
        "accept_encoding": "gzip",
        "accept": "*/*",
    }
    exchange.receive(headers(x_amz_date="x", x_stainless_lang="js", x_forwarded_for="10.0.0.1", **more), NOW)
    forward = only(exchange.receive(RequestBody(chat()), NOW))
    gone = {"cookie", "openai-organization", "x-api-key", "accept-encoding", "x-stainless-lang", "x-forwarded-for"}
    assert gone <= set(forward.remove)
    replaced = {name for name, _ in forward.headers}
    assert {"authorization", "accept", "x-amz-date"} <= replaced
    assert not replaced & set(forward.remove)
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


def test_without_credentials_nothing_leaves_and_nobodys_key_is_blamed(gateway: Gateway) -> None:
    gateway.identity = lambda: None
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(), NOW)
    reply = only(exchange.receive(RequestBody(chat()), NOW))
    assert (reply.status, error(reply)["code"]) == (503, "gateway_credentials")


def test_models_are_answered_from_the_headers(gateway: Gateway) -> None:
    event = headers("GET", "/oai/v1/models", authorization="Bearer qc_two", openai_organization="frugal")
    listed = json.loads(only(Exchange(gateway, "0" * 32).receive(event, NOW)).body)
    assert [model["id"] for model in listed["data"]] == ["amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"]
    event = headers("GET", "/oai/v1/models/amazon.nova-micro-v1:0")
    found = json.loads(only(Exchange(gateway, "0" * 32).receive(event, NOW)).body)
    expected = {"id": "amazon.nova-micro-v1:0", "object": "model", "created": 1_700_000_000, "owned_by": "amazon"}
    assert found == expected
    reply = only(Exchange(gateway, "0" * 32).receive(headers("GET", "/oai/v1/models/nothing"), NOW))
    assert (reply.status, error(reply)["code"]) == (404, "model_not_found")


# The answer, buffered


def sent(gateway: Gateway, **more: Any) -> Exchange:
    """An exchange whose request is on its way to Bedrock."""
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(), NOW)
    assert isinstance(only(exchange.receive(RequestBody(chat(**more)), NOW)), Forward)
    return exchange


def upstream(status: int = 200, *, end: bool = False, local: bool = False, **more: str) -> ResponseHeaders:
    given = {":status": str(status)} | {name.replace("_", "-"): value for name, value in more.items()}
    return ResponseHeaders(given, end, local, "via_upstream" if not local else "upstream_reset")


def test_a_buffered_answer_is_withheld_to_the_end(gateway: Gateway) -> None:
    exchange = sent(gateway, seed=1)
    body = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}, {"text": " there"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
    }
    data = json.dumps(body).encode()
    assert not exchange.receive(upstream(x_amzn_requestid="aws-1", date="x"), NOW)
    assert exchange.patience is None
    assert not exchange.receive(ResponseBody(data[:10]), NOW)
    reply = only(exchange.receive(ResponseBody(data[10:], end_of_stream=True), NOW))
    completion = json.loads(reply.body)
    assert (reply.status, completion["choices"][0]["message"]["content"]) == (200, "Hi there")
    assert completion["id"] == "chatcmpl-" + "0" * 32
    assert completion["created"] == int(NOW)
    assert completion["model"] == "amazon.nova-micro-v1:0"
    assert reply.remove == ("x-amzn-requestid", "date")
    assert dict(reply.headers)["x-oai-ignored-params"] == "seed"
    counted = {"input_tokens": 3, "output_tokens": 2, "finish": "stop", "bedrock_request_id": "aws-1"}
    assert counted.items() <= reply.metadata.items()


def test_an_answer_may_end_with_trailers(gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(b'{"output":{"message":{"content":[]}},"stopReason":"end_turn"}'), NOW)
    assert only(exchange.receive(ResponseTrailers(), NOW)).status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'{"output": 1}'])
def test_an_answer_that_is_not_one_is_a_502(gateway: Gateway, body: bytes) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    reply = only(exchange.receive(ResponseBody(body, end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (502, "bad_upstream_answer")


@pytest.mark.parametrize(
    ("status", "kind", "told", "code"),
    [
        (400, "ValidationException", 400, None),
        (403, "AccessDeniedException", 502, "gateway_credentials"),
        (403, "ExpiredTokenException", 502, "gateway_credentials"),
        (401, "", 502, "gateway_credentials"),
        (404, "ResourceNotFoundException", 404, "model_not_found"),
        (429, "ThrottlingException", 429, "rate_limit_exceeded"),
        (424, "ModelErrorException", 502, "model_error"),
        (500, "InternalServerException", 500, "bedrock_error"),
        (503, "ServiceUnavailableException", 503, "bedrock_unavailable"),
        (302, "", 502, "bedrock_error"),
    ],
)
def test_bedrocks_refusals_are_openais(gateway: Gateway, status: int, kind: str, told: int, code: str | None) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(status, x_amzn_errortype=kind), NOW)
    reply = only(exchange.receive(ResponseBody(b'{"message":"no"}', end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (told, code)
    assert reply.metadata["finish"] == (code or "invalid_request_error")


def test_the_operator_reads_what_aws_said_and_the_caller_does_not(gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(403, x_amzn_errortype="InvalidSignatureException"), NOW)
    said = b'{"message":"The signature does not match.\\n\\nThe Canonical String was \'x-amz-security-token:secret\'"}'
    reply = only(exchange.receive(ResponseBody(said, end_of_stream=True), NOW))
    assert reply.metadata["bedrock_error"] == "InvalidSignatureException: The signature does not match."
    assert b"signature does not" not in reply.body


def test_a_refusal_without_a_body_is_answered_at_once(gateway: Gateway) -> None:
    assert only(sent(gateway).receive(upstream(503, end=True), NOW)).status == 503


@pytest.mark.parametrize(("status", "told"), [(413, 413), (503, 503), (504, 504), (408, 408), (500, 503), (404, 404)])
def test_what_envoy_answers_by_itself_is_said_in_openais_words(gateway: Gateway, status: int, told: int) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(status, local=True), NOW)
    reply = only(exchange.receive(ResponseBody(b"plain text", end_of_stream=True), NOW))
    assert reply.status == told
    assert error(reply)


def test_an_answer_before_anything_was_sent_is_envoys(exchange: Exchange) -> None:
    exchange.receive(headers(), NOW)
    exchange.receive(upstream(413), NOW)
    reply = only(exchange.receive(ResponseBody(b"Payload Too Large", end_of_stream=True), NOW))
    assert (reply.status, error(reply)["code"]) == (413, "request_too_large")


def test_an_endless_answer_is_given_up(gateway: Gateway) -> None:
    exchange = sent(gateway)
    exchange.receive(upstream(), NOW)
    piece = ResponseBody(bytes(16 * 1024 * 1024))
    replies = [directive for _ in range(5) for directive in exchange.receive(piece, NOW)]
    assert only(replies).status == 502


# The answer, streamed


def test_a_stream_is_written_as_it_comes(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True, stream_options={"include_usage": True})
    assert not exchange.receive(upstream(content_type="application/vnd.amazon.eventstream"), NOW)
    first, *more = answer_frames()
    head, body = exchange.receive(ResponseBody(first), NOW)
    assert isinstance(head, Head)
    assert dict(head.headers)["content-type"].startswith("text/event-stream")
    assert head.remove == ("content-type",)
    written: list[Any] = [body, *(d for piece in more for d in exchange.receive(ResponseBody(piece), NOW))]
    [last] = exchange.receive(ResponseBody(b"", end_of_stream=True), NOW)
    assert last.end_of_stream
    text = b"".join(directive.data for directive in [*written, last])
    assert last.data == b"data: [DONE]\n\n"
    assert text.count(b"data: ") == 5
    for said in (written[-1], last):  # a client may leave between the two
        assert {"input_tokens": 3, "output_tokens": 2, "finish": "stop"}.items() <= said.metadata.items()
    assert exchange.done


def test_a_model_that_cannot_stream_answers_with_a_whole_stream_at_the_end(gateway: Gateway) -> None:
    gateway.capabilities = gateway.capabilities.with_overrides([capabilities.Row(family="nova-micro", streams=False)])
    exchange = sent(gateway, stream=True)
    message = {"role": "assistant", "content": [{"text": "Hi"}]}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 2}}
    assert not exchange.receive(upstream(content_type="application/json"), NOW)
    reply = only(exchange.receive(ResponseBody(json.dumps(body).encode(), end_of_stream=True), NOW))
    assert (reply.status, dict(reply.headers)["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert reply.remove == ("content-type",)
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert {"input_tokens": 3, "output_tokens": 2, "finish": "stop"}.items() <= reply.metadata.items()


def test_a_first_event_that_is_an_exception_is_a_real_status(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    failure = frame("throttlingException", {"message": "slow down"}, "exception")
    reply = only(exchange.receive(ResponseBody(failure), NOW))
    assert (reply.status, error(reply)["message"]) == (429, "slow down")
    assert dict(reply.headers)["retry-after"] == "1"


def test_a_later_exception_ends_the_stream_without_done(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(answer_frames()[0]), NOW)
    failure = frame("modelStreamErrorException", {"message": "broken"}, "exception")
    last = only(exchange.receive(ResponseBody(failure), NOW))
    assert last.end_of_stream
    assert json.loads(last.data.removeprefix(b"data: "))["error"]["message"] == "broken"
    assert last.metadata["finish"] == "model_error"
    assert not exchange.receive(ResponseBody(answer_frames()[1]), NOW)


def test_a_stream_that_breaks_off_is_not_whole(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    exchange.receive(ResponseBody(b"".join(answer_frames()[:2])), NOW)
    last = only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW))
    assert b'"cut_off"' in last.data
    assert b"[DONE]" not in last.data


def test_a_stream_that_never_begins_is_a_502(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(), NOW)
    assert only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW)).status == 502


def test_silence_is_bridged_with_comments_and_ends_in_an_error(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    assert exchange.patience is None
    exchange.receive(upstream(), NOW)
    assert exchange.patience == SETTINGS.streaming.keepalive_seconds
    head, comment = exchange.receive(Silence(15.0), NOW)
    assert isinstance(head, Head)
    assert comment.data == b": keepalive\n\n"
    last = only(exchange.receive(Silence(SETTINGS.streaming.silence_seconds), NOW))
    assert last.end_of_stream
    assert b'"error"' in last.data


def test_a_streamed_request_that_bedrock_refuses_is_not_a_stream(gateway: Gateway) -> None:
    exchange = sent(gateway, stream=True)
    exchange.receive(upstream(400, x_amzn_errortype="ValidationException:http://x"), NOW)
    assert exchange.patience is None
    reply = only(exchange.receive(ResponseBody(b'{"message":"bad"}', end_of_stream=True), NOW))
    assert (reply.status, error(reply)["message"]) == (400, "bad")


# Embeddings


def embeddings(exchange: Exchange, **body: Any) -> Any:
    exchange.receive(headers(path="/oai/v1/embeddings"), NOW)
    request = {"model": "amazon.titan-embed-text-v2:0", "dimensions": 256} | body
    return only(exchange.receive(RequestBody(json.dumps(request).encode()), NOW))


def test_one_text_goes_through_envoy(exchange: Exchange) -> None:
    forward = embeddings(exchange, input="one")
    assert forward.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    exchange.receive(upstream(x_amzn_bedrock_input_token_count="3"), NOW)
    reply = only(exchange.receive(ResponseBody(b'{"embedding":[1,2],"inputTextTokenCount":3}', True), NOW))
    assert json.loads(reply.body)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert reply.metadata["input_tokens"] == 3


def test_several_texts_go_out_as_side_calls_and_come_back_in_order(exchange: Exchange) -> None:
    wait = embeddings(exchange, input=["a", "b"])
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, SideCalls)
    assert [json.loads(call.body)["inputText"] for call in wait.job.calls] == ["a", "b"]
    assert wait.job.concurrency == SETTINGS.embeddings.concurrency
    answers = tuple(SideAnswer(200, {}, b'{"embedding":[%d],"inputTextTokenCount":2}' % n) for n in (1, 2))
    reply = only(exchange.receive(Resumed(answers), NOW))
    answer = json.loads(reply.body)
    assert [item["embedding"] for item in answer["data"]] == [[1.0], [2.0]]
    assert answer["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (SideAnswer(429, {"x-amzn-errortype": "ThrottlingException"}, b"{}"), 429),
        (SideFailure(timed_out=True, message="120 s"), 504),
        (SideFailure(timed_out=False, message="connection refused"), 503),
        ((SideAnswer(200, {}, b"[]"), SideAnswer(200, {}, b"{}")), 502),
    ],
)
def test_side_calls_that_fail_are_errors(exchange: Exchange, result: object, status: int) -> None:
    embeddings(exchange, input=["a", "b"])
    reply = only(exchange.receive(Resumed(result), NOW))
    assert reply.status == status
    assert error(reply)


# The order of things


def test_another_filters_own_reply_passes_untouched(exchange: Exchange) -> None:
    assert only(exchange.receive(upstream(200, local=True), NOW)) == Continue()
    assert exchange.done


@pytest.mark.parametrize("event", [RequestBody(b""), ResponseBody(b""), ResponseTrailers(), Resumed(()), Silence(1.0)])
def test_what_cannot_come_first_aborts(exchange: Exchange, event: Any) -> None:
    assert isinstance(only(exchange.receive(event, NOW)), Abort)
    assert exchange.done


def test_after_the_last_word_nothing_is_said(exchange: Exchange) -> None:
    exchange.receive(headers(path="/oai/v1/x"), NOW)
    for event in (RequestBody(b""), upstream(), ResponseBody(b"", end_of_stream=True), Silence(1.0)):
        assert not exchange.receive(event, NOW)
