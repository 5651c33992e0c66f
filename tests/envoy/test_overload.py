"""Envoy's own last defence: what it does when its memory runs out, with a real Envoy that has none."""

import re
import socket
import time
from types import SimpleNamespace
from typing import Any

import yaml


def without_memory(site: Any, listen: str) -> Any:
    """The bootstrap of an Envoy whose heap may have one byte."""
    worker = f"unix:{site.folder}/w0.sock"
    rendered = site.run("envoy-config", "--listen", listen, "--processor", worker, "--envoy-memory", "64Mi")
    bootstrap, changes = re.subn(r"max_heap_size_bytes: '?\d+'?", "max_heap_size_bytes: 1", rendered)
    assert changes == 1
    return yaml.safe_load(bootstrap)


def test_an_envoy_with_no_memory_at_all_takes_no_connection(site: Any) -> None:
    port = site.port()
    site.envoy(yaml.safe_dump(without_memory(site, f"127.0.0.1:{port}")))
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


def test_an_envoy_with_little_memory_answers_in_openais_shape(site: Any, exchange: Any) -> None:
    """Its last steps, which end connections, are left out: with one byte it takes them all at once."""
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
        answer = exchange(gateway, request)
        assert answer.status == 503, answer
        if answer.error["code"] == "service_unavailable":
            break
    assert answer.error["code"] == "service_unavailable"
    assert (answer.error["type"], answer.headers["retry-after"]) == ("server_error", "1")
    assert answer.headers["x-request-id"]
    assert envoy.stop() == 0
