"""A real `python -m bedrock_local`, boto3 pointed at it, and raw signed HTTP for what boto3 would never send."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ACCESS, SECRET = "local", "local-secret"


@dataclass
class BedrockResponse:
    """A raw HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, name without its origin, message."""
        return self.status, self.headers["x-amzn-errortype"].partition(":")[0], self.json["message"]


@dataclass
class Local:
    """A running local Bedrock and clients for it."""

    port: int
    process: subprocess.Popen[str]
    region: str = "us-east-1"
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, *, secret: str = SECRET, access: str = ACCESS, **config: Any) -> Any:
        settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 20, **config}
        return boto3.session.Session().client(
            service,
            region_name=self.region,
            endpoint_url=self.url,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            config=Config(**settings),
        )

    @property
    def runtime(self) -> Any:
        if "runtime" not in self._clients:
            self._clients["runtime"] = self.client("bedrock-runtime")
        return self._clients["runtime"]

    @property
    def control(self) -> Any:
        if "control" not in self._clients:
            self._clients["control"] = self.client("bedrock")
        return self._clients["control"]

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> BedrockResponse:
        """Send a request just so."""
        connection = self.connection()
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            response_headers = {name.lower(): value for name, value in response.getheaders()}
            return BedrockResponse(response.status, response_headers, response.read())
        finally:
            connection.close()

    def signed(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        access: str = ACCESS,
        secret: str = SECRET,
        region: str | None = None,
        service: str = "bedrock",
        token: str | None = None,
    ) -> dict[str, str]:
        """Give the headers of a request signed by botocore."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        request = AWSRequest(method, f"{self.url}{path}", dict(headers or {}), content)
        SigV4Auth(Credentials(access, secret, token), service, region or self.region).add_auth(request)
        return dict(request.headers.items())

    def post(self, path: str, body: bytes | dict[str, Any], content_type: str = "application/json") -> BedrockResponse:
        """Sign and post a body."""
        content = json.dumps(body).encode() if isinstance(body, dict) else body
        headers = self.signed("POST", path, content, headers={"Content-Type": content_type})
        return self.send("POST", path, headers, content)

    def converse(self, body: bytes | dict[str, Any], model: str = NOVA) -> BedrockResponse:
        """Post a raw Converse."""
        return self.post(f"/model/{model.replace(':', '%3A')}/converse", body)

    def calls(self, query: str = "") -> list[dict[str, Any]]:
        return list(self.send("GET", f"/_local/calls{query}").json)

    def release(self, query: str = "") -> int:
        return int(self.send("POST", f"/_local/release{query}").json["released"])


@contextmanager
def running(*options: str, region: str = "us-east-1") -> Iterator[Local]:
    """Start a local Bedrock on a free port, and end it."""
    command = [sys.executable, "-m", "bedrock_local", "--listen", "127.0.0.1:0", "--region", region, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("bedrock_local listens on http://127.0.0.1:"), line
        yield Local(int(line.rpartition(":")[2]), process, region)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture(scope="session")
def local() -> Iterator[Local]:
    """A server without pace, for every test that needs no other."""
    with running("--pace", "0") as server:
        yield server


@pytest.fixture(scope="session")
def start() -> Any:
    """The context manager that starts another one."""
    return running


def user(*texts: str, **blocks: Any) -> dict[str, Any]:
    """A user's turn of texts and further blocks."""
    return {"role": "user", "content": [{"text": text} for text in texts] + [{k: v} for k, v in blocks.items()]}


def assistant(*texts: str, **blocks: Any) -> dict[str, Any]:
    """An assistant's turn."""
    return {**user(*texts, **blocks), "role": "assistant"}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A tool as Converse has it."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"toolSpec": {"name": name, "description": f"The {name}.", "inputSchema": {"json": schema}}}


def use(identifier: str, name: str = "get_weather", **arguments: Any) -> dict[str, Any]:
    """A toolUse's value."""
    return {"toolUseId": identifier, "name": name, "input": arguments}


def result(identifier: str, text: str = "18 degrees") -> dict[str, Any]:
    """A toolResult's value."""
    return {"toolUseId": identifier, "content": [{"text": text}]}


class Wire:
    """The small makers of requests, for tests (which cannot import each other)."""

    user = staticmethod(user)
    assistant = staticmethod(assistant)
    tool = staticmethod(tool)
    use = staticmethod(use)
    result = staticmethod(result)
    claude = CLAUDE
    nova = NOVA


@pytest.fixture(scope="session")
def wire() -> Wire:
    return Wire()


@pytest.fixture
def converse(local: Local) -> Any:
    """Send one text to a model by boto3, and return the response."""

    def speak(text: str, model: str = NOVA, **more: Any) -> dict[str, Any]:
        response: dict[str, Any] = local.runtime.converse(modelId=model, messages=[user(text)], **more)
        return response

    return speak


@pytest.fixture
def rejected() -> Any:
    """Call something that must fail; return status, name and message of AWS's error."""

    def call(function: Any, **arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(ClientError) as caught:
            function(**arguments)
        response = caught.value.response
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        return status, response["Error"]["Code"], response["Error"]["Message"]

    return call
