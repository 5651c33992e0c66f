"""The listener for probes and scrapers, and those who reach it and mean no good."""

import http.client
import re
import socket
import struct
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.admin import admin

UNREAD = 700
GIVEN_UP = 300
ROOM = 50
"""MiB; without a bound, pages that nobody reads took Envoy 113."""


def statistic(path: Path, name: str) -> int:
    _, _, value = admin(path, f"/stats?filter=^{re.escape(name)}$").decode().partition(": ")
    return int(value)


def resident(pid: int) -> int:
    """Return the memory of a process, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def test_pages_of_metrics_that_nobody_reads_take_little_memory(site: Any) -> None:
    port, admin = site.port(), site.folder / "admin.sock"
    listeners = ("--listen", f"127.0.0.1:{site.port()}", "--health", f"127.0.0.1:{port}", "--admin", f"unix:{admin}")
    envoy = site.envoy(site.run("envoy-config", *listeners, "--processor", f"unix:{site.folder}/w0.sock"))
    assert get(port, "/metrics") == 200
    before = resident(envoy.process.pid)
    with ExitStack() as stack:
        for _ in range(UNREAD):
            scraper = stack.enter_context(socket.socket())
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            scraper.connect(("127.0.0.1", port))
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nhost: envoy\r\n\r\n")
        end = time.monotonic() + 60
        while statistic(admin, "http.health.downstream_rq_total") <= UNREAD:
            assert time.monotonic() < end
        assert get(port, "/healthz") == 503  # there is no worker
        assert resident(envoy.process.pid) - before < ROOM
    while get(port, "/metrics") != 200:
        assert time.monotonic() < end


def test_scrapes_that_are_given_up_do_not_keep_the_main_thread_busy(site: Any) -> None:
    port, admin = site.port(), site.folder / "admin.sock"
    listeners = ("--listen", f"127.0.0.1:{site.port()}", "--health", f"127.0.0.1:{port}", "--admin", f"unix:{admin}")
    site.envoy(site.run("envoy-config", *listeners, "--processor", f"unix:{site.folder}/w0.sock"))
    for _ in range(GIVEN_UP):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as scraper:
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nhost: envoy\r\n\r\n")
            scraper.recv(1)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(GIVEN_UP):
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read()
        if response.status == 429:
            break
    assert (response.status, body, response.getheader("retry-after")) == (429, b"local_rate_limited", "1")
    assert response.getheader("content-type") == "text/plain"
    connection.close()
    assert get(port, "/healthz") == 503  # there is no worker
    assert statistic(admin, "scrapes.http_local_rate_limit.rate_limited") > 0


def test_connections_without_a_request_take_few_files_and_are_closed(site: Any) -> None:
    port, admin = site.port(), site.folder / "admin.sock"
    listeners = ("--listen", f"127.0.0.1:{site.port()}", "--health", f"127.0.0.1:{port}", "--admin", f"unix:{admin}")
    rendered = site.run("envoy-config", *listeners, "--processor", f"unix:{site.folder}/w0.sock")
    site.envoy(rendered.replace("health.connection_limit: 1000.0", "health.connection_limit: 100.0"))
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(200)]
        end = time.monotonic() + 60
        while statistic(admin, f"listener.127.0.0.1_{port}.downstream_cx_overflow") < 100:
            assert time.monotonic() < end, "more than the limit are kept"
        while not all(map(is_closed, idle)):
            assert time.monotonic() < end, "they are not closed"
            time.sleep(0.1)
    assert get(port, "/healthz") == 503  # there is no worker


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
