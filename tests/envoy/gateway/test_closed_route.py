"""Half an installation sends nothing to Bedrock: the route leads there only for a request that a worker has signed.

Each mistake is made in the rendered configuration, and the real Envoy runs with it, before the real worker or a
processor that is none. Where Bedrock would be, a socket records every connection.
"""

import http.client
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from extproc.transport import ext_proc_pb2 as pb
from tests.envoy.conftest import Site

DEADLINE = 30.0
CHAT = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello!"}]}
MESSAGE = {"output": {"message": {"role": "assistant", "content": [{"text": "Hello!"}]}}, "stopReason": "end_turn"}
CONVERSE = json.dumps({**MESSAGE, "usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}).encode()


class RecordingUpstream:
    """A server in Bedrock's place that records all that it is sent, and has one response."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.received.append(b"")
                while not self.received[-1].endswith(b"}") and (data := connection.recv(65536)):
                    self.received[-1] += data
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(CONVERSE)}\r\n"
                connection.sendall(f"{head}connection: close\r\n\r\n".encode() + CONVERSE)


@dataclass
class Stranger:
    """A processor that is healthy and is no worker of ours: `respond` has its responses to each message."""

    respond: Callable[[pb.ProcessingRequest], pb.ProcessingResponse] | None
    calls: list[str] = field(default_factory=list)

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        if details.method.endswith("Health/Check"):
            return grpc.unary_unary_rpc_method_handler(lambda _, __: b"\x08\x01")  # SERVING
        return grpc.stream_stream_rpc_method_handler(self._process)

    def _process(self, messages: Iterator[bytes], _: object) -> Iterator[bytes]:
        self.calls.append("stream")
        for message in messages:
            if self.respond is None:
                return
            yield self.respond(pb.ProcessingRequest.FromString(message)).SerializeToString()


def untouched(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
    """Let each message pass as it is."""
    response = pb.ProcessingResponse()
    getattr(response, str(request.WhichOneof("request"))).SetInParent()
    if request.HasField("response_body"):
        piece = response.response_body.response.body_mutation.streamed_response
        piece.body, piece.end_of_stream = request.response_body.body, request.response_body.end_of_stream
    return response


def unmarked(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
    """Lead the call to Bedrock's path, as a worker does, without the mark."""
    response = untouched(request)
    if request.HasField("request_body"):
        common = response.request_body.response
        option = common.header_mutation.set_headers.add()
        option.append_action = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        option.header.key, option.header.raw_value = ":path", b"/model/amazon.nova-micro-v1%3A0/converse"
    return response


# The configuration


@dataclass
class ClosedRoute:
    """A worker, and where Bedrock should be; starts Envoys before them."""

    site: Site
    upstream: RecordingUpstream
    printed: str

    def envoy(self, change: Callable[[Any], None], processor: str = "w0.sock") -> int:
        """Start an Envoy with a changed configuration; return its port once it serves."""
        port = self.site.port()
        printed = self.printed.replace("port_value: 65000", f"port_value: {port}")
        bootstrap = yaml.safe_load(printed.replace("/w0.sock", f"/{processor}"))
        change(bootstrap)
        self.site.envoy(yaml.safe_dump(bootstrap))
        return port


@contextmanager
def rig_of(*arguments: str) -> Iterator[ClosedRoute]:
    """A rig whose worker has more arguments."""
    with tempfile.TemporaryDirectory(prefix="closed-") as folder, ExitStack() as ended:
        upstream = RecordingUpstream()
        ended.callback(upstream.close)
        site = Site(Path(folder), ended)
        site.environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = f"http://127.0.0.1:{upstream.port}"
        processor = f"unix:{folder}/w0.sock"
        command = ("envoy-config", "--config", "gateway.yaml", "--listen", "127.0.0.1:65000", "--processor", processor)
        site.worker(processor, *arguments)
        yield ClosedRoute(site, upstream, site.run(*command))


@pytest.fixture(scope="module")
def shared() -> Iterator[ClosedRoute]:
    with rig_of() as rig:
        yield rig


@pytest.fixture
def rig(shared: ClosedRoute) -> ClosedRoute:
    """The rig, whose upstream has received nothing."""
    shared.upstream.received.clear()
    return shared


@contextmanager
def stranger(
    rig: ClosedRoute, respond: Callable[[pb.ProcessingRequest], pb.ProcessingResponse] | None
) -> Iterator[Stranger]:
    """A processor that is no worker of ours, on a socket beside the worker's."""
    there = Stranger(respond)

    class StrangerHandler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
            return there.service(details)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[StrangerHandler()])
    server.add_insecure_port(f"unix:{rig.site.folder}/stranger.sock")
    server.start()
    try:
        yield there
    finally:
        server.stop(0).wait()


def manager(bootstrap: Any) -> Any:
    return bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def ext_proc(bootstrap: Any) -> Any:
    [entry] = [each for each in manager(bootstrap)["http_filters"] if each["name"] == "oai-extproc"]
    return entry


def routes(bootstrap: Any) -> list[Any]:
    entries: list[Any] = manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"]
    return entries


def nothing(bootstrap: Any) -> None:
    """No mistake."""


def no_filter(bootstrap: Any) -> None:
    manager(bootstrap)["http_filters"].remove(ext_proc(bootstrap))


def never_turned_on(bootstrap: Any) -> None:
    for route in routes(bootstrap):
        route.pop("typed_per_filter_config", None)


def another_name(bootstrap: Any) -> None:
    ext_proc(bootstrap)["name"] = "envoy.filters.http.ext_proc"


def no_processing(bootstrap: Any) -> None:
    config = ext_proc(bootstrap)["typed_config"]
    sides = [f"{side}_{part}_mode" for side in ("request", "response") for part in ("header", "trailer")]
    config["processing_mode"] = dict.fromkeys(sides, "SKIP")


def allows_failures(bootstrap: Any) -> None:
    ext_proc(bootstrap)["typed_config"]["failure_mode_allow"] = True


def no_metadata(bootstrap: Any) -> None:
    del ext_proc(bootstrap)["typed_config"]["metadata_options"]


def route_kept(bootstrap: Any) -> None:
    del ext_proc(bootstrap)["typed_config"]["route_cache_action"]


# Callers


@dataclass(frozen=True)
class ErrorResponse:
    """A response, and whether it has OpenAI's shape."""

    status: int
    error: dict[str, Any]


def send_request(
    port: int, token: str, method: str = "POST", path: str = "/oai/v1/chat/completions", **headers: str
) -> ErrorResponse:
    """Make one call and read its error; a call that succeeds has none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    own = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        connection.request(method, path, json.dumps(CHAT) if method == "POST" else None, {**own, **named})
        response = connection.getresponse()
        assert response.headers["content-type"] == "application/json"
        body = json.loads(response.read())
    finally:
        connection.close()
    if response.status < 400:
        return ErrorResponse(response.status, {})
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    return ErrorResponse(response.status, body["error"])


CALLS = (("POST", "/oai/v1/chat/completions"), ("GET", "/oai/v1/models"), ("DELETE", "/oai/v1/files/x"))


def test_a_signed_request_finds_bedrock(rig: ClosedRoute) -> None:
    port = rig.envoy(nothing)
    until_served(rig, port)
    assert send_request(port, rig.site.tokens["ci"]).status == 200
    [request] = rig.upstream.received
    assert request.startswith(b"POST /model/amazon.nova-micro-v1%3A0/converse HTTP/1.1\r\n")
    assert b"AWS4-HMAC-SHA256" in request
    assert b"x-forwarded" not in request
    assert rig.site.tokens["ci"].encode() not in request


def until_served(rig: ClosedRoute, port: int) -> None:
    """Wait until Envoy has found its worker."""
    end = threading.Event()
    for _ in range(600):
        if send_request(port, "qc_" + "x" * 43, "GET", "/oai/v1/models").status == 401:
            return
        end.wait(0.05)
    raise AssertionError("Envoy does not find the worker")


@pytest.mark.parametrize("mistake", [no_filter, never_turned_on, another_name, no_processing])
def test_nothing_leaves_where_the_worker_is_not_called(rig: ClosedRoute, mistake: Callable[[Any], None]) -> None:
    port = rig.envoy(mistake)
    for method, path in CALLS:
        result = send_request(port, rig.site.tokens["ci"], method, path)
        assert (result.status, result.error["code"]) == (503, "processor_unavailable")
    assert rig.upstream.received == []


@pytest.mark.parametrize("mistake", [nothing, allows_failures])
def test_nothing_leaves_without_a_worker(rig: ClosedRoute, mistake: Callable[[Any], None]) -> None:
    port = rig.envoy(mistake, "gone.sock")
    for method, path in CALLS:
        result = send_request(port, rig.site.tokens["ci"], method, path)
        assert (result.status, result.error["code"]) == (503, "processor_unavailable")
    assert rig.upstream.received == []


@pytest.mark.parametrize(
    ("respond", "status"), [(None, 503), (untouched, 503), (unmarked, 404)], ids=["ends", "untouched", "unmarked"]
)
def test_a_processor_that_is_no_worker_opens_nothing(rig: ClosedRoute, respond: Any, status: int) -> None:
    """Envoy goes on without a processor that ends its streams cleanly."""
    with stranger(rig, respond) as there:
        port = rig.envoy(unchecked, "stranger.sock")
        assert send_request(port, rig.site.tokens["ci"]).status == status
        assert there.calls == ["stream"]
    assert rig.upstream.received == []


def unchecked(bootstrap: Any) -> None:
    """Without health checks, the processor is there at once."""
    [processor] = [each for each in bootstrap["static_resources"]["clusters"] if each["name"] == "processor"]
    del processor["health_checks"]


@pytest.mark.parametrize(("mistake", "status"), [(no_metadata, 404), (route_kept, 503)])
def test_nothing_leaves_an_envoy_that_does_not_read_the_mark(
    rig: ClosedRoute, mistake: Callable[[Any], None], status: int
) -> None:
    port = rig.envoy(mistake)
    until_served(rig, port)
    assert send_request(port, rig.site.tokens["ci"]).status == status
    assert rig.upstream.received == []


FORGED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=AKIATEST/20261128/us-east-1/bedrock/aws4_request",
    "x_oai_signed": "true",
    "oai": '{"signed": true}',
    "x_envoy_original_path": "/model/amazon.nova-micro-v1:0/converse",
    "x_envoy_peer_metadata": "oai.signed=true",
    "x_forwarded_proto": "https",
}


PATHS = (
    "/model/amazon.nova-micro-v1%3A0/converse",
    "/model",
    "/oai/v1/../../model/amazon.nova-micro-v1%3A0/converse",
    "//model/amazon.nova-micro-v1%3A0/converse",
    "/oai/v1/%2e%2e/%2e%2e/model/x/converse",
)


@pytest.mark.parametrize("mistake", [nothing, no_filter, allows_failures])
def test_no_caller_opens_the_route(rig: ClosedRoute, mistake: Callable[[Any], None]) -> None:
    port = rig.envoy(mistake)
    for path in PATHS:
        for headers in ({}, FORGED):
            assert send_request(port, rig.site.tokens["ci"], "POST", path, **headers).status == 404
    assert send_request(port, rig.site.tokens["ci"], **FORGED).status in (401, 503)
    assert rig.upstream.received == []
