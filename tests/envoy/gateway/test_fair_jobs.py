"""Side calls of one organisation do not make another one wait, and what Bedrock sends is bounded."""

import json
import os
import select
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PNG = b"\x89PNG\r\n\x1a\n"
CLAUDE = "anthropic.claude-sonnet-4-6"
MIB = 1024 * 1024
UMBRELLA = [("openai-organization", "umbrella")]

COUNTS_AS_PUBLIC = """
from ipaddress import ip_network

from extproc.worker.image_fetcher import Fetcher

Fetcher.__init__.__kwdefaults__.update(ports=frozenset({{{port}}}), allow=[ip_network("127.0.0.1")])
"""


class ManyClientsServer(ThreadingHTTPServer):
    """Many clients at once, and none of them waits for the others."""

    request_queue_size = 512
    daemon_threads = True


def serving(handler: type[BaseHTTPRequestHandler]) -> ManyClientsServer:
    server = ManyClientsServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Images(BaseHTTPRequestHandler):
    """An image at once, one of which a byte a second comes, and early hints without end."""

    enough: threading.Event
    dripping: threading.Semaphore

    def do_GET(self) -> None:
        if self.path == "/hints":
            self.hint()
            return
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        if self.path != "/drip":
            self.wfile.write(PNG.ljust(1000, b"\0"))
            return
        self.wfile.write(PNG.ljust(12, b"\0"))
        self.wfile.flush()
        self.dripping.release()
        try:
            while not self.enough.wait(1):
                self.wfile.write(b"\0")
        except ConnectionError:
            pass

    def hint(self) -> None:
        try:
            while not self.enough.is_set():
                self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 1000)
        except ConnectionError:
            pass

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def images() -> Iterator[str]:
    Images.enough, Images.dripping = threading.Event(), threading.Semaphore(0)
    server = serving(Images)
    yield f"http://127.0.0.1:{server.server_port}"
    Images.enough.set()
    server.shutdown()
    server.server_close()


def about(*urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"model": CLAUDE, "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, *parts]}]}


@pytest.fixture
def gateway_for_images(start_gateway: Any, images: str, tmp_path: Path) -> Any:
    """Small images, so that the bytes in flight allow for many of them."""
    (tmp_path / "sitecustomize.py").write_text(COUNTS_AS_PUBLIC.format(port=images.rpartition(":")[2]))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    media = {"seconds": 120, "max_bytes": 10_000, "total_bytes": 100_000}
    return start_gateway({"media": media}, env={"PYTHONPATH": path})


def test_images_that_drip_do_not_delay_those_of_another_organisation(
    gateway_for_images: Any, client_of: Any, images: str
) -> None:
    client = client_of(gateway_for_images)
    body = json.dumps(about(*(f"{images}/drip#{number}" for number in range(4)))).encode()
    assert client.post("chat/completions", about(f"{images}/a"), token="both", headers=UMBRELLA).status == 200
    connections = [client.connect() for _ in range(90)]
    try:
        for connection in connections:
            client.send(connection, "POST", "/oai/v1/chat/completions", body)
        for _ in range(192):
            assert Images.dripping.acquire(timeout=30)
        for _ in range(3):
            response = client.post("chat/completions", about(f"{images}/a"), token="both", headers=UMBRELLA)
            assert response.status == 200, response
        waiting = [connection.sock for connection in connections]
        assert select.select(waiting, [], [], 0)[0] == []
    finally:
        for connection in connections:
            connection.close()


def test_an_image_host_with_endless_early_hints_is_an_error_for_its_caller_alone(
    gateway_for_images: Any, client_of: Any, images: str
) -> None:
    client = client_of(gateway_for_images)
    assert client.post("chat/completions", about(f"{images}/a"), token="both", headers=UMBRELLA).status == 200
    before, workers = resident(gateway_for_images), gateway_for_images.pids("extproc.worker.command")
    body = json.dumps(about(*(f"{images}/hints#{number}" for number in range(20)))).encode()
    for _ in range(5):
        connections = [client.connect() for _ in range(4)]
        for connection in connections:
            client.send(connection, "POST", "/oai/v1/chat/completions", body)
        reply = client.post("chat/completions", about(f"{images}/a"), token="both", headers=UMBRELLA)
        assert reply.status == 200, reply
        for connection in connections:
            response = connection.getresponse()
            error = json.loads(response.read())["error"]
            assert (response.status, error["code"]) == (400, "failed_to_download_image")
            connection.close()
    assert gateway_for_images.pids("extproc.worker.command") == workers
    assert resident(gateway_for_images) - before < 32 * MIB


class LargeResponses(BaseHTTPRequestHandler):
    """A Bedrock that sends responses of 100 MB."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(100 * MIB))
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(bytes(MIB))
        except ConnectionError:
            pass

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def resident(gateway: Any) -> int:
    """Bytes that the one worker has had in memory at most."""
    (worker,) = gateway.pids("extproc.worker.command")
    status = Path(f"/proc/{worker}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_response_to_a_side_call_is_not_read_without_end(start_gateway: Any, client_of: Any, bedrock: Any) -> None:
    server = serving(LargeResponses)
    environment = {**bedrock.environment, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{server.server_port}"}
    gateway = start_gateway(env=environment, args=["--upstream", "aws"])
    client = client_of(gateway)
    assert client.embed(["one", "two"]).status == 502
    before = resident(gateway)
    for _ in range(3):
        response = client.embed(["one", "two", "three", "four"])
        assert (response.status, response.error["code"]) == (502, "bad_upstream_answer")
        assert response.error["type"] == "server_error"
    assert resident(gateway) - before < 16 * MIB
    server.shutdown()
    server.server_close()
