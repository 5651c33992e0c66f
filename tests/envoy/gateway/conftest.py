"""Plain clients for a gateway behind a real Envoy: what goes over the wire is what the test wrote.

Every response that a `Client` reads is checked, in every test: it has an `x-request-id` and no header of Envoy's or
AWS's; if it is an error it has OpenAI's shape; if it came in one piece it has its length.

`client` and `local` belong to the shared gateway of tests/conftest.py, `client_of` and `local_of` are for the others.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from tests.certificates import Authority
from tests.conftest import Gateway, Starter
from tests.envoy.gateway.issuers import SCOPED, Issuer
from tests.local_bedrock import LocalBedrock

T = TypeVar("T")

Headers = Iterable[tuple[str, str]]

NOVA = "amazon.nova-micro-v1:0"

DEADLINE = 30.0
"""Seconds after which what was waited for is not going to happen."""

FOREIGN = re.compile(r"x-envoy-(?!immediate-health-check-fail$)|x-amzn?-")
"""Headers that no client may see, but for the one that a draining Envoy sends to an Envoy before it."""


def wait_until(condition: Callable[[], T], what: str = "", seconds: float = DEADLINE) -> T:
    """Poll until the condition returns a true value, and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, what or "it did not come to pass"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Waits for a condition."""
    return wait_until


# Clients


@dataclass(frozen=True)
class Response:
    """A whole response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error object; it is a failure if there is none."""
        assert self.status >= 400, self
        error: dict[str, Any] = self.json()["error"]
        return error

    @property
    def content(self) -> str:
        """Return the model's message."""
        assert self.status == 200, self
        content: str = self.json()["choices"][0]["message"]["content"]
        return content

    @property
    def vectors(self) -> list[list[float]]:
        """The embeddings, in the order of their indices."""
        assert self.status == 200, self
        data = self.json()["data"]
        assert [item["index"] for item in data] == list(range(len(data)))
        return [item["embedding"] for item in data]


def check_response(response: Response, *, buffered: bool = True) -> None:
    """Check what holds for every response."""
    assert response.headers.get("x-request-id"), response
    assert [name for name in response.headers if FOREIGN.match(name)] == []
    if buffered:
        assert response.headers.get("content-type") == "application/json", response
        assert response.headers.get("content-length") == str(len(response.body)), response
    if response.status >= 400:
        document = response.json()
        assert document.keys() == {"error"}
        assert document["error"].keys() == {"message", "type", "param", "code"}
        assert document["error"]["message"]
        assert document["error"]["type"]


def headers_of(response: http.client.HTTPResponse) -> dict[str, str]:
    """Return the headers of a response; none is there twice."""
    headers = {name.lower(): value for name, value in response.getheaders()}
    assert len(headers) == len(response.getheaders()), response.getheaders()
    return headers


def whole(response: http.client.HTTPResponse) -> Response:
    """Return the rest of a response."""
    parsed = Response(response.status, headers_of(response), response.read())
    check_response(parsed)
    return parsed


class Stream:
    """A streamed response, read as it comes. Close it, or use it as a context manager."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._rest = b""
        self.status = response.status
        self.headers = headers_of(response)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self) -> str | None:
        """Return the next event or comment, None at a clean end; raises `HTTPException` where the stream breaks."""
        while b"\n\n" not in self._rest:
            data = self._response.read1()
            if not data:
                assert self._rest == b"", self._rest
                return None
            self._rest += data
        event, _, self._rest = self._rest.partition(b"\n\n")
        return event.decode()

    def chunk(self) -> dict[str, Any]:
        """The next chunk; comments are passed over, the end is a failure."""
        event = self.next()
        while event is not None and event.startswith(":"):
            event = self.next()
        assert event is not None, "the stream is over"
        data: dict[str, Any] = json.loads(event.removeprefix("data: "))
        return data

    def delta(self) -> str:
        """The next piece of content that is not empty."""
        while not (text := self.chunk()["choices"][0]["delta"].get("content")):
            pass
        return str(text)

    def rest(self) -> list[str]:
        """The data of all events up to the clean end, comments left out."""
        return [event.removeprefix("data: ") for event in iter(self.next, None) if not event.startswith(":")]

    def close(self) -> None:
        """Leave, whether it is over or not."""
        self._response.close()
        self._connection.close()


@dataclass(frozen=True)
class Client:
    """A caller with a socket. A `token` is the name of one of the gateway's."""

    host: str
    port: int
    tokens: Mapping[str, str]
    deadline: float = DEADLINE

    def connect(self) -> http.client.HTTPConnection:
        """A connection that waits no longer than `deadline` seconds for anything."""
        return http.client.HTTPConnection(self.host, self.port, timeout=self.deadline)

    def raw(self, data: bytes) -> Response:
        """Return the response to these very bytes."""
        with socket.create_connection((self.host, self.port), timeout=DEADLINE) as connection:
            connection.sendall(data)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return whole(response)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        headers: Headers = (),
        token: str | None = "ci",
        connection: http.client.HTTPConnection | None = None,
    ) -> Response:
        """Make one whole exchange. A body that is not bytes goes out in chunks."""
        used = connection or self.connect()
        try:
            self.send(used, method, path, body, headers=headers, token=token)
            return whole(used.getresponse())
        finally:
            if connection is None:
                used.close()

    def send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        headers: Headers = (),
        token: str | None = "ci",
    ) -> None:
        """Send a request, without waiting for its response."""
        connection.putrequest(method, path, skip_accept_encoding=True)
        if token is not None:
            connection.putheader("authorization", f"Bearer {self.tokens[token]}")
        for name, value in headers:
            connection.putheader(name, value)
        chunked = body is not None and not isinstance(body, bytes)
        if chunked:
            connection.putheader("transfer-encoding", "chunked")
        elif isinstance(body, bytes):
            connection.putheader("content-length", str(len(body)))
        with suppress(BrokenPipeError, ConnectionResetError):  # the response came first, and is there to be read
            connection.endheaders(body, encode_chunked=chunked)

    def post(self, path: str, body: object, **more: Any) -> Response:
        """POST of a JSON value, or of bytes, to a path below /oai/v1."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.exchange("POST", f"/oai/v1/{path}", data, **more)

    def chat(self, text: str, *, model: str = NOVA, token: str = "ci", **fields: Any) -> Response:
        """Send one prompt to a model, for a response in one piece."""
        return self.post("chat/completions", question(text, model, fields), token=token)

    def embed(self, texts: object, *, model: str = "amazon.titan-embed-text-v2:0", **fields: Any) -> Response:
        """Texts to vectors."""
        return self.post("embeddings", {"model": model, "input": texts, **fields})

    def stream(self, text: str, *, model: str = NOVA, token: str = "ci", **fields: Any) -> Stream:
        """Send one prompt to a model, for a streamed response; an error response is a failure."""
        connection = self.connect()
        body = json.dumps(question(text, model, {"stream": True, **fields})).encode()
        self.send(connection, "POST", "/oai/v1/chat/completions", body, token=token)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        stream = Stream(connection, response)
        check_response(Response(stream.status, stream.headers, b""), buffered=False)
        return stream

    def rejected_stream(self, text: str, **fields: Any) -> Response:
        """Send one prompt whose stream never begins."""
        return self.chat(text, stream=True, **fields)

    def health(self) -> int:
        """Return the status of /healthz; 0 if nothing listens."""
        connection = self.connect()
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def question(text: str, model: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request with one message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def client_for(gateway: Gateway) -> Client:
    host, _, port = gateway.origin.removeprefix("http://").rpartition(":")
    return Client(host, int(port), gateway.tokens)


@pytest.fixture(scope="session")
def client_of() -> Callable[[Gateway], Client]:
    """A client of some gateway."""
    return client_for


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    """A client of the shared gateway, which must not meet a bug of its own, whatever it is sent."""
    yield client_for(gateway)
    assert "Traceback" not in gateway.log()
    assert "ended in error" not in gateway.log()


# Bedrock


@pytest.fixture(scope="session")
def local_of() -> Callable[[str], LocalBedrock]:
    """The local Bedrock at some URL."""
    return LocalBedrock


@pytest.fixture
def local(gateway: Gateway) -> Iterator[LocalBedrock]:
    """The shared gateway's Bedrock, with no call remembered, and none held when the test is over."""
    assert gateway.local_url is not None
    local = LocalBedrock(gateway.local_url)
    local.forget()
    yield local
    local.release()


@dataclass(frozen=True)
class OwnBedrock:
    """A local Bedrock that no gateway has started. `environment` leads a gateway to it, as to AWS."""

    port: int
    bearer: str
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def own_bedrock(*options: str) -> Iterator[OwnBedrock]:
    """Run a Bedrock with keys that a test chooses, and with more of its options."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test-secret"}
    command = [sys.executable, "-m", "bedrock_local", "--listen", "127.0.0.1:0", "--bearer", "test-api-key", *options]
    command += ["--access-key", keys["AWS_ACCESS_KEY_ID"], "--secret-key", keys["AWS_SECRET_ACCESS_KEY"]]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=unbuffered) as process:
        try:
            assert process.stdout is not None
            announced = re.search(r"listens on (http://127\.0\.0\.1:(\d+))", process.stdout.readline())
            assert announced is not None
            url, port = announced.groups()
            endpoints = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url, "AWS_ENDPOINT_URL_BEDROCK": url}
            files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
            yield OwnBedrock(int(port), "test-api-key", {**keys, **endpoints, **files})
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def bedrock() -> Iterator[OwnBedrock]:
    """A Bedrock that no gateway has started."""
    with own_bedrock() as bedrock:
        yield bedrock


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts gateways for all tests of one file."""
    starter = Starter(tmp_path_factory.mktemp("shared"))
    yield starter
    starter.end()


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with low limits and short timeouts."""
    starter = Starter(tmp_path_factory.mktemp("strict"))
    limits = {"limits": {"request_bytes": 65_536}, "embeddings": {"seconds": 1}}
    yield starter({**limits, "streaming": {"keepalive_seconds": 0.25, "idle_seconds": 1}})
    starter.end()


# Authorities


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def scoped() -> Iterator[Issuer]:
    """An issuer whose tokens have scopes."""
    issuer = Issuer(SCOPED)
    yield issuer
    issuer.close()
