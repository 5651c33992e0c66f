"""Envoy's messages in one call of the real exchange, and the expected responses: alone, by direct events.

The oracle reads directives and shares nothing with the transport's state machine: it has its own table of successors
(`PLACES`).
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from extproc import cl100k_base, config
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import seed
from extproc.bedrock.sigv4 import Signer
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.directives import Body, Continue, Directive, Forward, Head, Reply, Wait
from extproc.exchange.events import (
    Event,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Resumed,
)
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import SideCalls, SideFailure, SideResponse, SideResponses
from extproc.limits.counters import MemoryCounters
from extproc.tenancy.directory import Directory
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.messages import FILTER

Encode = Callable[..., bytes]

NOW = 1_790_000_000.0
TOKEN = "qc_" + "1" * 43
CHAT_MODEL, EMBEDDING_MODEL = "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"


@cache
def gateway() -> Gateway:
    """Return one gateway for all calls: no call's state may show in another."""
    known = {"name": "one", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "organisations": ["acme"]}
    settings = config.parse(json.dumps({"organisations": {"acme": {}}, "tokens": [known]}).encode())
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    return Gateway(
        settings=settings,
        directory=Directory(settings),
        catalogue=seed("us-east-1"),
        capabilities=BUILT_IN.with_overrides(settings.capabilities),
        signer=Signer("us-east-1", host),
        authority=host,
        identity=lambda: Credentials("AKID", "secret", "session"),
        detokenise=cl100k_base.decode,
        budget=MemoryBudget(1 << 60, 1 << 60),
        counters=MemoryCounters(time.monotonic_ns),
    )


def new_exchange() -> Exchange:
    """Return an exchange with bytes and lists of its own in flight: some never end."""
    return Exchange(replace(gateway(), budget=MemoryBudget(1 << 60, 1 << 60)), "0" * 32)


# Envoy's messages


class Step(NamedTuple):
    """A message of Envoy's, and the event that an exchange gets for it, or None."""

    data: bytes
    event: Event | None = None


def header_map(headers: dict[str, str], end: bool) -> pb.HttpHeaders:
    values = [pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in headers.items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end)


def request_headers(headers: dict[str, str], end: bool = False) -> Step:
    message = pb.ProcessingRequest(request_headers=header_map(headers, end))
    message.protocol_config.request_body_mode = pb.BUFFERED
    message.protocol_config.response_body_mode = pb.FULL_DUPLEX_STREAMED
    return Step(message.SerializeToString(), RequestHeaders(headers, end))


def sent(body: bytes) -> Step:
    message = pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True))
    return Step(message.SerializeToString(), RequestBody(body))


def response_headers(status: int, details: str = "via_upstream", end: bool = False, **more: str) -> Step:
    headers = {":status": str(status), "x-amzn-requestid": "aws-1"} | more
    message = pb.ProcessingRequest(response_headers=header_map(headers, end))
    message.attributes[FILTER]["response.code_details"] = details
    local = details != "via_upstream"
    return Step(message.SerializeToString(), ResponseHeaders(headers, end, local, details))


def piece(data: bytes, end: bool = False) -> Step:
    message = pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))
    return Step(message.SerializeToString(), ResponseBody(data, end))


TRAILERS = Step(pb.ProcessingRequest(response_trailers=pb.HttpTrailers()).SerializeToString(), ResponseTrailers())
REQUEST_TRAILERS = Step(
    pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString(), RequestBody(b"", True)
)
NOTHING = Step(b"")
GARBAGE = Step(b"\xff\xff")
NO_UPSTREAM = response_headers(503, "upstream_reset_before_response_started", end=True)
ODD_STEPS = (
    TRAILERS, REQUEST_TRAILERS, NOTHING, GARBAGE, NO_UPSTREAM, sent(b"{}"), piece(b"odd"), piece(b"", end=True),
)  # fmt: skip

REJECTIONS: tuple[Callable[[str], list[Step]], ...] = (
    lambda name: [request_headers(headers_of(name) | {"authorization": "Bearer qc_wrong"})],
    lambda name: [request_headers(headers_of(name) | {":path": "/oai/v1/nothing"})],
    lambda name: [request_headers(headers_of(name) | {"content-length": "99999999"})],
    lambda name: [request_headers(headers_of(name), end=True)],
    lambda name: [request_headers(headers_of(name)), sent(f'{{"model": "{name}", "messages": '.encode())],
    lambda name: [request_headers(headers_of(name)), sent(chat_body(name, model=name))],
    lambda name: [
        request_headers(headers_of(name)),
        response_headers(413, "request_payload_too_large"),
        piece(b"large", end=True),
    ],
    lambda name: [request_headers(headers_of(name)), sent(chat_body(name)), NO_UPSTREAM],
    lambda name: [response_headers(401, "denied_by_another_filter"), piece(name.encode()), piece(b"", end=True)],
    lambda name: [response_headers(401, "denied_by_another_filter"), piece(name.encode()), TRAILERS],
)
SIDE_RESULTS = (
    None,
    SideFailure(timed_out=True, message="too slow"),
    SideResponse(429, {"x-amzn-errortype": "ThrottlingException"}, b'{"message":"slow down"}'),
    SideResponses(
        tuple(SideResponse(200, {}, b'{"embedding":[%s0],"inputTextTokenCount":3}' % (b"1," * 255)) for _ in "ab")
    ),
)
"""The result of a job; None if it does not end while the test runs."""


def headers_of(name: str, path: str = "chat/completions", method: str = "POST") -> dict[str, str]:
    ours = {":method": method, ":path": f"/oai/v1/{path}", ":authority": "here", ":scheme": "http"}
    return ours | {"authorization": f"Bearer {TOKEN}", "x-request-id": name, "cookie": name}


def chat_body(name: str, model: str = CHAT_MODEL, **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": name}]} | more).encode()


def embeddings_body(*texts: str) -> bytes:
    return json.dumps(
        {"model": EMBEDDING_MODEL, "input": texts, "dimensions": 256, "encoding_format": "float"}
    ).encode()


def pieces(data: bytes, size: int) -> list[Step]:
    """Return the messages of a response's body, whose end comes separately."""
    return [*(piece(data[start : start + size]) for start in range(0, len(data), size)), piece(b"", end=True)]


def steps(plan: Any, name: str, event: Encode) -> list[Step]:
    """Return Envoy's messages of one call; `name` is in its request and in its response."""
    parsed = list(in_order(plan, name, event))
    for how, where, what in plan.changes:
        at = where % (len(parsed) + 1)
        if how == "put":
            parsed.insert(at, ODD_STEPS[what % len(ODD_STEPS)])
        elif how == "drop":
            del parsed[at : at + 1]
        elif how == "again":
            parsed[at:at] = parsed[at : at + 1]
        else:
            parsed[at : at + 2] = reversed(parsed[at : at + 2])
    return parsed


def in_order(plan: Any, name: str, event: Encode) -> list[Step]:
    chat = request_headers(headers_of(name))
    match plan.kind:
        case "chat":
            response_body = {
                "output": {"message": {"role": "assistant", "content": [{"text": name}]}},
                "stopReason": "end_turn",
            }
            return [
                chat,
                sent(chat_body(name)),
                response_headers(200),
                *pieces(json.dumps(response_body).encode(), plan.size),
            ]
        case "stream":
            response_body = b"".join(stream(plan, name, event))
            return [chat, sent(chat_body(name, stream=True)), response_headers(200), *pieces(response_body, plan.size)]
        case "bedrock":
            error_headers = response_headers((400, 403, 429, 500, 503)[plan.variant % 5])
            body = json.dumps({"message": name}).encode()
            return [chat, sent(chat_body(name)), error_headers, *pieces(body, plan.size)]
        case "embedding":
            response_body = json.dumps({"embedding": [len(name)] * 256, "inputTextTokenCount": 3}).encode()
            begun = [request_headers(headers_of(name, "embeddings")), sent(embeddings_body(name))]
            return [*begun, response_headers(200), *pieces(response_body, plan.size)]
        case "embeddings":
            begun = [request_headers(headers_of(name, "embeddings")), sent(embeddings_body(name, "b"))]
            return [*begun, NO_UPSTREAM] if plan.variant % 2 else begun
        case "models":
            return [request_headers(headers_of(name, "models", "GET"), end=True)]
    return REJECTIONS[plan.variant % len(REJECTIONS)](name)


def stream(plan: Any, name: str, event: Encode) -> list[bytes]:
    """Return an event stream, which may stop short or end in an exception."""
    deltas = [{"contentBlockIndex": 0, "delta": {"text": word}} for word in (name, *plan.words)]
    output = [event("messageStart", {"role": "assistant"}), *(event("contentBlockDelta", delta) for delta in deltas)]
    output.append(event("contentBlockStop", {"contentBlockIndex": 0}))
    output.append(event("messageStop", {"stopReason": "end_turn"}))
    output.append(event("metadata", {"usage": {"inputTokens": 3, "outputTokens": len(name), "totalTokens": 9}}))
    if plan.variant == 0:
        return output[: len(plan.words)]
    if plan.variant == 1:
        failure = event("modelStreamErrorException", {"message": name}, message="exception")
        return [*output[: len(plan.words)], failure]
    return output


# Messages to a call


@dataclass
class Received:
    """Instructions to Envoy in one call: pass on, forward, respond, and metadata."""

    passed: list[str] = field(default_factory=list)
    forwarded: tuple[dict[str, str], set[str], bytes] | None = None
    head: tuple[dict[str, str], set[str]] | None = None
    body: bytes = b""
    complete: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def begins(self, other: "Received") -> bool:
        """Return true if this is a prefix of `other`."""
        return (
            self.passed == other.passed[: len(self.passed)]
            and self.forwarded in (None, other.forwarded)
            and self.head in (None, other.head)
            and other.body.startswith(self.body)
        )


def expectation(script: Sequence[Step], result: object) -> tuple[Received, bool]:
    """Return an exchange's output for these events, and true if one of them is out of place and ends the call."""
    exchange, received, due = new_exchange(), Received(), "the request"
    for step in script:
        if step is GARBAGE or not in_place(step.event, due):
            return received, True
        if step.event is not None and due == "to pass":
            due = relay(step.event, received)
        elif step.event is not None and due != "nothing":
            due = obey(exchange.receive(step.event, NOW), step.event, received)
            if due == "a job" and result is not None:
                due = obey(exchange.receive(Resumed(result), NOW), step.event, received)
    return received, False


PLACES: dict[str, tuple[type, ...]] = {
    "the request": (RequestHeaders, ResponseHeaders),
    "its body": (RequestBody, ResponseHeaders),
    "a job": (ResponseHeaders,),
    "the answer": (ResponseHeaders,),
    "more of it": (ResponseBody, ResponseTrailers),
    "to pass": (ResponseBody, ResponseTrailers),
    "nothing": (RequestBody, ResponseHeaders, ResponseBody, ResponseTrailers),
}
"""Envoy's valid messages for each due part; `nothing`: the last message is sent, others were on their way."""


def in_place(event: Event | None, due: str) -> bool:
    return event is None or isinstance(event, PLACES[due])


def relay(event: Event, received: Received) -> str:
    if isinstance(event, ResponseTrailers):
        received.passed.append("response_trailers")
        return "nothing"
    assert isinstance(event, ResponseBody)
    received.body += event.data
    received.complete = event.end_of_stream
    return "nothing" if event.end_of_stream else "to pass"


def obey(directives: Sequence[Directive], event: Event, received: Received) -> str:
    """Record the instructions of these directives; return the part that is due next."""
    due = {ResponseHeaders: "more of it", ResponseBody: "more of it", ResponseTrailers: "more of it"}.get(
        type(event), ""
    )
    for directive in directives:
        received.metadata |= getattr(directive, "metadata", None) or {}
        if isinstance(directive, Forward):
            received.metadata["signed"] = True
        match directive:
            case Continue():
                request = isinstance(event, RequestHeaders)
                received.passed.append(without(directive.remove) if request else "response_headers")
                due = "its body" if request else "nothing" if event.end_of_stream else "to pass"  # type: ignore[union-attr]
            case Forward():
                headers = dict(directive.headers) | {":path": directive.path, ":authority": directive.authority}
                received.forwarded = headers, set(), bytes(directive.body)
                due = "the answer"
            case Wait():
                assert isinstance(directive.job, SideCalls)
                due = "a job"
            case Head() | Reply():
                headers = dict(directive.headers) | {":status": str(directive.status)}
                response_body = isinstance(event, ResponseHeaders | ResponseBody | ResponseTrailers)
                received.head = headers, set(directive.remove) - set(headers) if response_body else set()
        if isinstance(directive, Reply | Body):
            received.body += directive.body if isinstance(directive, Reply) else directive.data
            received.complete = isinstance(directive, Reply) or directive.end_of_stream
            due = "nothing" if received.complete else due
    assert due, f"the exchange leaves {type(event).__name__} without an answer"
    return due


def understood(messages: Sequence[bytes]) -> Received:
    """Return the same record for the messages that a call was sent."""
    received = Received()
    for data in messages:
        output = pb.ProcessingResponse.FromString(data)
        kind = output.WhichOneof("response")
        assert not received.complete, "nothing comes after the end"
        received.metadata |= dict(output.dynamic_metadata["oai"]) if output.HasField("dynamic_metadata") else {}
        if kind == "immediate_response":
            reply = output.immediate_response
            mutation, status = mutated(reply.headers), {":status": str(reply.status.code)}
            received.head, received.body, received.complete = (mutation[0] | status, set()), reply.body, True
        elif kind in ("response_body", "request_body", "response_headers"):
            note(kind, getattr(output, kind).response, received)
        elif kind == "request_headers":
            received.passed.append(without(output.request_headers.response.header_mutation.remove_headers))
        elif kind is not None:
            received.passed.append(kind)
    return received


def without(names: Iterable[str]) -> str:
    return f"request_headers without {sorted(names)}"


def note(kind: str, output: pb.CommonResponse, received: Received) -> None:
    mutation, body = mutated(output.header_mutation), output.body_mutation
    if kind == "request_body":
        received.forwarded = *mutation, body.body
    elif kind == "response_body":
        received.body += body.streamed_response.body
        received.complete = body.streamed_response.end_of_stream
    elif not mutation[0]:
        received.passed.append(kind)
    else:
        received.head = mutation
        received.body += body.body
        received.complete = output.status == pb.CommonResponse.CONTINUE_AND_REPLACE


def mutated(output: pb.HeaderMutation) -> tuple[dict[str, str], set[str]]:
    """Return the headers that are set and removed, without the length, which only transport counts."""
    headers = {option.header.key: option.header.raw_value.decode("latin-1") for option in output.set_headers}
    headers.pop("content-length", None)
    return headers, set(output.remove_headers) - {"content-length"}


@pytest.fixture(scope="session")
def calls(event: Encode) -> SimpleNamespace:
    """Return a call's functions: `script` makes Envoy's messages, `result` a job's; `expectation` is the oracle."""
    return SimpleNamespace(
        new_exchange=new_exchange,
        script=lambda plan, name: steps(plan, name, event),
        result=lambda plan: SIDE_RESULTS[plan.variant % len(SIDE_RESULTS)] if plan.kind == "embeddings" else None,
        expectation=expectation,
        understood=understood,
        now=NOW,
    )
