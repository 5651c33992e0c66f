"""Envoy's own last defence: what it answers when its memory runs out, with a real Envoy that has none."""

import re
from types import SimpleNamespace
from typing import Any

import yaml


def test_an_envoy_without_memory_answers_in_openais_shape(site: Any, exchange: Any) -> None:
    listen = f"127.0.0.1:{site.port()}"
    socket = f"unix:{site.folder}/w0.sock"
    rendered = site.run("envoy-config", "--listen", listen, "--processor", socket, "--envoy-memory", "64Mi")
    bootstrap, changes = re.subn(r"max_heap_size_bytes: '?\d+'?", "max_heap_size_bytes: 1", rendered)
    assert changes == 1
    manager = yaml.safe_load(bootstrap)["overload_manager"]
    assert "envoy.overload_actions.stop_accepting_requests" in [action["name"] for action in manager["actions"]]
    envoy = site.envoy(bootstrap)
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
