"""The listener for probes and scrapers, and those who reach it and mean no good."""

import http.client
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.admin import admin

UNREAD = 700
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
