"""Routes: each path with its method; every other request gets an error in OpenAI's shape."""

import json
from typing import Any
from urllib.parse import quote

import pytest

NOVA = "amazon.nova-micro-v1:0"
SERVED = (
    "POST /oai/v1/chat/completions",
    "POST /oai/v1/embeddings",
    "GET /oai/v1/models",
    "GET /oai/v1/models/{model}",
)


@pytest.mark.parametrize(
    "path",
    [
        "images/generations",
        "audio/speech",
        "audio/transcriptions",
        "moderations",
        "assistants",
        "threads/thread_1/runs",
        "responses",
        "batches",
        "files",
        "completions",
        "fine_tuning/jobs",
        "engines",
        "chat",
        "chat/completions/chatcmpl-1",
        "embeddings/x",
        "",
    ],
)
def test_a_route_that_is_not_served_is_a_404_that_names_the_served_ones(client: Any, path: str) -> None:
    response = client.post(path, {"model": NOVA})
    assert response.status == 404
    for endpoint in SERVED:
        assert endpoint in response.error["message"]


def test_the_bare_base_url_is_a_404_that_names_what_is_served(client: Any) -> None:
    response = client.exchange("GET", "/oai/v1")
    assert response.status == 404
    assert SERVED[0] in response.error["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/chat/completions",
        "/oai",
        "/oai/v1x/models",
        "/oai/v2/models",
        "/OAI/V1/models",
        "//oai/v1/models",
        "/oai/v1/../x",
        "/oai/v1/%2e%2e/x",
        "/oai%2Fv1/models",
        "/healthz/x",
        "/model/amazon.nova-micro-v1%3A0/converse",
        "/stats",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_paths_outside_the_api_name_the_path_of_the_api(client: Any, local: Any, method: str, path: str) -> None:
    response = client.exchange(method, path, b"{}" if method == "POST" else None)
    assert response.status == 404
    assert "/oai/v1" in response.error["message"]
    assert local.calls() == []


@pytest.mark.parametrize("path", ["/x/../oai/v1/models", "/oai/v1/./models", "/oai/v1/x/%2E%2E/models"])
def test_dots_in_a_path_are_resolved_and_open_no_other_route(client: Any, path: str) -> None:
    assert client.exchange("GET", path).status == 200
    assert client.exchange("GET", path, token=None).status == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "chat/completions", "POST"),
        ("PUT", "chat/completions", "POST"),
        ("OPTIONS", "chat/completions", "POST"),
        ("GET", "embeddings", "POST"),
        ("DELETE", "embeddings", "POST"),
        ("POST", "models", "GET"),
        ("DELETE", f"models/{NOVA}", "GET"),
        ("PATCH", "models/x", "GET"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(client: Any, method: str, path: str, allowed: str) -> None:
    response = client.exchange(method, f"/oai/v1/{path}", b"{}" if method != "GET" else None)
    assert response.status == 405
    assert response.headers["allow"] == allowed
    assert allowed in response.error["message"]


def test_head_gets_a_response_without_a_body(client: Any) -> None:
    connection = client.connect()
    client.send(connection, "HEAD", "/oai/v1/models")
    response = connection.getresponse()
    assert response.status == 405
    assert response.headers["allow"] == "GET"
    assert response.read() == b""
    client.send(connection, "GET", "/oai/v1/models")
    assert connection.getresponse().status == 200
    connection.close()


def test_every_listed_model_can_be_retrieved_by_its_id(client: Any) -> None:
    models = client.exchange("GET", "/oai/v1/models").json()
    assert models["object"] == "list"
    ids = [model["id"] for model in models["data"]]
    assert {"anthropic.claude-sonnet-4-6", NOVA, "us.anthropic.claude-sonnet-4-6"} < set(ids)
    assert any(name.startswith("arn:") and "/" in name for name in ids)
    for model in models["data"]:
        response = client.exchange("GET", f"/oai/v1/models/{quote(model['id'], safe='')}")
        assert response.status == 200
        assert response.json() == model


def test_a_models_id_may_be_encoded_or_not(client: Any) -> None:
    arn = next(model["id"] for model in client.exchange("GET", "/oai/v1/models").json()["data"] if "/" in model["id"])
    spellings = (arn, quote(arn, safe=""), arn.replace("/", "%2f"), arn.replace(":", "%3A"))
    assert {client.exchange("GET", f"/oai/v1/models/{spelling}").json()["id"] for spelling in spellings} == {arn}
    assert client.exchange("GET", f"/oai/v1/models/{NOVA}").json()["id"] == NOVA
    assert client.exchange("GET", f"/oai/v1/models/{NOVA.replace(':', '%3A')}").json()["id"] == NOVA


def test_a_model_can_be_called_by_its_arn(client: Any, local: Any) -> None:
    arn = next(model["id"] for model in client.exchange("GET", "/oai/v1/models").json()["data"] if "/" in model["id"])
    response = client.chat("Hello!", model=arn)
    assert "Hello!" in response.content
    assert response.json()["model"] == arn
    assert [call["model"] for call in local.calls()] == [arn]


@pytest.mark.parametrize("name", ["gpt-4o", "..%2fchat%2fcompletions", "%2e%2e%2f", "%F0%9F%98%80", "x" * 3000])
def test_a_model_that_is_not_there_is_not_found(client: Any, name: str) -> None:
    response = client.exchange("GET", f"/oai/v1/models/{name}")
    assert response.status == 404
    assert (response.error["code"], response.error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize("name", ["..", "a/b/../c", "../../model/x/converse", "é?#%2F", "%2e%2e", "x y"])
def test_an_impossible_model_id_never_reaches_bedrock(client: Any, local: Any, name: str) -> None:
    response = client.chat("Hello!", model=name)
    assert (response.status, response.error["code"], response.error["param"]) == (404, "model_not_found", "model")
    assert local.calls() == []


@pytest.mark.parametrize("name", ["gpt-4o", "a.b:c", "arn:aws:bedrock:us-east-1:123456789012:prompt/ABCDE12345:1"])
def test_a_model_id_that_is_not_listed_is_one_segment_of_bedrocks_path(client: Any, local: Any, name: str) -> None:
    response = client.chat("Hello!", model=name)
    assert response.status in (400, 404)
    assert [(call["operation"], call["model"]) for call in local.calls()] == [("Converse", name)]


def test_a_query_changes_nothing(client: Any, local: Any) -> None:
    plain = client.exchange("GET", "/oai/v1/models")
    assert client.exchange("GET", "/oai/v1/models?limit=1&after=x").json() == plain.json()
    body = json.dumps({"model": NOVA, "messages": [{"role": "user", "content": "Hello!"}]}).encode()
    assert client.exchange("POST", "/oai/v1/chat/completions?api-version=2024-10-21", body).status == 200
    assert client.exchange("GET", f"/oai/v1/models/{NOVA}?x=/y").json()["id"] == NOVA


def test_a_slash_at_the_end_changes_nothing(client: Any) -> None:
    assert client.exchange("GET", "/oai/v1/models/").json()["object"] == "list"


@pytest.mark.parametrize(
    "data",
    [
        b"BREW /oai/v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /oai/v1/models/a%00b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /oai/v1/%zz/../models HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /oai/v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: zip\r\n\r\n",
        b"POST /oai/v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET /oai/v1/models HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request_get_an_error_in_openais_shape(client: Any, local: Any, data: bytes) -> None:
    assert 400 <= client.raw(data).status <= 501
    assert local.calls() == []
