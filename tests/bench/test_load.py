"""The load generator counts what it receives, wherever that is cut, and counts no bad response as a good one."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import native
from bench.calls import call
from bench.workloads import Workload
from extproc.bedrock.eventstream import Decoder

Serve = Callable[..., int]
Load = Callable[..., dict[str, Any]]

EVENTS = b'data: {"content":" tick"}\n\ndata: {"content":" tock"}\n\ndata: [DONE]\n\n'


def plain(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*chunks: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%X\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def errors(done: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in done["errors"].items() if count}


def test_a_good_response(serve: Serve, load: Load) -> None:
    done = load(serve(plain(b"a tick")))
    assert done["answered"] > 0
    assert done["marks"] == done["answered"]
    assert errors(done) == {}
    assert done["latency_ms"]["count"] == done["answered"]
    assert 0 < done["latency_ms"]["p50"] <= done["latency_ms"]["p99"] <= done["latency_ms"]["max"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_marks_and_events_are_found_however_they_are_cut(serve: Serve, load: Load, size: int) -> None:
    whole = chunked(EVENTS)
    done = load(serve(*(whole[at : at + size] for at in range(0, len(whole), size))), expected=2, end="[DONE]")
    assert done["answered"] > 0
    assert (done["marks"], done["events"]) == (2 * done["answered"], 3 * done["answered"])
    assert errors(done) == {}


def test_marks_are_found_across_chunks(serve: Serve, load: Load) -> None:
    done = load(serve(chunked(*(EVENTS[at : at + 3] for at in range(0, len(EVENTS), 3)))), expected=2, end="[DONE]")
    assert errors(done) == {}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (plain(b"tick tock [DONE]", "503 Service Unavailable"), "status"),
        (chunked(b"data: tick\n\n", b"data: [DONE]\n\n"), "short"),
        (chunked(EVENTS, b"data: tick\n\n"), "short"),
        (chunked(EVENTS.replace(b"[DONE]", b"")), "unended"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + EVENTS, "broken"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "broken"),
    ],
)
def test_a_bad_response_is_counted_and_shown(serve: Serve, load: Load, answer: bytes, kind: str) -> None:
    done = load(serve(answer), expected=2, end="[DONE]")
    assert errors(done).keys() == {kind}
    assert done["complaint"].startswith(kind)


def test_a_response_that_is_cut_off(serve: Serve, load: Load) -> None:
    done = load(serve(chunked(EVENTS)[:-5], close=True), expected=2, end="[DONE]")
    assert done["answered"] == 0
    assert errors(done).keys() == {"broken"}


def test_a_server_that_closes_each_connection(serve: Serve, load: Load) -> None:
    response = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\ntick"
    done = load(serve(response, close=True))
    assert done["answered"] > 0
    assert errors(done) == {}


def test_an_unreachable_server(serve: Serve, load: Load) -> None:
    done = load(1)
    assert done["answered"] == 0
    assert errors(done).keys() == {"broken"}


# The upstream


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[int]:
    for name in ("models", "profiles"):
        (tmp_path / name).write_text(json.dumps({name: []}))
    command = [str(native.program("upstream")), str(tmp_path / "models"), str(tmp_path / "profiles")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(" ")[2])
        process.terminate()


def send(upstream: int, workload: Workload) -> bytes:
    import socket

    wire = call(workload, "bedrock").wire(upstream, "token")
    with socket.create_connection(("127.0.0.1", upstream), timeout=20) as connection:
        connection.sendall(wire)
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            piece = connection.recv(65536)
            assert piece
            received += piece
    return received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("every", [0, 1])
def test_the_upstream_s_stream_is_a_real_event_stream(upstream: int, every: int) -> None:
    chunks = send(upstream, Workload("stream", "stream", 1, frames=7, every=every))
    decoder, messages = Decoder(), []
    while (size := int(chunks.partition(b"\r\n")[0], 16)) > 0:
        start = chunks.index(b"\r\n") + 2
        messages += decoder.feed(chunks[start : start + size])
        chunks = chunks[start + size + 2 :]
    decoder.close()
    kinds = [message.headers[":event-type"] for message in messages]
    assert kinds == ["messageStart", *["contentBlockDelta"] * 7, "contentBlockStop", "messageStop", "metadata"]
    texts = [json.loads(message.payload)["delta"]["text"] for message in messages[1:8]]
    assert texts == [" tick", " tock", " tick", " tock", " tick", " tock", " tick"]


@pytest.mark.parametrize("size", [1_000, 70_000, 300_000])
def test_the_upstream_under_load(upstream: int, load: Load, size: int) -> None:
    buffered = call(Workload("chat", "chat", 1, body_bytes=size), "bedrock")
    assert errors(load(upstream, request=buffered.wire(upstream, "token"))) == {}
    stream = call(Workload("stream", "stream", 1, frames=30, body_bytes=size), "bedrock")
    done = load(upstream, expected=30, end=stream.end, request=stream.wire(upstream, "token"))
    assert done["marks"] == 30 * done["answered"] > 0
    assert errors(done) == {}
