"""Memory of a large request, from the socket's bytes to Bedrock's request, and of the response that repeats it.

Envoy holds its own copies, and so does the process that translates; only the worker's are counted here. The client's
bytes are made before the counting begins.
"""

import base64
import json
import os
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as altered

from extproc.bedrock.credentials import Credentials
from extproc.bedrock.sigv4 import Signer
from extproc.config import EndpointSettings, LimitSettings
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import TranslationJob
from extproc.tenancy.directory import Directory
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.http2 import fields, frames, framing
from extproc.transport.http2.incoming import Incoming
from extproc.transport.http2.session import PROCESS, Session
from extproc.transport.stream import Clock, ExtProcStream
from extproc.worker.translation_client import Process

NOW = 1_790_000_000.0
AUTHORITY = "bedrock-runtime.us-east-1.amazonaws.com"
SIZE = 4_000_000
FIRST, READ = 60_000, 200_000
WINDOW = 1 << 28
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(SIZE * 3 // 4)).decode()
REQUEST = fields.block(
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PROCESS.decode()),
    (":authority", "worker"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


@pytest.fixture
def session(gateway: Gateway) -> Session:
    settings = altered(
        gateway.settings, limits=LimitSettings(request_bytes=2 * SIZE), endpoints=EndpointSettings(responses=True)
    )
    roomy = replace(gateway, settings=settings, directory=Directory(settings))
    clock = Clock(lambda: NOW, lambda: 0.0)
    made = Session(lambda: ExtProcStream(Exchange(roomy, "0" * 32), clock, 30.0), lambda: b"", 3 * SIZE)
    greeting = frames.settings({frames.INITIAL_WINDOW_SIZE: WINDOW}) + frames.window_update(0, WINDOW)
    made.receive(frames.PREFACE + greeting)
    return made


def http_headers(headers: dict[str, str]) -> pb.HttpHeaders:
    values = [pb.HeaderValue(key=key, raw_value=value.encode()) for key, value in headers.items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values))


def chat(content: object) -> bytes:
    request = {"model": "anthropic.claude-sonnet-4-6", "messages": [{"role": "user", "content": content}]}
    return json.dumps(request).encode()


def with_image(url: object) -> bytes:
    return chat([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}])


def call(body: bytes, path: str = "/oai/v1/chat/completions") -> bytes:
    """Return Envoy's bytes for a request with this body."""
    head = http_headers({":method": "POST", ":path": path, "authorization": "Bearer qc_test"})
    whole = pb.HttpBody(body=body, end_of_stream=True)
    messages = (pb.ProcessingRequest(request_headers=head), pb.ProcessingRequest(request_body=whole))
    return frames.frame(frames.HEADERS, frames.END_HEADERS, 1, REQUEST) + data_frames(*messages)


def data_frames(*messages: pb.ProcessingRequest) -> bytes:
    """Return messages of Envoy's in DATA frames of the usual size."""
    out = b""
    for message in messages:
        encoded = message.SerializeToString()
        data = framing.prefix(len(encoded)) + encoded
        size = frames.DEFAULT_FRAME_BYTES
        out += b"".join(frames.frame(frames.DATA, 0, 1, data[at : at + size]) for at in range(0, len(data), size))
    return out


def reads(wire: bytes) -> Iterator[bytes]:
    """Yield the reads: the first fits the window of every stream, then the rest of the message is granted."""
    yield wire[:FIRST]
    for at in range(FIRST, len(wire), READ):
        yield wire[at : at + READ]


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    """Return the process that translates large requests."""
    made = Process(os.environ)
    yield made
    made.end()


def settle(session: Session, process: Process) -> Sequence[bytes | memoryview]:
    """Run the session's jobs and return its bytes."""
    out = list(session.data_to_send())
    while calls := [call for call in session.changed() if call.pending_job is not None]:
        for call in calls:
            assert call.pending_job is not None
            job = call.pending_job.job
            assert isinstance(job, TranslationJob)
            session.resume(call, process.do(job))
            del job
        out += session.data_to_send()
    return out


def responses_to(session: Session, wire: bytes, process: Process) -> list[pb.ProcessingResponse]:
    """Return the session's responses to these bytes."""
    output = frames.PREFACE
    for data in reads(wire):
        session.receive(data)
        output += b"".join(session.data_to_send())
    return messages_in(output + b"".join(settle(session, process)))


def messages_in(output: bytes) -> list[pb.ProcessingResponse]:
    """Return the messages in these frames."""
    messages, replies = framing.Messages(WINDOW), list[Any]()
    incoming = Incoming(frames.DEFAULT_FRAME_BYTES)
    incoming.feed(output)
    while incoming.next():
        if incoming.kind == frames.DATA:
            messages.feed(incoming.payload, replies)
    assert not messages.partial
    return [pb.ProcessingResponse.FromString(bytes(message)) for message in replies]


def copies(session: Session, body: bytes, process: Process) -> float:
    """Return the peak memory of the session with this request, in lengths of its body."""
    wire = call(body)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for data in reads(wire):
            session.receive(data)
            session.data_to_send()
        out = settle(session, process)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, out)) > len(body) * 0.99
    return (most - before) / len(body)


@pytest.mark.parametrize(("content", "most"), [("image", 1.3), ("text", 1.3)])
def test_a_large_body_is_held_few_times(session: Session, process: Process, content: str, most: float) -> None:
    body = with_image(f"data:image/png;base64,{IMAGE}") if content == "image" else chat("word " * (SIZE // 5))
    assert copies(session, body, process) < most


def test_nothing_of_a_large_body_is_kept_once_it_is_written(session: Session, process: Process) -> None:
    wire = call(with_image(f"data:image/png;base64,{IMAGE}"))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        assert responses_to(session, wire, process)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < SIZE // 10


def test_a_large_image_arrives_byte_for_byte_and_signed(session: Session, process: Process) -> None:
    *_, output = responses_to(session, call(with_image(f"data:image/png;base64,{IMAGE}")), process)
    mutation = output.request_body.response
    body = mutation.body_mutation.body
    [message] = json.loads(body)["messages"]
    assert message["content"] == [{"text": "What is it?"}, {"image": {"format": "png", "source": {"bytes": IMAGE}}}]
    headers = {o.header.key: o.header.raw_value.decode() for o in mutation.header_mutation.set_headers}
    assert headers["content-length"] == str(len(body))
    signer, path = Signer("us-east-1", AUTHORITY), headers[":path"]
    signed = signer.sign(Credentials("AKID", "secret"), path, body, (("content-type", "application/json"),), NOW)
    assert dict(signed).items() <= headers.items()


@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/png;charset=a b;BASE64,"])
@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(("character", "written"), [("", ""), ("/", "\\/"), ("+", "\\u002B"), ("I", "\\u0049")])
def test_however_a_large_image_is_written_it_arrives_the_same(
    session: Session, process: Process, head: str, lines: bool, character: str, written: str
) -> None:
    """Some clients' JSON has an escape for each slash, others for each plus; any character may be written so."""
    data = f"{IMAGE[:1000]}\\n{IMAGE[1000:]}\\r\\n" if lines else IMAGE
    if character:
        data = data.replace(character, written)
    body = with_image("HERE").replace(b"HERE", f"{head}{data}".encode())
    *_, output = responses_to(session, call(body), process)
    [message] = json.loads(output.request_body.response.body_mutation.body)["messages"]
    assert message["content"][1] == {"image": {"format": "png", "source": {"bytes": IMAGE}}}


FAULTS = {
    "a character": (f"data:image/png;base64,{IMAGE[:-4]}!{IMAGE[-3:]}", "invalid_image"),
    "too long": (f"data:image/png;base64,{IMAGE}A", "invalid_image"),
    "padding": (f"data:image/png;base64,{IMAGE}====", "invalid_image"),
    "not ASCII": (f"data:image/png;base64,{IMAGE[:-1]}\u00e9", "invalid_image"),
    "not called base64": (f"data:image/png,{IMAGE}", "invalid_image"),
    "no image": (f"data:image/png;base64,{IMAGE[4:]}", "invalid_image"),
    "no URL": (IMAGE, "invalid_image"),
    "no string": ([IMAGE], "invalid_type"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_end_of_a_large_image_is_rejected(session: Session, process: Process, fault: str) -> None:
    url, code = FAULTS[fault]
    *_, output = responses_to(session, call(with_image(url)), process)
    error = json.loads(output.immediate_response.body)["error"]
    assert (error["code"], error["param"]) == (code, "messages[0].content[1].image_url.url")


def bedrock_response(event: Callable[..., bytes], *, streamed: bool) -> bytes:
    """Return Envoy's bytes for Bedrock's response."""
    usage = {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}
    if streamed:
        kind = "application/vnd.amazon.eventstream"
        delta = {"contentBlockIndex": 0, "delta": {"text": "Hi"}}
        events = [event("messageStart", {"role": "assistant"}), event("contentBlockDelta", delta)]
        events.append(event("contentBlockStop", {"contentBlockIndex": 0}))
        events += [event("messageStop", {"stopReason": "end_turn"}), event("metadata", {"metrics": {}, **usage})]
        body = b"".join(events)
    else:
        kind = "application/json"
        message = {"role": "assistant", "content": [{"text": "Hi"}]}
        body = json.dumps({"output": {"message": message}, "stopReason": "end_turn", **usage}).encode()
    head = pb.ProcessingRequest(response_headers=http_headers({":status": "200", "content-type": kind}))
    whole = pb.ProcessingRequest(response_body=pb.HttpBody(body=body))
    return data_frames(head, whole, pb.ProcessingRequest(response_body=pb.HttpBody(end_of_stream=True)))


@pytest.mark.parametrize(("streamed", "times"), [(True, 3), (False, 1)])
def test_a_response_repeats_long_members_of_its_request_without_a_copy(
    session: Session, process: Process, event: Callable[..., bytes], streamed: bool, times: int
) -> None:
    """The first two events of a stream and the last repeat them."""
    text = "word " * (SIZE // 5)
    request = {"model": "anthropic.claude-sonnet-4-6", "input": "Hi", "instructions": text, "stream": streamed}
    responses_to(session, call(json.dumps(request).encode(), "/oai/v1/responses"), process)
    wire = bedrock_response(event, streamed=streamed)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        session.receive(wire)
        out = session.data_to_send()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most - before < SIZE // 4
    messages = messages_in(frames.PREFACE + b"".join(out))
    pieces = [one.response_body.response.body_mutation.streamed_response.body for one in messages]
    assert b"".join(pieces).count(text.encode()) == times
