"""Callers who open requests only to drop them: nobody else's call ends, and the memory of Envoy and worker is bounded.

Each flood runs beside streams of other callers, which must all come to their `[DONE]`.
"""

import asyncio
import json
import os
import re
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

NOVA = "amazon.nova-micro-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
CHAT, EMBEDDINGS, MODELS = "/oai/v1/chat/completions", "/oai/v1/embeddings", "/oai/v1/models"

CONNECTIONS, STREAMS, NEIGHBOURS = 10, 500, 20
MANY_CONNECTIONS, MANY_REQUESTS = 100, 1000
AT_ONCE = 99
"""Requests that a connection may have at once, and one more; Envoy rejects those beyond."""
WAITING = 10 * AT_ONCE
"""Requests that wait for a worker: with a few more, Envoy opens another connection to it."""
HELD = 10
"""Streams of each connection in a flood that Bedrock sees."""

SIDE_CALLS = 50
"""Side calls that run when they are reset; a worker gives one organisation no more than its share at once."""

BYTES = 600 << 20
"""More resident memory than this, in Envoy or in a worker, is too much."""

DEADLINE = 60.0


class Flooder:
    """An HTTP/2 connection without a library in between: it keeps no rule that it does not want to keep."""

    def __init__(self, client: Any, token: str | None) -> None:
        self._token = client.tokens[token] if token else None
        self._encoder, self._decoder = Encoder(), Decoder()
        self._socket = socket.create_connection((client.host, client.port), timeout=DEADLINE)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self._out = preface + SettingsFrame(0).serialize() + WindowUpdateFrame(0, window_increment=1 << 30).serialize()
        self._received = b""
        self._next = 1

    def open(self, path: str, *, method: str = "POST", ended: bool = False, length: int | None = None) -> int:
        """Queue the headers of a request; return its stream."""
        stream, self._next = self._next, self._next + 2
        headers = [(":method", method), (":scheme", "http"), (":authority", "gateway"), (":path", path)]
        if self._token:
            headers.append(("authorization", f"Bearer {self._token}"))
        if length is not None:
            headers.append(("content-length", str(length)))
        frame = HeadersFrame(stream, self._encoder.encode(headers), flags=["END_HEADERS"])
        if ended:
            frame.flags.add("END_STREAM")
        self._out += frame.serialize()
        return stream

    def request(self, path: str, body: object) -> int:
        """Queue a whole request; return its stream."""
        data = json.dumps(body).encode()
        stream = self.open(path, length=len(data))
        self._out += DataFrame(stream, data, flags=["END_STREAM"]).serialize()
        return stream

    def reset(self, stream: int) -> None:
        """Queue the reset of a request."""
        self._out += RstStreamFrame(stream, error_code=8).serialize()

    def repeat(self, other: "Flooder") -> None:
        """Queue what another new connection has queued."""
        self._out = other._out

    def send(self) -> None:
        """Send what is queued, at once. An Envoy that closes the connection meanwhile is right to do so."""
        out, self._out = self._out, b""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(out)

    def statuses(self, streams: list[int]) -> dict[int, str]:
        """Read until these requests have responses; return their statuses."""
        received: dict[int, str] = {}
        for frame in self._frames():
            if isinstance(frame, HeadersFrame):
                received[frame.stream_id] = dict(self._decoder.decode(frame.data))[":status"]
                if received.keys() >= set(streams):
                    return {stream: received[stream] for stream in streams}
        raise AssertionError("the connection was closed")

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _frames(self) -> Iterator[Frame]:
        while True:
            while len(self._received) < 9:
                if not self._read():
                    return
            frame, length = Frame.parse_frame_header(memoryview(self._received[:9]))
            while len(self._received) < 9 + length:
                if not self._read():
                    return
            frame.parse_body(memoryview(self._received[9 : 9 + length]))
            self._received = self._received[9 + length :]
            yield frame

    def _read(self) -> bool:
        data = self._socket.recv(65536)
        self._received += data
        return bool(data)


def question(text: str) -> dict[str, object]:
    return {"model": NOVA, "messages": [{"role": "user", "content": text}], "stream": True}


def held(gateway: Any, number: int) -> None:
    """Wait until Bedrock holds so many responses."""
    with urllib.request.urlopen(f"{gateway.local_url}/_local/calls?held={number}", timeout=DEADLINE) as response:
        response.read()


# The floods


def flooders(client: Any, token: str | None, stack: ExitStack) -> list[Flooder]:
    return [stack.enter_context(closing(Flooder(client, token))) for _ in range(CONNECTIONS)]


def headers_and_resets(token: str | None, stack: ExitStack, client: Any) -> None:
    """Rapid reset (CVE-2023-44487)."""
    for flooder in flooders(client, token, stack):
        for _ in range(STREAMS):
            flooder.reset(flooder.open(CHAT))
        flooder.send()


def without_a_token(gateway: Any, client: Any, stack: ExitStack) -> None:
    headers_and_resets(None, stack, client)


def on_many_connections(stack: ExitStack, client: Any, *, reset: bool) -> None:
    """Requests of a dozen bytes each, served or reset, and the responses are never read."""
    everybody = [stack.enter_context(closing(Flooder(client, None))) for _ in range(MANY_CONNECTIONS)]
    for _ in range(MANY_REQUESTS):
        stream = everybody[0].open(MODELS, method="GET", ended=True)
        if reset:
            everybody[0].reset(stream)
    for flooder in everybody[1:]:
        flooder.repeat(everybody[0])
    for flooder in everybody:
        flooder.send()


def rejected_on_many_connections(gateway: Any, client: Any, stack: ExitStack) -> None:
    on_many_connections(stack, client, reset=False)


def reset_on_many_connections(gateway: Any, client: Any, stack: ExitStack) -> None:
    on_many_connections(stack, client, reset=True)


def with_a_token(gateway: Any, client: Any, stack: ExitStack) -> None:
    headers_and_resets("ci", stack, client)


def with_bodies(gateway: Any, client: Any, stack: ExitStack) -> None:
    for flooder in flooders(client, "ci", stack):
        for _ in range(STREAMS):
            flooder.reset(flooder.request(CHAT, question("Hello! [[local: hold]]")))
        flooder.send()


def after_the_worker_has_the_headers(gateway: Any, client: Any, stack: ExitStack) -> None:
    """The worker has all headers once it has responded to the request behind them."""
    everybody = flooders(client, "ci", stack)
    for flooder in everybody:
        streams = [flooder.open(CHAT, length=100) for _ in range(AT_ONCE)]
        last = flooder.open(MODELS, method="GET", ended=True)
        flooder.send()
        flooder.statuses([last])
        for stream in streams:
            flooder.reset(stream)
    for flooder in everybody:
        flooder.send()


def after_the_call_has_started(gateway: Any, client: Any, stack: ExitStack) -> None:
    opened(gateway, flooders(client, "ci", stack), CHAT, question("Count to 9. [[local: hold]]"), CONNECTIONS * HELD)


def while_side_calls_run(gateway: Any, client: Any, stack: ExitStack) -> None:
    body = {"model": TITAN, "input": ["a [[local: hold]]", "b [[local: hold]]"]}
    opened(gateway, flooders(client, "ci", stack), EMBEDDINGS, body, SIDE_CALLS)


def opened(gateway: Any, everybody: list[Flooder], path: str, body: object, calls: int) -> None:
    """Whole requests, reset once Bedrock has so many calls of them."""
    streams = []
    for flooder in everybody:
        streams += [(flooder, flooder.request(path, body)) for _ in range(HELD)]
        flooder.send()
    held(gateway, NEIGHBOURS + calls)
    for flooder, stream in streams:
        flooder.reset(stream)
    for flooder in everybody:
        flooder.send()


def on_http1(gateway: Any, client: Any, stack: ExitStack) -> None:
    """Connections that are cut behind the headers, within the body, and behind it."""
    token = client.tokens["ci"]
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: %d\r\n\r\n"
    body = json.dumps(question("Hello! [[local: hold]]")).encode()
    for length in (0, len(body) // 2, len(body)):
        for _ in range(STREAMS):
            with socket.create_connection((client.host, client.port), timeout=DEADLINE) as connection:
                connection.sendall((head % len(body)).encode() + body[:length])


Flood = Callable[[Any, Any, ExitStack], None]

FLOODS: tuple[Flood, ...] = (
    without_a_token,
    rejected_on_many_connections,
    reset_on_many_connections,
    with_a_token,
    with_bodies,
    after_the_worker_has_the_headers,
    after_the_call_has_started,
    while_side_calls_run,
    on_http1,
)


@pytest.fixture(scope="module", params=[("http2", 1), ("http2", 2), ("grpcio", 1), ("grpcio", 2)], ids=str)
def flooded(request: pytest.FixtureRequest, start_shared: Any) -> Any:
    transport, workers = request.param
    return start_shared({"transport": transport, "workers": workers})


def resident(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_of_resets_ends_nobody_elses_call(
    flood: Flood, flooded: Any, client_of: Any, local_of: Any, eventually: Any
) -> None:
    client, local = client_of(flooded), local_of(flooded.local_url)
    local.release()
    before = flooded.pids("")
    with ExitStack() as stack:
        neighbours = [stack.enter_context(client.stream("Count to 9. [[local: hold]]")) for _ in range(NEIGHBOURS)]
        assert [neighbour.delta() for neighbour in neighbours] == ["1"] * NEIGHBOURS
        flood(flooded, client, stack)
        assert client.exchange("GET", MODELS).status == 200
        assert client.chat("Hello!").status == 200
        local.release()
        assert [whole(neighbour.rest) for neighbour in neighbours] == ["[DONE]"] * NEIGHBOURS
    assert flooded.pids("") == before
    assert [pid for pid in before if resident(pid) > BYTES] == []
    assert "ended by a bug" not in flooded.log()


def whole(rest: Callable[[], Iterable[str]]) -> str:
    """The last event of a stream, or how it broke off."""
    try:
        return list(rest())[-1]
    except Exception as error:
        return repr(error)


def test_many_requests_on_one_connection_all_get_a_response(flooded: Any, client_of: Any) -> None:
    """Envoy opens one of them in a turn of its event loop; the rest must not be forgotten."""
    with closing(Flooder(client_of(flooded), "ci")) as caller:
        streams = [caller.open(MODELS, method="GET", ended=True) for _ in range(100)]
        caller.send()
        assert caller.statuses(streams) == dict.fromkeys(streams, "200")


def test_pipelined_requests_on_one_connection_all_get_a_response(flooded: Any, client_of: Any) -> None:
    client = client_of(flooded)
    body = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]})
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.tokens['ci']}\r\n"
    one = f"{head}content-length: {len(body)}\r\n\r\n{body}"
    last = one.replace("host: x", "host: x\r\nconnection: close")
    received = b""
    with socket.create_connection((client.host, client.port), timeout=DEADLINE) as connection:
        connection.sendall((one * 49 + last).encode())
        while data := connection.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b"Hello!") == 50


@pytest.mark.parametrize("token", [None, "ci"])
async def test_a_flood_that_waits_for_the_worker_delays_nobody_until_its_end(
    token: str | None, start_gateway: Any, client_of: Any, counter: Any
) -> None:
    """The worker is stopped until Envoy has given it all of them, and then somebody else's request.

    It is HTTP/2's own: grpcio has a task for each call, in the order in which they came.
    """
    gateway = start_gateway({"transport": "http2"}, args=["--access-log"])
    client, [worker] = client_of(gateway), gateway.pids("extproc.worker.command")
    with ExitStack() as stack:
        os.kill(worker, signal.SIGSTOP)
        try:
            for _ in range(WAITING // AT_ONCE):
                flooder = stack.enter_context(closing(Flooder(client, token)))
                for _ in range(AT_ONCE):
                    flooder.open(MODELS, method="GET", ended=True)
                flooder.send()
            await calls_of_the_worker(gateway, counter, WAITING.__eq__)
            asked = asyncio.create_task(asyncio.to_thread(client.exchange, "GET", MODELS, token="limited"))
            await calls_of_the_worker(gateway, counter, WAITING.__lt__)
        finally:
            os.kill(worker, signal.SIGCONT)
        response = await asked
    assert response.status == 200
    gateway.wait_for(response.headers["x-request-id"])
    ended = gateway.log().partition(response.headers["x-request-id"])[0].count(MODELS)
    assert ended < WAITING // 3


async def calls_of_the_worker(gateway: Any, counter: Any, wanted: Callable[[int], bool]) -> None:
    """Wait until Envoy has such a number of calls open to the worker."""
    async with asyncio.timeout(DEADLINE):
        while not wanted(await counter(gateway, "cluster.processor.upstream_rq_active")):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
