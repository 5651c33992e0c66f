"""HTTP/2 without TLS, by prior knowledge: many exchanges on one connection, each with its own end."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

NOVA = "amazon.nova-micro-v1:0"
CHAT = "/oai/v1/chat/completions"


@dataclass
class Exchange:
    """The state of one exchange so far."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None


class Http2:
    """An HTTP/2 connection. `until` reads frames, for all exchanges, until a condition holds."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._token = token
        as_written = {"validate_outbound_headers": False, "normalize_outbound_headers": False}
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8", **as_written))
        self._socket = socket.create_connection((host, port), timeout=30)
        self._h2.initiate_connection()
        self._flush()
        self.exchanges: dict[int, Exchange] = {}

    def request(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Exchange:
        """Send a request; its body is JSON."""
        number = self._h2.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "http"), (":authority", "gateway"), (":path", path)]
        headers.append(("authorization", f"Bearer {self._token if token is None else token}"))
        self._h2.send_headers(number, headers, end_stream=body is None)
        if body is not None:
            self._h2.send_data(number, json.dumps(body).encode(), end_stream=True)
        self._flush()
        self.exchanges[number] = Exchange()
        return self.exchanges[number]

    def get(self, *more: tuple[str, str], **pseudo: str) -> Exchange:
        """Send a GET with these headers, however odd they are."""
        number = self._h2.get_next_available_stream_id()
        fields = {"method": "GET", "scheme": "http", "authority": "gateway", "path": "/oai/v1/models"} | pseudo
        headers = [*((f":{name}", value) for name, value in fields.items()), *more]
        self._h2.send_headers(number, headers, end_stream=True)
        self._flush()
        self.exchanges[number] = Exchange()
        return self.exchanges[number]

    def cancel(self, exchange: Exchange) -> None:
        """Leave one exchange, and stay on the connection."""
        [number] = [number for number, one in self.exchanges.items() if one is exchange]
        self._h2.reset_stream(number, ErrorCodes.CANCEL)
        self._flush()

    def until_ended(self, exchange: Exchange) -> Exchange:
        """Read until it is over, well or badly."""
        while not exchange.ended and exchange.reset is None:
            self._receive()
        return exchange

    def until_content(self, exchange: Exchange) -> None:
        """Read until the model has sent text."""
        while b'"content":"1' not in exchange.body:
            self._receive()

    @property
    def header_table_size(self) -> int:
        """Bytes of headers that Envoy keeps for later requests of this connection."""
        return self._h2.remote_settings.header_table_size

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        assert data, "the connection was closed"
        for event in self._h2.receive_data(data):
            match event:
                case ResponseReceived():
                    self.exchanges[event.stream_id].headers = dict(event.headers)
                case DataReceived():
                    self.exchanges[event.stream_id].body += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case StreamEnded():
                    self.exchanges[event.stream_id].ended = True
                case StreamReset():
                    self.exchanges[event.stream_id].reset = event.error_code
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


@pytest.fixture
def http2(client: Any) -> Iterator[Http2]:
    connection = Http2(client.host, client.port, client.tokens["ci"])
    yield connection
    connection.close()


def question(text: str, **fields: object) -> dict[str, object]:
    return {"model": NOVA, "messages": [{"role": "user", "content": text}], **fields}


def test_responses_come_over_http2(http2: Http2) -> None:
    response = http2.until_ended(http2.request("POST", CHAT, question("Hello!")))
    assert response.headers[":status"] == "200"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["x-request-id"]
    assert "Hello!" in json.loads(response.body)["choices"][0]["message"]["content"]


def test_a_stream_arrives_while_other_exchanges_go_on_beside_it(http2: Http2, local: Any) -> None:
    stream = http2.request("POST", CHAT, question("Count to 9. [[local: hold]]", stream=True))
    http2.until_content(stream)
    beside = [http2.request("POST", CHAT, question(f"This is {number}.")) for number in range(10)]
    for number, exchange in enumerate(beside):
        assert f"This is {number}." in http2.until_ended(exchange).body.decode()
    assert not stream.ended
    local.release()
    assert http2.until_ended(stream).body.endswith(b"data: [DONE]\n\n")
    assert stream.ended


def test_envoy_keeps_no_headers_for_later_requests(http2: Http2) -> None:
    """With a table (RFC 7541 section 2.3.2), a byte could stand for kilobytes that Envoy has to keep."""
    for text in ("Hello!", "Hello again!"):
        assert http2.until_ended(http2.request("POST", CHAT, question(text))).headers[":status"] == "200"
    assert http2.header_table_size == 0


def test_leaving_one_stream_ends_its_call_and_no_other(http2: Http2, local: Any) -> None:
    left, kept = (http2.request("POST", CHAT, question("Count to 9. [[local: hold]]", stream=True)) for _ in "ab")
    http2.until_content(left)
    http2.until_content(kept)
    http2.cancel(left)
    local.wait_for("aborted", "running")
    local.release()
    assert http2.until_ended(kept).body.endswith(b"data: [DONE]\n\n")
    local.wait_for("aborted", "finished")


ODD: list[tuple[dict[str, str], list[tuple[str, str]]]] = [
    ({"authority": "user@gateway"}, []),
    ({"authority": "a, b"}, []),
    ({"authority": ""}, []),
    ({"path": "/oai/v1/a b"}, []),
    ({}, [("te", "gzip")]),
    ({}, [("x-a", "a\x7fb")]),
    ({}, [("x-a", "a\x01b")]),
    ({}, [("content-length", "1x")]),
    ({}, [("content-length", "1"), ("content-length", "2")]),
    ({}, [("connection", "x")]),
    ({}, [("X-A", "a")]),
]


@pytest.mark.parametrize(("pseudo", "more"), ODD)
def test_an_invalid_request_ends_no_other_on_its_connection(
    http2: Http2, local: Any, pseudo: dict[str, str], more: list[tuple[str, str]]
) -> None:
    """A proxy before the gateway has the requests of several callers on one connection (RFC 9113 section 8.1.1)."""
    kept = http2.request("POST", CHAT, question("Count to 9. [[local: hold]]", stream=True))
    http2.until_content(kept)
    odd = http2.until_ended(http2.get(*more, **pseudo))
    assert odd.reset == ErrorCodes.PROTOCOL_ERROR or odd.headers[":status"].startswith("4")
    local.release()
    assert http2.until_ended(kept).body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "body", "token", "status"),
    [
        ("GET", "/oai/v1/models", None, "", "401"),
        ("POST", CHAT, {"model": NOVA, "messages": []}, None, "400"),
        ("GET", "/somewhere/else", None, None, "404"),
        ("GET", CHAT, None, None, "405"),
    ],
)
def test_errors_have_the_shape_over_http2_too(
    http2: Http2, method: str, path: str, body: object, token: str | None, status: str
) -> None:
    response = http2.until_ended(http2.request(method, path, body, token=token))
    assert response.headers[":status"] == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert json.loads(response.body)["error"].keys() == {"message", "type", "param", "code"}


def test_a_stream_that_breaks_off_is_reset(http2: Http2) -> None:
    stream = http2.until_ended(http2.request("POST", CHAT, question("Count to 9. [[local: cut after=5]]", stream=True)))
    assert b"[DONE]" not in stream.body
    assert stream.reset is not None or b'data: {"error"' in stream.body
