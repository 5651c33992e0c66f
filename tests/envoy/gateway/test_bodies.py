"""Request bodies: an error names the field's path, however large the body is and however it arrives."""

import base64
import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

CHAT = "/oai/v1/chat/completions"
NOVA = "amazon.nova-micro-v1:0"
NOVA_LITE = "amazon.nova-lite-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
LIMIT = 65_536
DEFAULT_LIMIT = 32 * 1024 * 1024

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def user(content: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": content}]


def image(url: object) -> list[dict[str, object]]:
    return user([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}])


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


IMAGE = "messages[0].content[1].image_url.url"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello!"}, "messages"),
        ({"messages": ["Hello!"]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [*user("Hello!"), {"role": "wizard", "content": "x"}]}, "messages[1].role"),
        ({"messages": user(5)}, "messages[0].content"),
        ({"messages": user("  ")}, "messages"),
        ({"messages": user([{"type": "hologram"}])}, "messages[0].content[0].type"),
        ({"messages": image("data:image/png;base64,not base64!")}, IMAGE),
        ({"messages": image(data_url(b"this is a text"))}, IMAGE),
        ({"messages": image("data:image/png;base64,")}, IMAGE),
        ({"messages": image("http://127.0.0.1:1/cat.png")}, IMAGE),
        ({"messages": image(5)}, IMAGE),
        ({"messages": user("Hello!"), "model": ""}, "model"),
        ({"messages": user("Hello!"), "model": 5}, "model"),
        ({"messages": user("Hello!"), "stream": "yes"}, "stream"),
        ({"messages": user("Hello!"), "max_tokens": 1.5}, "max_tokens"),
        ({"messages": user("Hello!"), "max_tokens": 10**30}, "max_tokens"),
        ({"messages": user("Hello!"), "n": 2}, "n"),
        ({"messages": user("Hello!"), "tools": [{"type": "function"}]}, "tools[0].function"),
        ({"messages": user("Hello!"), "no_such_field": 1}, "no_such_field"),
    ],
)
def test_a_fault_in_a_chat_request_is_a_400_that_names_the_field(
    client: Any, local: Any, fields: dict[str, object], param: str
) -> None:
    response = client.post("chat/completions", {"model": NOVA, **fields})
    assert response.status == 400
    assert response.error["param"] == param
    assert response.error["type"] == "invalid_request_error"
    assert local.calls() == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": "a", "dimensions": 5}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "model": NOVA}, "model"),
        ({"input": "a", "no_such_field": 1}, "no_such_field"),
        ({"input": ["x"] * 2049}, "input"),
        ({"input": ["a", "x" * 60_000]}, "input[1]"),
    ],
)
def test_a_fault_in_an_embeddings_request_is_a_400_that_names_the_field(
    client: Any, local: Any, fields: dict[str, object], param: str
) -> None:
    response = client.post("embeddings", {"model": TITAN, **fields})
    assert response.status == 400
    assert response.error["param"] == param
    assert local.calls() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"model": "x", "messages": [',
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"model=x&messages=y",
        b'{"model": "\xff", "messages": []}',
        b'{"model": "\\ud83d", "messages": []}',
        b"\x00",
        b"\xef\xbb\xbf{}",
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 1_000_000,
        b'{"model": "x"} {"model": "y"}',
    ],
    ids=range(14),
)
@pytest.mark.parametrize("path", ["chat/completions", "embeddings"])
def test_a_body_that_is_no_json_object_is_a_400(client: Any, local: Any, path: str, body: bytes) -> None:
    response = client.post(path, body)
    assert response.status == 400
    assert response.error["type"] == "invalid_request_error"
    assert local.calls() == []


@pytest.mark.parametrize("path", ["chat/completions", "embeddings"])
def test_a_post_without_a_body_is_a_400(client: Any, path: str) -> None:
    assert client.exchange("POST", f"/oai/v1/{path}", b"").status == 400
    assert client.exchange("POST", f"/oai/v1/{path}").status == 400
    assert client.exchange("POST", f"/oai/v1/{path}", iter([])).status == 400


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "zstd", "deflate, gzip"])
def test_a_compressed_body_is_a_415(client: Any, local: Any, encoding: str) -> None:
    body = gzip.compress(json.dumps({"model": NOVA, "messages": user("Hello!")}).encode())
    response = client.post("chat/completions", body, headers=[("content-encoding", encoding)])
    assert response.status == 415
    assert "content-encoding" in response.error["message"]
    assert local.calls() == []


@pytest.mark.parametrize(
    "kind", [None, "application/x-www-form-urlencoded", "text/plain", "application/json; charset=x"]
)
def test_the_content_type_of_a_request_is_of_no_account(client: Any, kind: str | None) -> None:
    headers = [("content-type", kind)] if kind else []
    response = client.post("chat/completions", {"model": NOVA, "messages": user("Hello!")}, headers=headers)
    assert "Hello!" in response.content


def test_a_connection_goes_on_after_an_error_response(client: Any) -> None:
    connection = client.connect()
    body = json.dumps({"model": NOVA, "messages": user("Hello!")}).encode()
    for wrong in (b"{", b'{"model": "x", "messages": []}'):
        assert client.exchange("POST", CHAT, wrong, connection=connection).status == 400
        assert client.exchange("POST", CHAT, body, connection=connection).status == 200
    assert client.exchange("POST", CHAT, body, token="nobody", connection=connection).status == 403
    connection.close()


# Large ones


@pytest.fixture
def narrow(strict: Any, client_of: Any) -> Any:
    """A client of a gateway that takes no more than `LIMIT`."""
    return client_of(strict)


def padded(size: int) -> bytes:
    """A good request of exactly so many bytes."""
    body = json.dumps({"model": NOVA, "messages": user("Hello!")}).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def pieces(body: bytes, size: int = 10_000) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def test_a_body_that_is_announced_as_too_large_is_not_waited_for(narrow: Any) -> None:
    response = narrow.exchange("POST", CHAT, headers=[("content-length", str(LIMIT + 1))])
    assert response.status == 413
    assert response.error["code"] == "request_too_large"
    assert str(LIMIT) in response.error["message"]


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 5 // 4, LIMIT * 5 // 4 + 1, 10 * LIMIT])
def test_a_body_that_turns_out_too_large_is_a_413(narrow: Any, size: int) -> None:
    response = narrow.exchange("POST", CHAT, pieces(padded(size)))
    assert response.status == 413
    assert response.error["code"] == "request_too_large"
    assert str(LIMIT) in response.error["message"]


def test_a_body_of_just_the_limit_is_taken(narrow: Any) -> None:
    assert "Hello!" in narrow.exchange("POST", CHAT, padded(LIMIT)).content
    assert "Hello!" in narrow.exchange("POST", CHAT, pieces(padded(LIMIT))).content


def test_the_default_limit_is_the_documented_one(client: Any) -> None:
    response = client.exchange("POST", CHAT, headers=[("content-length", str(DEFAULT_LIMIT + 1))])
    assert response.status == 413
    assert str(DEFAULT_LIMIT) in response.error["message"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_upload_works_however_it_is_cut(client: Any, size: int) -> None:
    body = json.dumps({"model": NOVA, "messages": user("Hello! " * 20)}).encode()
    assert "Hello! Hello!" in client.exchange("POST", CHAT, pieces(body, size)).content


def test_trailers_after_an_upload_are_of_no_account(client: Any) -> None:
    body = json.dumps({"model": NOVA, "messages": user("Hello!")}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.tokens['ci']}\r\n"
    upload = f"transfer-encoding: chunked\r\n\r\n{len(body):x}\r\n{body.decode()}\r\n0\r\nx-checksum: 1\r\n\r\n"
    assert "Hello!" in client.raw((head + upload).encode()).content


def test_a_body_where_none_belongs_is_ignored(client: Any) -> None:
    assert client.exchange("GET", "/oai/v1/models", b"{}").status == 200


def test_a_client_that_waits_for_100_continue_gets_it(client: Any) -> None:
    body = json.dumps({"model": NOVA, "messages": user("Hello!")}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.tokens['ci']}\r\n"
        f"content-length: {len(body)}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        connection.sendall(head.encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"Hello!" in response


def test_a_client_that_waits_for_100_continue_gets_its_401_without_a_body(client: Any) -> None:
    """Envoy sends the 100 by itself, before a worker has seen the token."""
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n"
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        connection.sendall(head.encode())
        response = b""
        while b"HTTP/1.1 401 " not in response:
            received = connection.recv(4096)
            assert received, response
            response += received


def test_twenty_megabytes_of_images_are_taken(client: Any, local: Any) -> None:
    pictures = [
        {"type": "image_url", "image_url": {"url": data_url(PNG + bytes([number]) * 2_950_000)}} for number in range(5)
    ]
    body = json.dumps({"model": NOVA_LITE, "messages": user([{"type": "text", "text": "Look!"}, *pictures])}).encode()
    assert 19_000_000 < len(body) < DEFAULT_LIMIT
    assert "5 images" in client.exchange("POST", CHAT, body).content
    assert "5 images" in client.exchange("POST", CHAT, pieces(body, 100_000)).content
    sent = [part for part in local.calls()[-1]["body"]["messages"][0]["content"] if "image" in part]
    assert [base64.b64decode(part["image"]["source"]["bytes"])[-1] for part in sent] == [0, 1, 2, 3, 4]
    local.forget()


def test_more_large_bodies_at_once_than_a_worker_holds_are_all_taken(client: Any, local: Any) -> None:
    """A worker bounds what it holds of messages that are not whole: the others wait, and none of them for ever."""

    def content_of(number: int) -> str:
        picture = {"type": "image_url", "image_url": {"url": data_url(PNG + bytes([number]) * 2_950_000)}}
        messages = user([{"type": "text", "text": f"Look at {number}!"}, picture, picture])
        return str(
            client.exchange("POST", CHAT, json.dumps({"model": NOVA_LITE, "messages": messages}).encode()).content
        )

    with ThreadPoolExecutor(12) as threads:
        assert all("2 images" in message for message in threads.map(content_of, range(12)))
    local.forget()


def test_a_question_of_many_small_messages_is_taken(client: Any) -> None:
    turns = [{"role": ("user", "assistant")[number % 2], "content": "x"} for number in range(20_001)]
    response = client.post("chat/completions", {"model": NOVA, "messages": turns})
    assert "20001 turns" in response.content
