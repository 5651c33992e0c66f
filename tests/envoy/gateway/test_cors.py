"""The setting `cors.origins`: pages of these origins may call the API, and see what is wrong where something is."""

import json
import os
import signal
from typing import Any

import pytest

from extproc.envoy_config.cors import EXPOSED

PAGE, OTHER = "https://chat.example.com", "https://elsewhere.example.com"
CHAT = "/oai/v1/chat/completions"
STARTED = "cluster.processor.upstream_rq_total"
LIMITED = {"limits": {"request_bytes": 65_536}}


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def with_cors(request: pytest.FixtureRequest, start_shared: Any) -> Any:
    """A gateway for pages of two origins."""
    origins = {"cors": {"origins": ["app://notes", PAGE]}}
    return start_shared({"transport": request.param, **origins, **LIMITED})


@pytest.fixture
def page(with_cors: Any, client_of: Any) -> Any:
    return client_of(with_cors)


def preflight(page: Any, origin: str, path: str = CHAT, method: str = "POST") -> tuple[int, dict[str, str], bytes]:
    """A browser's question before a request with these headers: no token is in it."""
    headers = {"origin": origin, "access-control-request-method": method}
    headers["access-control-request-headers"] = "authorization,content-type,x-stainless-os"
    connection = page.connect()
    try:
        connection.request("OPTIONS", path, headers=headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


async def test_a_preflight_is_answered_without_a_token_and_without_a_worker(
    page: Any, with_cors: Any, counter: Any, local_of: Any
) -> None:
    local_of(with_cors.local_url).forget()
    before = await counter(with_cors, STARTED)
    for origin in (PAGE, "app://notes"):
        for path, method in ((CHAT, "POST"), ("/oai/v1/models", "GET"), ("/v1/chat/completions", "POST")):
            status, headers, _ = preflight(page, origin, path, method)
            assert status == 200
            assert headers["access-control-allow-origin"] == origin
            assert method in headers["access-control-allow-methods"]
            assert headers["access-control-allow-headers"] == "authorization, *"
            assert int(headers["access-control-max-age"]) > 0
            assert "access-control-allow-credentials" not in headers
    assert await counter(with_cors, STARTED) == before
    assert local_of(with_cors.local_url).calls() == []


async def test_a_preflight_of_another_origin_is_a_403_and_costs_no_worker(
    page: Any, with_cors: Any, counter: Any
) -> None:
    before = await counter(with_cors, STARTED)
    for origin in (OTHER, "null", PAGE + ".evil.test", PAGE.replace("https", "http"), "*"):
        status, headers, body = preflight(page, origin)
        assert status == 403
        assert json.loads(body)["error"]["code"] == "origin_not_allowed"
        assert not [name for name in headers if name.startswith("access-control")]
    assert await counter(with_cors, STARTED) == before


def readable(response: Any, origin: str = PAGE) -> Any:
    """The response, if a page of the origin may read it and its headers."""
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-expose-headers"].split(", ") == [*EXPOSED]
    return response


def test_a_response_may_be_read(page: Any) -> None:
    question = json.dumps({"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hi"}]})
    for method, path, body in (("POST", CHAT, question.encode()), ("GET", "/oai/v1/models", None)):
        assert readable(page.exchange(method, path, body, headers=[("origin", PAGE)])).status == 200


def test_a_stream_may_be_read(page: Any) -> None:
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    connection = page.connect()
    page.send(connection, "POST", CHAT, json.dumps(body).encode(), headers=[("origin", PAGE)])
    response = connection.getresponse()
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.read().endswith(b"data: [DONE]\n\n")
    connection.close()


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "token"),
    [
        (400, "POST", CHAT, b"{}", "ci"),
        (401, "POST", CHAT, b"{}", None),
        (403, "GET", "/oai/v1/models", None, "nobody"),
        (404, "GET", "/oai/v1/models/nothing", None, "ci"),
        (404, "POST", "/v1/chat/completions", b"{}", "ci"),
        (405, "DELETE", "/oai/v1/models", None, "ci"),
        (413, "POST", CHAT, b"x" * 70_000, "ci"),
        (413, "POST", CHAT, [b"x" * 70_000, b"x" * 70_000], "ci"),
    ],
)
def test_an_error_may_be_read(page: Any, status: int, method: str, path: str, body: Any, token: str | None) -> None:
    response = page.exchange(method, path, body, headers=[("origin", PAGE)], token=token)
    assert readable(response).status == status
    assert response.error["message"]


def test_a_429_of_envoys_may_be_read(start_gateway: Any, client_of: Any) -> None:
    """Beyond the limit by address, which is no matter of the worker's."""
    limited = {"cors": {"origins": [PAGE]}, "limits": {"address_requests_per_second": 1}}
    page = client_of(start_gateway(limited))
    sent = [page.exchange("GET", "/oai/v1/models", headers=[("origin", PAGE)], token=None) for _ in range(50)]
    rejected = [response for response in sent if response.status == 429]
    assert readable(rejected[0]).headers["retry-after"] == "1"


def test_a_503_without_a_worker_may_be_read(start_gateway: Any, client_of: Any, eventually: Any) -> None:
    gateway = start_gateway({"cors": {"origins": [PAGE]}})
    gateway.expect_restarts()
    [worker] = gateway.pids("extproc.worker.command")
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: worker not in gateway.pids("extproc.worker.command"))
    response = client_of(gateway).exchange("GET", "/oai/v1/models", headers=[("origin", PAGE)])
    assert readable(response).status == 503
    assert response.error["code"] == "processor_unavailable"


def test_a_response_for_another_origin_or_none_says_nothing_of_origins(page: Any) -> None:
    for headers in ([("origin", OTHER)], []):
        response = page.exchange("GET", "/oai/v1/models", headers=headers)
        assert response.status == 200
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_any_origin(start_gateway: Any, client_of: Any) -> None:
    page = client_of(start_gateway({"cors": {"origins": ["*"]}}))
    for origin in (PAGE, "null"):
        status, headers, _ = preflight(page, origin)
        assert (status, headers["access-control-allow-origin"]) == (200, origin)
        readable(page.exchange("GET", "/oai/v1/models", headers=[("origin", origin)]), origin)
        assert "access-control-allow-credentials" not in headers


def test_without_the_setting_there_is_no_cors(client: Any) -> None:
    response = client.exchange("GET", "/oai/v1/models", headers=[("origin", PAGE)])
    assert not [name for name in response.headers if name.startswith("access-control")]
    status, headers, _ = preflight(client, PAGE)
    assert status >= 400
    assert not [name for name in headers if name.startswith("access-control")]


def test_a_change_needs_a_restart_and_the_log_says_so(start_gateway: Any) -> None:
    gateway = start_gateway()
    since = len(gateway.log())
    with gateway.config_path.open("a") as file:
        file.write(f"cors: {{origins: ['{PAGE}']}}\n")
    gateway.wait_for(r"`cors` has changed: that needs a restart", since)
