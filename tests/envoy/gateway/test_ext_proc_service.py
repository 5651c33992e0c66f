"""The ext_proc service without an Envoy: a peer that does not keep to the protocol gets INTERNAL, and harms nobody.

The messages are Envoy's as envoy-data-plane has them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
DEADLINE = 30.0


def headers(*pairs: tuple[str, bytes], end: bool = False) -> HttpHeaders:
    values = [HeaderValue(key=name, raw_value=value) for name, value in pairs]
    return HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=end)


GET = ProcessingRequest(request_headers=headers((":method", b"GET"), (":path", b"/oai/v1/models"), end=True))
BODY = ProcessingRequest(request_body=HttpBody(body=b"{}", end_of_stream=True))
RESPONSE = ProcessingRequest(response_headers=headers((":status", b"200")))
RESPONSE_BODY = ProcessingRequest(response_body=HttpBody(body=b"x"))


class Service:
    """A worker by its gRPC interface."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self._process = self.channel.stream_stream(METHOD)

    def send(self, *messages: ProcessingRequest | bytes) -> list[ProcessingResponse]:
        """Run one stream with these messages; return the responses, and raise if it ends in error."""
        spoken = iter([message if isinstance(message, bytes) else bytes(message) for message in messages])
        return [ProcessingResponse.parse(response) for response in self._process(spoken, timeout=DEADLINE)]

    def works(self) -> bool:
        """Return whether a caller without a token gets its error."""
        [response] = self.send(GET)
        assert response.immediate_response is not None
        assert response.immediate_response.status is not None
        return int(response.immediate_response.status.code) == 401


@pytest.fixture(scope="module")
def service(gateway: Any, bedrock: Any) -> Iterator[Service]:
    """A worker of its own, and the connection to it; at the end it is still the same process."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with tempfile.TemporaryDirectory(prefix="own-") as folder:
        address = f"unix:{folder}/w0.sock"
        command = [sys.executable, "-m", "extproc", "serve", "--config", str(gateway.config_path), "--listen", address]
        with subprocess.Popen(
            [*command, "--notice", "0"],
            env={**ours, **bedrock.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    if b"serving on" in line:
                        break
                service = Service(address)
                yield service
                service.channel.close()
                assert process.poll() is None
                process.terminate()
                assert process.wait(DEADLINE) == 0
            finally:
                process.kill()


@pytest.mark.parametrize(
    "messages",
    [
        [b"this is no message"],
        [b"\xff" * 1000],
        [BODY],
        [RESPONSE_BODY],
        [ProcessingRequest(response_trailers=HttpTrailers())],
        [RESPONSE, GET],
        [
            ProcessingRequest(
                request_headers=headers((":method", b"GET"), (":path", b"/oai/v1/models")),
                protocol_config=ProtocolConfiguration(request_body_mode=ProcessingModeBodySendMode.STREAMED),
            )
        ],
        [ProcessingRequest(request_headers=GET.request_headers, observability_mode=True)],
    ],
    ids=range(8),
)
def test_a_violation_of_the_protocol_ends_the_stream_in_error_and_nothing_else(
    service: Service, messages: list[ProcessingRequest | bytes]
) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        service.send(*messages)
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert service.works()


def test_a_request_without_a_method_and_a_path_gets_a_response(service: Service) -> None:
    [response] = service.send(ProcessingRequest(request_headers=headers(end=True)))
    assert response.immediate_response is not None
    assert response.immediate_response.status is not None
    assert int(response.immediate_response.status.code) == 404


def test_a_message_of_an_unknown_kind_is_ignored(service: Service) -> None:
    assert service.send(b"") == []
    [response] = service.send(b"", GET)
    assert response.immediate_response is not None


def test_a_stream_without_a_word_ends_well(service: Service) -> None:
    assert service.send() == []
    assert service.works()


def test_bytes_in_headers_that_are_no_text_are_no_error(service: Service) -> None:
    pairs = ((":method", b"GET"), (":path", b"/oai/v1/models/\xff\xfe"), ("authorization", b"Bearer \xff\x00"))
    [response] = service.send(ProcessingRequest(request_headers=headers(*pairs, end=True)))
    assert response.immediate_response is not None


def test_a_response_of_another_filter_is_left_as_it_is(service: Service) -> None:
    [response] = service.send(ProcessingRequest(response_headers=headers((":status", b"200"), end=True)))
    assert response.response_headers is not None
    assert response.immediate_response is None


def test_a_peer_that_goes_away_in_the_middle_harms_no_other(service: Service) -> None:
    for _ in range(20):
        call = service.channel.stream_stream(METHOD)(iter([bytes(GET)]))
        call.cancel()
    assert service.works()


def test_another_method_is_unimplemented(service: Service) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        service.channel.unary_unary("/envoy.service.ext_proc.v3.ExternalProcessor/Other")(b"", timeout=DEADLINE)
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
