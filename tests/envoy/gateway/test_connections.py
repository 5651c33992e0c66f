"""Envoy's costs of connections: those that do not read, those that are idle, and more than there are open files."""

import contextlib
import json
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.gateway.test_floods import Flooder

NOVA = "amazon.nova-micro-v1:0"
CHAT = "/oai/v1/chat/completions"
MIB = 1024 * 1024
DEADLINE = 30.0

UNREAD = 40
"""Callers that do not read."""

MOST_UNREAD = 1 * MIB
"""Bytes that a connection may cost Envoy, and a worker; it was 46 MB of Envoy's, and 1.7 of a worker's on grpcio."""


@pytest.fixture
def endless(event: Callable[..., bytes]) -> Iterator[Any]:
    """A Bedrock whose streams end when no caller reads them; `sent` counts their bytes."""
    pieces = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * 200}}) * 200

    class EndlessStream(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "application/vnd.amazon.eventstream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            server.calls += 1
            piece = event("messageStart", {"role": "assistant"})
            with suppress(OSError):
                while not server.over.is_set():
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    server.sent += len(piece)
                    piece = pieces
            self.close_connection = True

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Not in the test's output."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        sent = calls = 0
        over = threading.Event()

    server = Server(("127.0.0.1", 0), EndlessStream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def until_it_stays(read: Callable[[], int], eventually: Callable[..., Any]) -> int:
    """The value that `read` returns ten times in a row."""
    readings: list[int] = []

    def steady() -> bool:
        readings.append(read())
        threading.Event().wait(0.05)
        return len(readings) > 10 and len(set(readings[-10:])) == 1

    eventually(steady)
    return readings[-1]


async def allocated(counter: Any, gateway: Any) -> int:
    number: int = await counter(gateway, "server.memory_allocated")
    return number


@pytest.mark.parametrize("version", ["http1", "http2"])
async def test_a_caller_that_does_not_read_costs_little_and_stops_bedrock(
    version: str,
    endless: Any,
    start_gateway: Any,
    client_of: Callable[[Any], Any],
    counter: Any,
    eventually: Callable[..., Any],
) -> None:
    url = f"http://127.0.0.1:{endless.server_port}"
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test-secret"}
    files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    environment = {**keys, **files, "AWS_ENDPOINT_URL": url}
    gateway = start_gateway(env=environment, args=("--upstream", "aws"))
    client = client_of(gateway)
    body = {"model": NOVA, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    [worker] = gateway.pids("extproc.worker.command")
    before, worker_before = await allocated(counter, gateway), resident(worker)
    with ExitStack() as callers:
        unread(version, client, body, callers)
        eventually(lambda: endless.calls == UNREAD)
        until_it_stays(lambda: int(endless.sent), eventually)
        held = await allocated(counter, gateway) - before
        held_by_worker = resident(worker) - worker_before
    assert held < UNREAD * MOST_UNREAD, f"{held / UNREAD / MIB:.1f} MiB for each"
    assert held_by_worker < UNREAD * MOST_UNREAD, f"{held_by_worker / UNREAD / MIB:.1f} MiB for each"


def unread(version: str, client: Any, body: object, callers: ExitStack) -> None:
    """Make `UNREAD` calls, and read nothing of their responses."""
    if version == "http1":
        for _ in range(UNREAD):
            client.send(callers.enter_context(closing(client)), "POST", CHAT, json.dumps(body).encode())
        return
    caller = Flooder(client, "ci")
    callers.callback(caller.close)
    for _ in range(UNREAD):
        caller.request(CHAT, body)
    caller.send()


def resident(pid: int) -> int:
    """The memory that a process has, in bytes."""
    (pages,) = re.findall(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(pages) * 1024


class closing:  # noqa: N801 - as contextlib's
    """A connection of `client`'s that is closed at the end."""

    def __init__(self, client: Any) -> None:
        self._connection = client.connect()

    def __enter__(self) -> Any:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def idle(client: Any, callers: ExitStack, count: int) -> list[socket.socket]:
    """Open so many connections that send nothing."""
    address = (client.host, client.port)
    return [callers.enter_context(socket.create_connection(address, timeout=DEADLINE)) for _ in range(count)]


@pytest.fixture
def few_files(start_gateway: Any) -> Any:
    """A gateway that may open no more than 1,024 files."""
    return start_gateway(files=1024)


def test_more_connections_than_open_files_do_not_stop_those_that_are_there(
    few_files: Any, client_of: Callable[[Any], Any], eventually: Callable[..., Any]
) -> None:
    assert "at most 1024 files may be open" in few_files.log()
    client = client_of(few_files)
    with ExitStack() as callers:
        mine = callers.enter_context(closing(client))
        body = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hello"}]}).encode()
        assert client.exchange("POST", CHAT, body, connection=mine).status == 200
        silent = idle(client, callers, 600)
        eventually(lambda: sum(map(closed, silent)) >= 600 - 384, "more connections are taken than there are files for")
        assert client.exchange("POST", CHAT, body, connection=mine).status == 200
        [envoy] = few_files.pids("envoy.yaml")
        assert len(os.listdir(f"/proc/{envoy}/fd")) < 1024 - 384
        eventually(lambda: client.health() == 200, "connections that say nothing are not closed")
        assert client.chat("Hello").status == 200


def test_connections_that_are_gone_are_no_open_files_for_long(
    few_files: Any, client_of: Callable[[Any], Any], eventually: Callable[..., Any]
) -> None:
    """Each sends a byte of a request and a RST, which Envoy does not see while an inspector waits for the rest."""
    client = client_of(few_files)
    [envoy] = few_files.pids("envoy.yaml")

    def files() -> int:
        return len(os.listdir(f"/proc/{envoy}/fd"))

    before = files()
    with ExitStack() as callers:
        [slow, silent] = idle(client, callers, 2)
        slow.sendall(b"GET /oai/v1/models HTTP/1.1\r\n")
        for _ in range(100):
            with socket.create_connection((client.host, client.port), timeout=DEADLINE) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                gone.sendall(b"G")
        eventually(lambda: files() < before + 20, "connections that are gone are kept")
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):  # there would be a 408 if they were kept for as long as headers may take
            slow.recv(1)
        eventually(lambda: closed(silent), "a connection that says nothing is not closed")


def test_an_organisation_does_not_take_all_open_files_by_streams_of_few_connections(
    few_files: Any, client_of: Callable[[Any], Any], local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    client, local = client_of(few_files), local_of(few_files.local_url)
    held = {"model": NOVA, "messages": [{"role": "user", "content": "Hello! [[local: hold]]"}]}
    with ExitStack() as stack:
        for _ in range(6):
            caller = stack.enter_context(contextlib.closing(Flooder(client, "ci")))
            for _ in range(90):
                caller.request(CHAT, held)
            caller.send()
        # Half of the 384 calls that there are files for; bodies count a little.
        eventually(lambda: len(local.calls()) > 180, "half of the calls that there are files for")
        assert until_it_stays(lambda: len(local.calls()), eventually) <= 192
        assert client.chat("Hello!", token="limited").status == 200
        assert client.chat("Hello!").status == 429
        local.release()


def closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("program", ["envoy.yaml", "extproc.worker.command"])
def test_programs_may_open_as_many_files_as_the_system_lets_them(gateway: Any, program: str) -> None:
    [pid] = gateway.pids(program)
    with open(f"/proc/{pid}/limits") as limits:
        soft, hard = re.findall(r"Max open files\s+(\d+)\s+(\d+)", limits.read())[0]
    assert soft == hard
