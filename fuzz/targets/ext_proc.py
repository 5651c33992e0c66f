"""Envoy's messages (extproc.transport: large, wire, stream), over the real exchange.

Invariants: what `take_body` cuts out and leaves is what protobuf makes of the whole; messages that come together are
answered as those that come one by one; a stream raises `WireError` or `AbandonedError` and nothing else, and what it
writes protobuf reads; a request leaves only for a model's path, signed, without the caller's token, and once it has
left, the upstream's response is not passed on as it is.

Oracle: protobuf.

The first byte of an input selects how the rest is read: as one message, as messages with their lengths before them, or
as choices of messages.
"""

import hashlib
import json
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from extproc import cl100k_base, config
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import seed
from extproc.bedrock.sigv4 import Signer
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.limits.counters import MemoryCounters
from extproc.tenancy.directory import Directory
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.large import take_body
from extproc.transport.stream import AbandonedError, Clock, ExtProcStream
from extproc.transport.wire import ExtProcSession, WireError
from fuzz.targets.reading import Choices

NOW = 1_790_000_000.0
TOKEN = "qc_" + "1" * 43
CHAT = b'{"model":"amazon.nova-micro-v1:0","messages":[{"role":"user","content":"Hi"}]%b}'
PATHS = ("/oai/v1/chat/completions", "/oai/v1/embeddings", "/oai/v1/models", "/oai/v1/models/x", "/other", "")
BODIES = (
    CHAT % b"",
    CHAT % b',"stream":true',
    CHAT % b',"n":2',
    CHAT[:20],
    b"",
    b'{"model":"amazon.titan-embed-text-v2:0","input":"a"}',
    b'{"model":"amazon.titan-embed-text-v2:0","input":["a","b"]}',
)
RESPONSES = (
    b'{"output":{"message":{"role":"assistant","content":[{"text":"RAW-UPSTREAM"}]}},"stopReason":"end_turn"}',
    b'{"embedding":[0.5],"inputTextTokenCount":1}',
    b'{"message":"slow down"}',
    b"RAW-UPSTREAM",
    b"",
)
WORDS = (
    TOKEN.encode(),
    b"\x12\x08response",
    b"\x22\x02\x0a\x00",
    b"\x0a\x02{}",
    b":status",
    b"\x10\x01",
    *RESPONSES[1:3],
)


def check(data: bytes) -> None:
    """Read one message in two ways; or have a stream process several, together and one by one."""
    select, rest = (data[0] if data else 0), data[1:]
    if select < 0x40:
        _check_cut(rest)
        return
    messages = _prefixed(rest) if select < 0x80 else built(rest)
    single = _responses([[one] for one in messages])
    assert _responses([messages]) == single, "messages that come together are answered otherwise"


def built(data: bytes) -> list[bytes]:
    """Return messages of which kind and contents are chosen by the input."""
    choices, messages = Choices(data), []
    while choices.left:
        messages.append(_message(choices.below(8), choices).SerializeToString())
    return messages


def seeds() -> Iterator[bytes]:
    """Yield calls of every endpoint, buffered and streaming, and each message alone."""
    ask = [bytes([0, path]) for path in range(len(PATHS))]
    for body in range(len(BODIES)):
        path = 1 if body > 4 else 0
        for response in range(len(RESPONSES)):
            yield b"\x80" + ask[path] + bytes([1, body, 2, 0, 3, response, 1])
    for event in range(4):
        yield b"\x80" + ask[0] + bytes([1, 1, 2, 0, 3, 0x80 + event, 0, 3, 0x81, 0, 3, 0x83, 0, 3, 4, 1])
    for path in range(len(PATHS)):
        yield b"\x80" + ask[path]
        yield b"\x80" + bytes([2, 3, 3, 3, 0, 3, 4, 1])
    yield b"\x80" + ask[0] + bytes([4, 1, 0, 5])
    for kind in range(8):
        message = _message(kind, Choices(bytes(8))).SerializeToString()
        yield b"\x00" + message
        yield b"\x40" + struct.pack(">H", len(message)) + message
    large = pb.ProcessingRequest(request_body=pb.HttpBody(body=b"x" * 300, end_of_stream=True))
    yield b"\x00" + large.SerializeToString()


# One message


def _check_cut(data: bytes) -> None:
    rest, body = take_body(bytearray(data))
    assert body is not None or rest == data
    whole, cut = _parsed(data), _parsed(rest)
    assert (whole is None) == (cut is None), "a cut message is read otherwise"
    if whole is not None and cut is not None:
        if body is not None and cut.WhichOneof("request") == "request_body":
            cut.request_body.body = bytes(body)
        assert cut == whole, "a cut message is another"
    assert _decode(data) == _decode(bytearray(data)), "a bytearray is decoded differently"


def _parsed(data: bytes) -> pb.ProcessingRequest | None:
    try:
        return pb.ProcessingRequest.FromString(data)
    except DecodeError:
        return None


def _decode(data: bytes | bytearray) -> Any:
    try:
        return ExtProcSession().receive(data)
    except WireError as error:
        return type(error)


# A stream


@dataclass
class Sent:
    """The messages that Envoy gets in one call."""

    passed: list[str] = field(default_factory=list)
    left: tuple[Any, bytes] | None = None
    head: Any = None
    body: bytes = b""
    ended: bool = False
    failed: bool = False


@cache
def _gateway() -> Gateway:
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
        budget=MemoryBudget(1 << 40, 1 << 40),
        counters=MemoryCounters(time.monotonic_ns),
    )


def _responses(turns: Sequence[list[bytes]]) -> Sent:
    """Have a new stream process the messages of each turn; the first error ends it, as it ends a driver's."""
    stream = ExtProcStream(Exchange(_gateway(), "0" * 32), Clock(lambda: NOW, lambda: 0.0), 30)
    sent = Sent()
    for turn in turns:
        if sent.failed:
            break
        written, error = stream.receive_all(list(turn))
        if error is not None and not isinstance(error, WireError | AbandonedError):
            raise error
        sent.failed = error is not None
        for one in written:
            _note(pb.ProcessingResponse.FromString(bytes(one)), sent)
    stream.close()
    assert _gateway().budget.taken == 0, "a stream that has ended holds bytes of the budget"
    return sent


def _note(message: pb.ProcessingResponse, sent: Sent) -> None:
    kind = message.WhichOneof("response")
    if kind == "immediate_response":
        sent.head = message.immediate_response.status.code, _headers(message.immediate_response.headers)
        sent.body += message.immediate_response.body
    elif kind in ("request_body", "response_headers", "response_body"):
        response = getattr(message, kind).response
        headers = _headers(response.header_mutation)
        if kind == "request_body":
            _check_leaving(response, headers)
            sent.left = headers, response.body_mutation.body
        elif kind == "response_body":
            sent.body += response.body_mutation.streamed_response.body
            sent.ended |= response.body_mutation.streamed_response.end_of_stream
        elif headers:
            sent.head = headers
            sent.body += response.body_mutation.body
        else:
            assert sent.left is None, "the upstream's response is passed on as it is"
            sent.passed.append(kind)
    elif kind is not None:
        sent.passed.append(kind)


def _check_leaving(response: pb.CommonResponse, headers: dict[str, str]) -> None:
    """Assert that a request that leaves was translated and signed."""
    assert headers[":path"].startswith("/model/"), headers[":path"]
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/"), "it is not signed"
    assert TOKEN not in json.dumps(headers), "the caller's token leaves"
    assert isinstance(json.loads(response.body_mutation.body), dict)
    assert headers["content-length"] == str(len(response.body_mutation.body))


def _headers(mutation: pb.HeaderMutation) -> dict[str, str]:
    return {one.header.key: one.header.raw_value.decode("latin-1") for one in mutation.set_headers}


# Messages


def _prefixed(data: bytes) -> list[bytes]:
    choices, messages = Choices(data), list[bytes]()
    while choices.left and len(messages) < 64:
        messages.append(choices.take(choices.byte() << 8 | choices.byte()))
    return messages


def _message(kind: int, choices: Choices) -> pb.ProcessingRequest:
    match kind:
        case 0:
            return _asked(choices.byte())
        case 1:
            select = choices.byte()
            body = choices.piece() if select >= 0x80 else BODIES[select % len(BODIES)]
            return pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True))
        case 2:
            return _answered(choices.byte())
        case 3:
            select, end = choices.byte(), choices.byte()
            body = _event(select, choices) if select >= 0x80 else RESPONSES[select % len(RESPONSES)]
            return pb.ProcessingRequest(response_body=pb.HttpBody(body=body, end_of_stream=bool(end & 1)))
        case 4:
            return pb.ProcessingRequest(response_trailers=pb.HttpTrailers())
        case 5:
            return pb.ProcessingRequest(request_trailers=pb.HttpTrailers())
        case 6:
            return pb.ProcessingRequest(observability_mode=True)
    return pb.ProcessingRequest()


def _asked(select: int) -> pb.ProcessingRequest:
    path = PATHS[select % len(PATHS)]
    headers = {":method": "GET" if "models" in path else "POST", ":path": path, ":authority": "here"}
    headers["x-request-id"] = "r"
    headers["authorization"] = "Bearer qc_wrong" if select & 0x40 else f"Bearer {TOKEN}"
    message = pb.ProcessingRequest(request_headers=_header_map(headers, bool(select & 0x80) or "models" in path))
    message.protocol_config.request_body_mode = pb.BUFFERED
    message.protocol_config.response_body_mode = pb.FULL_DUPLEX_STREAMED
    return message


def _answered(select: int) -> pb.ProcessingRequest:
    status = (200, 200, 400, 403, 429, 500, 503, 0)[select % 8]
    headers = {":status": str(status), "x-amzn-requestid": "a"} if status else {}
    message = pb.ProcessingRequest(response_headers=_header_map(headers, bool(select & 0x80)))
    details = "denied_by_another_filter" if select & 0x40 else "via_upstream"
    message.attributes["envoy.filters.http.ext_proc"]["response.code_details"] = details
    return message


def _event(select: int, choices: Choices) -> bytes:
    """Return a message of an event stream, with right checksums."""
    kinds = ("messageStart", "contentBlockDelta", "messageStop", "metadata", "throttlingException", "other")
    payloads = (
        b'{"role":"assistant"}',
        b'{"contentBlockIndex":0,"delta":{"text":"RAW-UPSTREAM"}}',
        b'{"stopReason":"end_turn"}',
        b'{"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2}}',
        b'{"message":"no"}',
        b"{",
    )
    at = select % len(kinds)
    payload = choices.piece() if select & 0x40 else payloads[at]
    message = "exception" if kinds[at].endswith("Exception") else "event"
    values = {":message-type": message, f":{message}-type": kinds[at]}
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in values.items()
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


def _header_map(headers: dict[str, str], end: bool) -> pb.HttpHeaders:
    values = [pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in headers.items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end)
