"""dynalite, a server with DynamoDB's API, and a proxy in front of it whose faults a test chooses.

Decision: docs/decisions.md, D199.
"""

import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.npm import install

NODE = Path(__file__).parent / "node"
REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test-secret"}

THROTTLED = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
DENIED = "com.amazon.coral.service#AccessDeniedException"

HELD_SECONDS = 30.0
"""Longest time that a request is held; longer than anybody waits for it."""


def error(kind: str) -> tuple[int, str, bytes]:
    return 400, "application/x-amz-json-1.0", json.dumps({"__type": kind, "message": "injected"}).encode()


FAULTS: Mapping[str, tuple[int, str, bytes]] = {
    "throttled": error(THROTTLED),
    "denied": error(DENIED),
    "failing": (500, "application/x-amz-json-1.0", b"{}"),
    "a page": (200, "text/html", b"<html>Please log in</html>"),
    "an empty object of another's": (200, "application/json", b"{}"),
    "no JSON": (200, "application/x-amz-json-1.0", b'{"Item":'),
    "another item": (
        200,
        "application/x-amz-json-1.0",
        b'{"Item":{"pk":{"S":"token#0"},"json":{"S":"{}"}}}',
    ),
    "an item without a value": (200, "application/x-amz-json-1.0", b'{"Item":{"pk":{"S":"token#0"}}}'),
    "deep": (200, "application/x-amz-json-1.0", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}
"""Responses in place of DynamoDB's: status, content type and body. Further faults: cut, slow, corrupt."""

UNWRITTEN = "unwritten"
"""A fault of BatchWriteItem: the last item is not written, as where DynamoDB throttles in part."""


@dataclass(eq=False)
class Faulty:
    """The proxy. `fault` is one of `FAULTS`, "cut", "slow" or "corrupt", for the next `times` calls."""

    port: int
    upstream: int
    fault: str = ""
    times: int = 1 << 30
    calls: list[str] = field(default_factory=list)
    """The keys of the GetItems so far."""
    writes: list[list[str]] = field(default_factory=list)
    """The keys of each BatchWriteItem so far."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set to let go of what is slow."""
    delay: float = 0.0
    """Seconds before each response."""
    denied: str = ""
    """An operation that is not permitted."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def next_fault(self) -> str:
        if not self.fault or self.times <= 0:
            return ""
        self.times -= 1
        return self.fault

    def fail(self, fault: str, times: int = 1 << 30) -> None:
        self.fault, self.times = fault, times

    def heal(self) -> None:
        self.fault = self.denied = ""
        self.released.set()
        self.released = threading.Event()

    def count(self, key: str) -> int:
        return self.calls.count(key)


def keys(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what has the key in one request of a BatchWriteItem."""
    for each in request.values():
        yield each.get("Item") or each["Key"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: Faulty

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        faulty, fault = self.faulty, ""
        operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
        if operation == "GetItem":
            faulty.calls.append(json.loads(body)["Key"]["pk"]["S"])
            fault = faulty.next_fault()
        elif operation == "BatchWriteItem":
            [requests] = json.loads(body)["RequestItems"].values()
            faulty.writes.append([item["pk"]["S"] for request in requests for item in keys(request)])
            fault = faulty.next_fault()
        if not self.passes(fault):
            return
        if faulty.delay:
            time.sleep(faulty.delay)
        if fault == UNWRITTEN:
            self.write_all_but_one(body)
        else:
            self.forward(body, fault == "corrupt")

    def write_all_but_one(self, body: bytes) -> None:
        [(table, requests)] = json.loads(body)["RequestItems"].items()
        for request in requests[:-1]:
            client(self.faulty.upstream).put_item(TableName=table, Item=request["PutRequest"]["Item"])
        response = json.dumps({"UnprocessedItems": {table: requests[-1:]}}).encode()
        self.respond(200, {"content-type": "application/x-amz-json-1.0"}, response)

    def passes(self, fault: str) -> bool:
        """Respond with the fault; return whether the request is to be forwarded."""
        if fault == "cut":
            self.close_connection = True
            self.connection.close()
        elif fault == "slow":
            self.faulty.released.wait(HELD_SECONDS)
            self.close_connection = True
        elif fault in FAULTS:
            status, kind, data = FAULTS[fault]
            self.respond(status, {"content-type": kind}, data)
        return fault in ("", "corrupt", UNWRITTEN)

    def forward(self, body: bytes, corrupt: bool) -> None:
        denied = self.faulty.denied
        if denied and self.headers.get("x-amz-target", "").endswith(f".{denied}"):
            status, kind, data = FAULTS["denied"]
            self.respond(status, {"content-type": kind}, data)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.faulty.upstream, timeout=HELD_SECONDS)
        try:
            connection.request("POST", self.path, body, dict(self.headers))
            response = connection.getresponse()
            data = response.read()
            kept = ("content-type", "x-amz-crc32", "x-amzn-requestid")
            headers = {name: value for name, value in response.getheaders() if name.lower() in kept}
            self.respond(response.status, headers, data + b" " if corrupt else data)
        finally:
            connection.close()

    def respond(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the gateway has given up, or the fault closed it

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: faults close connections."""


@contextmanager
def dynalite() -> Iterator[int]:
    """Run the server; the value is its port."""
    program = install(NODE) / "node_modules" / ".bin" / "node"
    with subprocess.Popen([program, "serve.mjs"], cwd=NODE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def faulty(upstream: int) -> Iterator[Faulty]:
    """Run a proxy in front of a server."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy = Faulty(server.server_address[1], upstream)
        handler.faulty = proxy  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.heal()
            server.shutdown()
            thread.join()


def client(port: int) -> Any:
    """Return boto3's client of a server."""
    return boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def environment(url: str) -> dict[str, str]:
    """Return what leads a program to a server."""
    files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return {**KEYS, **files, "AWS_ENDPOINT_URL_DYNAMODB": url}
