"""Uploads that are begun and not finished, through a real Envoy: what they hold, and what is left for others."""

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from extproc.config.capacity import ENVOY_PER_BYTE, SLOW_ENVOY_PER_BYTE, STREAM_BYTES
from tests.admin import admin

WHOLE = 32_000_000
REASONABLE = 2_000_000
DEADLINE = 30.0


def start_upload(client: Any, size: int, token: str, organisation: str) -> socket.socket:
    """A request that has sent its headers and one byte of its body."""
    connection = socket.create_connection((client.host, client.port), timeout=DEADLINE)
    lines = [
        "POST /oai/v1/chat/completions HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {client.tokens[token]}",
        f"openai-organization: {organisation}",
        f"content-length: {size}",
    ]
    connection.sendall("\r\n".join([*lines, "", "{"]).encode())
    return connection


def response_to(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the error of a response."""
    with connection.makefile("rb") as response:
        status = int(response.readline().split()[1])
        headers = dict(line.decode().lower().strip().split(": ", 1) for line in iter(response.readline, b"\r\n"))
        error: dict[str, Any] = json.loads(response.read(int(headers["content-length"])))["error"]
    return status, error


def padded(size: int) -> bytes:
    """A chat request of so many bytes."""
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello"}]}
    data = json.dumps(body).encode()
    return data + b" " * (size - len(data))


@pytest.fixture(scope="module")
def crowded(start_shared: Any) -> Any:
    """A gateway of which each organisation may have a half."""
    return start_shared({"limits": {"request_bytes": 8_000_000, "in_flight_bytes": WHOLE}})


@pytest.fixture
def client(crowded: Any, client_of: Callable[[Any], Any]) -> Iterator[Any]:
    yield client_of(crowded)
    assert "Traceback" not in crowded.log()
    assert "ended in error" not in crowded.log()


def test_two_organisations_that_upload_without_end_leave_something_for_a_third(
    client: Any, eventually: Callable[..., Any]
) -> None:
    """Each begins more uploads than the budget holds, large ones first, until one is rejected."""
    with ExitStack() as uploads:
        for token, organisation in (("ci", "acme"), ("both", "umbrella")):
            for size in (8_000_000, 2_000_000, 500_000):
                number = WHOLE // (size + STREAM_BYTES) + 1
                started = [start_upload(client, size, token, organisation) for _ in range(number)]
                for connection in started:
                    uploads.enter_context(connection)
                rejected, _, _ = select.select(started, [], [], DEADLINE)
                status, error = response_to(rejected[0])
                assert (status, error["type"]) in ((429, "rate_limit_error"), (503, "server_error"))
        assert client.post("chat/completions", padded(REASONABLE), token="limited").status == 200
        assert client.chat("Hello", token="limited").status == 200
    body = padded(8_000_000)
    eventually(lambda: client.post("chat/completions", body).status == 200, "some of the budget was not released")


def test_uploads_that_drip_are_a_408_and_others_are_served_meanwhile(
    start_gateway: Any, client_of: Callable[[Any], Any], eventually: Callable[..., Any]
) -> None:
    """Their bytes never cease, so no idle timer of Envoy's runs out. They hold their whole share.

    Those are rejected soon for which there is no room in small pieces.
    """
    size, responses = 1_000_000, list[tuple[int, str, str]]()
    gateway = start_gateway({"limits": {"request_bytes": size, "in_flight_bytes": WHOLE, "upload_seconds": 2}})
    client, served = client_of(gateway), 0
    with ExitStack() as uploads:
        number = WHOLE // 2 // (size + STREAM_BYTES)
        dripping = {uploads.enter_context(start_upload(client, size, "ci", "acme")) for _ in range(number)}
        while dripping:
            ready, _, _ = select.select(dripping, [], [], 0.05)
            for connection in ready:
                status, error = response_to(connection)
                responses.append((status, error["type"], error["code"]))
                dripping.remove(connection)
            for connection in dripping:
                with suppress(ConnectionError):  # the response came meanwhile, and is there to be read
                    connection.send(b" ")
            assert client.chat("Hello", token="limited").status == 200
            served += 1
    assert served > 1
    assert set(responses) == {
        (408, "invalid_request_error", "request_timeout"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
    }
    body = padded(size)
    eventually(lambda: client.post("chat/completions", body).status == 200, "some of the budget was not released")
    assert "Traceback" not in gateway.log()
    assert "ended in error" not in gateway.log()


def test_a_body_in_small_pieces_takes_envoy_no_more_than_it_counts(client: Any, crowded: Any) -> None:
    """A read of 512 bytes keeps 16 KiB, a shorter one is copied: what `SLOW_ENVOY_PER_BYTE` was measured with."""
    piece, number = 512, 500
    with start_upload(client, (number + 1) * piece, "ci", "acme") as upload:
        upload.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = allocated(crowded)
        for _ in range(number):
            upload.sendall(b" " * piece)
            wait_until_read(upload)
        taken = allocated(crowded) - before
    assert 2 * ENVOY_PER_BYTE < taken / (number * piece) < SLOW_ENVOY_PER_BYTE


def allocated(gateway: Any) -> int:
    """Return Envoy's memory in bytes."""
    return int(json.loads(admin(gateway.run_directory / "admin.sock", "/memory"))["allocated"])


def wait_until_read(connection: socket.socket) -> None:
    """Wait until its other end, on this machine, has read all that was sent."""
    ends = f":{connection.getpeername()[1]:04X} ", f":{connection.getsockname()[1]:04X} "
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        [line] = [
            line
            for line in Path("/proc/net/tcp").read_text().splitlines()
            if ends[0] in line[:20] and ends[1] in line[20:35]
        ]
        if line.split()[4].endswith(":00000000"):
            return
    pytest.fail("it is not read")
