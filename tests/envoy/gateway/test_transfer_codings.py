"""Transfer codings of callers' bodies: `chunked`, and those that Envoy does not read."""

import http.client
import json
import socket
from typing import Any

import pytest

from tests.envoy.gateway.conftest import Client

CHAT = "/oai/v1/chat/completions"
BODY = json.dumps({"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "one"}]}).encode()
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def request(client: Client, *codings: str) -> bytes:
    """Return a request in chunks, with these fields `transfer-encoding`."""
    head = [f"POST {CHAT} HTTP/1.1", "host: x", f"authorization: Bearer {client.tokens['ci']}"]
    fields = [f"transfer-encoding: {coding}" for coding in codings]
    return "\r\n".join([*head, "content-type: application/json", *fields, "", ""]).encode() + CHUNKS


@pytest.mark.parametrize(
    "codings", [("gzip, chunked",), ("foo",), ("gzip",), ("identity",), ("chunked, gzip",), ("gzip", "chunked")]
)
def test_another_coding_is_an_error_that_names_it(client: Client, local: Any, codings: tuple[str, ...]) -> None:
    """The rest of such a request cannot be told from the next one, so Envoy reads no further."""
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        connection.sendall(request(client, *codings) + request(client, "chunked"))
        response = http.client.HTTPResponse(connection)
        response.begin()
        error = json.loads(response.read())["error"]
        assert (response.status, response.getheader("connection")) == (501, "close")
        assert response.getheader("content-type") == "application/json"
        assert response.getheader("x-should-retry") == "false"
        assert response.getheader("x-request-id")
        assert (error["type"], error["code"]) == ("invalid_request_error", "unsupported_transfer_encoding")
        assert "`chunked` alone" in error["message"]
        assert connection.recv(1) == b""
    assert local.calls() == []


@pytest.mark.parametrize("coding", ["chunked", "Chunked"])
def test_chunks_are_a_body(client: Client, coding: str) -> None:
    assert "one" in client.raw(request(client, coding)).content
