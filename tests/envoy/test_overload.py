"""Envoy's own last defence: what it does when its memory runs out, with a real Envoy that has none."""

import asyncio
import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from extproc.envoy_admin.client import Admin

MODELS = "/oai/v1/models"
EMBEDDINGS = "/oai/v1/embeddings"
NOVA = "amazon.nova-micro-v1:0"
VECTORS = {"model": "cohere.embed-v4:0", "input": ["x"] * 64}
"""A request whose response is longer than a MiB, from which on Envoy knows what a stream holds."""


def without_memory(site: Any, listen: str, *arguments: str) -> Any:
    """The bootstrap of an Envoy whose heap may have one byte."""
    worker = f"unix:{site.folder}/w0.sock"
    usual = ("--listen", listen, "--processor", worker, "--envoy-memory", "64Mi")
    rendered = site.run("envoy-config", *usual, *arguments)
    bootstrap, changes = re.subn(r"max_heap_size_bytes: '?\d+'?", "max_heap_size_bytes: 1", rendered)
    assert changes == 1
    return yaml.safe_load(bootstrap)


def test_an_envoy_with_no_memory_at_all_takes_no_connection(site: Any) -> None:
    """It is not taken for stuck either: its admin socket, which `up` asks, is apart from all limits."""
    port, admin = site.port(), site.folder / "admin.sock"
    site.envoy(yaml.safe_dump(without_memory(site, f"127.0.0.1:{port}", "--admin", f"unix:{admin}")))
    wait_until_no_connection_is_taken(port)
    assert all(asyncio.run(Admin(admin).responds(30)) for _ in range(10))


def wait_until_no_connection_is_taken(port: int) -> None:
    end = time.monotonic() + 30
    while True:  # until Envoy has looked at its memory
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")
            try:
                if not connection.recv(1000):
                    return
            except ConnectionResetError:
                return
        assert time.monotonic() < end


def test_an_envoy_with_little_memory_responds_in_openais_shape(site: Any, exchange: Any) -> None:
    """The last steps, which end connections, are left out: with one byte Envoy takes them all at once."""
    listen = f"127.0.0.1:{site.port()}"
    bootstrap = without_memory(site, listen)
    manager = bootstrap["overload_manager"]
    assert "envoy.overload_actions.stop_accepting_requests" in [action["name"] for action in manager["actions"]]
    del manager["loadshed_points"]
    envoy = site.envoy(yaml.safe_dump(bootstrap))
    request = (
        b"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    gateway = SimpleNamespace(origin=f"http://{listen}")
    for _ in range(5000):  # until Envoy has looked at its memory it misses its workers instead
        response = exchange(gateway, request)
        assert response.status == 503, response
        if response.error["code"] == "service_unavailable":
            break
    assert response.error["code"] == "service_unavailable"
    assert (response.error["type"], response.headers["retry-after"]) == ("server_error", "1")
    assert response.headers["x-request-id"]
    assert envoy.stop() == 0


class Shortage:
    """Memory pressure as a file that Envoy watches, in place of the monitor of its heap. The steps stay as rendered."""

    def __init__(self, site: Any, bootstrap: Any) -> None:
        self._path = site.folder / "pressure" / "now"
        self._path.parent.mkdir()
        self.set(0.5)
        resource = "type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig"
        monitors = bootstrap["overload_manager"]["resource_monitors"]
        (heap,) = (monitor for monitor in monitors if monitor["name"] == "envoy.resource_monitors.fixed_heap")
        heap["typed_config"] = {"@type": resource, "filename": str(self._path)}

    def set(self, share: float) -> None:
        """Use so much of the memory. Envoy looks when another file takes the place of the one before."""
        new = self._path.with_suffix(".new")
        new.write_text(str(share))
        new.rename(self._path)


class KeptConnection:
    """A connection that is kept: HTTP/2, or HTTP/1.1."""

    def __init__(self, port: int, token: str, *, http2: bool) -> None:
        self._headers = {"authorization": f"Bearer {token}"}
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8")) if http2 else None
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        if self._h2:
            self._h2.initiate_connection()

    def __enter__(self) -> "KeptConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def list_models(self) -> str:
        """The status of the response to a request for the models; `closed` where the connection ends before it."""
        try:
            return self._list_models_http2(self._h2) if self._h2 else self._list_models_http1()
        except (ConnectionResetError, BrokenPipeError):
            return "closed"

    def wait_for_its_end(self) -> None:
        """Read until Envoy has closed the connection."""
        while self._socket.recv(65536):
            pass

    def _list_models_http1(self) -> str:
        fields = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        self._socket.sendall(f"GET {MODELS} HTTP/1.1\r\nhost: gateway\r\n{fields}\r\n".encode())
        with self._socket.makefile("rb") as response:
            if not (line := response.readline()):
                return "closed"
            length = 0
            while (field := response.readline().strip().lower()) != b"":
                name, _, value = field.partition(b": ")
                length = int(value) if name == b"content-length" else length
            assert len(response.read(length)) == length
        return line.split()[1].decode()

    def _list_models_http2(self, h2: H2Connection) -> str:
        number = h2.get_next_available_stream_id()
        headers = {":method": "GET", ":scheme": "http", ":authority": "gateway", ":path": MODELS, **self._headers}
        h2.send_headers(number, [*headers.items()], end_stream=True)
        self._socket.sendall(h2.data_to_send())
        status, going_away = "", False
        while data := self._socket.recv(65536):
            for event in h2.receive_data(data):
                going_away = going_away or isinstance(event, ConnectionTerminated)
                if isinstance(event, ResponseReceived):
                    status = dict(event.headers)[":status"]
                if isinstance(event, StreamEnded):
                    return status
        return "goaway, closed" if going_away else "closed"


@dataclass(frozen=True)
class Pressed:
    """A worker and its Envoy, whose memory is as short as the test sets it."""

    site: Any
    port: int
    _shortage: Shortage
    _counter: Any

    @property
    def run_directory(self) -> Any:
        return self.site.folder

    async def until(self, share: float) -> None:
        """Use so much memory, and wait until Envoy has noticed."""
        self._shortage.set(share)
        end = time.monotonic() + 30
        while await self._counter(self, "overload.envoy.resource_monitors.fixed_heap.pressure") != round(share * 100):
            assert time.monotonic() < end, f"Envoy does not see that {share} of its memory is used"
        with self.caller(http2=False) as first:  # Envoy's main thread has noticed; after a round trip, both have
            first.list_models()

    def caller(self, *, http2: bool) -> KeptConnection:
        return KeptConnection(self.port, self.site.tokens["ci"], http2=http2)

    def local(self, method: str, path: str) -> Any:
        """A call of the local Bedrock's own."""
        request = urllib.request.Request(f"{self.site.bedrock_url}/_local/{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")


@pytest.fixture
def pressed(site: Any, counter: Any) -> Iterator[Pressed]:
    port = site.port()
    bootstrap = without_memory(site, f"127.0.0.1:{port}")
    shortage = Shortage(site, bootstrap)
    bootstrap["admin"] = {"address": {"pipe": {"path": f"{site.folder}/admin.sock"}}}
    site.worker(f"unix:{site.folder}/w0.sock")
    envoy = site.envoy(yaml.safe_dump(bootstrap))
    yield Pressed(site, port, shortage, counter)
    assert envoy.stop() == 0


async def test_each_step_is_taken_from_its_share_of_the_memory_and_taken_back(pressed: Pressed) -> None:
    def new_connections() -> list[str]:
        with pressed.caller(http2=False) as one, pressed.caller(http2=True) as other:
            return [one.list_models(), other.list_models()]

    await pressed.until(0.84)
    assert new_connections() == ["200", "200"]
    await pressed.until(0.86)
    assert new_connections() == ["503", "503"]
    await pressed.until(0.91)
    assert new_connections() == ["503", "503"]
    await pressed.until(0.93)
    assert new_connections() == ["closed", "goaway, closed"]
    await pressed.until(0.98)
    assert new_connections() == ["closed", "closed"]
    await pressed.until(0.5)
    assert new_connections() == ["200", "200"]


@pytest.mark.parametrize("http2", [True, False], ids=["http2", "http1"])
async def test_where_memory_is_short_connections_without_a_call_are_not_kept(pressed: Pressed, http2: bool) -> None:
    """Over HTTP/1.1 one whose response nobody reads is such a connection: Envoy has passed all of it on."""
    with pressed.caller(http2=http2) as rests:
        assert rests.list_models() == "200"
        await pressed.until(0.8)
        rests.wait_for_its_end()


@pytest.mark.parametrize("http2", [True, False], ids=["http2", "http1"])
async def test_from_92_percent_connections_that_go_on_sending_are_closed_and_no_others(
    pressed: Pressed, exchange: Any, http2: bool
) -> None:
    question = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hi! [[local: hold=1]]"}]}).encode()
    head = f"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(question)}\r\n"
    key = f"authorization: Bearer {pressed.site.tokens['ci']}\r\nconnection: close\r\n\r\n"
    gateway = SimpleNamespace(origin=f"http://127.0.0.1:{pressed.port}")
    with ThreadPoolExecutor() as pool, pressed.caller(http2=http2) as sends, pressed.caller(http2=http2) as rests:
        waits = pool.submit(exchange, gateway, head.encode() + key.encode() + question)
        end = time.monotonic() + 30
        while "running" not in [call["state"] for call in pressed.local("GET", "calls")]:
            assert time.monotonic() < end
        assert [sends.list_models(), rests.list_models()] == ["200", "200"]
        await pressed.until(0.93)
        assert sends.list_models() == ("goaway, closed" if http2 else "closed")
        pressed.local("POST", "release")
        assert waits.result().status == 200, "a caller who waits for its response gets it"
        await pressed.until(0.5)
        assert rests.list_models() == "200", "a caller who sent nothing meanwhile keeps its connection"


# A whole response, read slowly


class Reader:
    """A caller over HTTP/2 who lets Envoy send no more of a response than it wants to read."""

    def __init__(self, port: int, token: str, method: str, path: str, body: object = None) -> None:
        data = json.dumps(body).encode() if body else b""
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._h2.initiate_connection()
        self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
        headers = {":method": method, ":scheme": "http", ":authority": "gateway", ":path": path}
        headers |= {"authorization": f"Bearer {token}", "content-length": str(len(data))}
        self._h2.send_headers(1, [*headers.items()], end_stream=not data)
        if data:
            self._h2.send_data(1, data, end_stream=True)
        self._read_until(ResponseReceived)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait_for_a_reset(self) -> None:
        """Read nothing more, until Envoy has reset the stream."""
        assert self._read_until(StreamReset)

    def is_whole(self) -> bool:
        """Read the rest; return whether all of it has come."""
        for stream in (None, 1):
            self._h2.increment_flow_control_window(1 << 30, stream)
        return self._read_until(StreamEnded)

    def _read_until(self, kind: type) -> bool:
        """Return whether there was such an event before the end of the connection, or a reset of the stream."""
        self._socket.sendall(self._h2.data_to_send())
        while data := self._socket.recv(65536):
            events = self._h2.receive_data(data)
            if any(isinstance(event, kind | StreamReset) for event in events):
                return any(isinstance(event, kind) for event in events)
        return False


async def test_where_memory_is_short_the_streams_that_hold_most_are_reset_and_others_are_served(
    pressed: Pressed, counter: Any
) -> None:
    token = pressed.site.tokens["ci"]
    with (
        Reader(pressed.port, token, "POST", EMBEDDINGS, VECTORS) as large,
        pressed.caller(http2=True) as neighbour,
    ):
        await pressed.until(0.84)
        large.wait_for_a_reset()
        assert neighbour.list_models() == "200"
    assert await counter(pressed, "envoy.overload_actions.reset_high_memory_stream.count") == 1


@pytest.fixture
def hurried(site: Any) -> Iterator[Any]:
    """A gateway in which all responses have to be read within a tenth of a second, but for one version's of HTTP."""

    def start(kept: str) -> Pressed:
        port = site.port()
        worker = f"unix:{site.folder}/w0.sock"
        admin = f"unix:{site.folder}/admin.sock"
        options = ("--processor", worker, "--admin", admin, "--envoy-memory", "1Gi")
        rendered = site.run("envoy-config", "--listen", f"127.0.0.1:{port}", *options)
        for field in {"stream_flush_timeout", "per_connection_buffer_high_watermark_timeout"} - {kept}:
            rendered, changes = re.subn(rf"(\s{field}): '?\w+'?", r"\1: 0.1s", rendered)
            assert changes == 1, field
        site.worker(worker)
        envoys.append(site.envoy(rendered))
        return Pressed(site, port, None, None)

    envoys: list[Any] = []
    yield start
    assert [envoy.stop() for envoy in envoys] == [0]


async def test_a_caller_over_http2_may_read_its_response_slowly(hurried: Any, counter: Any) -> None:
    """The response to what is no request to the API has the time that all had before."""
    gateway = hurried(kept="per_connection_buffer_high_watermark_timeout")
    token = gateway.site.tokens["ci"]
    with Reader(gateway.port, token, "POST", EMBEDDINGS, VECTORS) as call:
        for _ in range(5):
            with Reader(gateway.port, token, "GET", "/elsewhere") as other:
                other.wait_for_a_reset()
        assert await counter(gateway, "http2.tx_flush_timeout") == 5
        assert call.is_whole()


def test_a_caller_over_http1_who_goes_on_reading_slowly_has_so_long(hurried: Any) -> None:
    """The response is longer than the system's own buffers, so that a part of it stays with Envoy."""
    gateway = hurried(kept="stream_flush_timeout")
    body = json.dumps({**VECTORS, "input": ["x"] * 192}).encode()
    head = f"POST {EMBEDDINGS} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {gateway.site.tokens['ci']}\r\n"
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        caller.settimeout(60)
        caller.connect(("127.0.0.1", gateway.port))
        caller.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        received = bytearray(caller.recv(1000))
        with suppress(ConnectionResetError):
            while received.startswith(b"HTTP/1.1 200") and (piece := caller.recv(65_536)):
                received += piece
                if len(received) >= length_of(received):
                    break
                threading.Event().wait(0.02)  # 3 MB/s at most: more than a tenth of a second for what Envoy has
    assert len(received) < length_of(received)


def length_of(response: bytearray) -> int:
    """The length of a whole response, by its headers."""
    head, _, _ = response.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"content-length: (\d+)", head)
    return len(head) + 4 + int(length)
