"""Health probes of a worker: grpcio's own server as the peer, and peers that are no gRPC servers."""

import socket
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from extproc.cli import main
from extproc.net import Address
from extproc.transport.health import HEALTH, NOT_SERVING, SERVING, UnhealthyError, check

UNKNOWN = b""

StartServer = Callable[[Callable[[grpc.ServicerContext], bytes]], Address]


@pytest.fixture
def listen(socket_path: Path) -> Iterator[StartServer]:
    """Return a function that starts a server on a unix socket with a handler."""
    server = grpc.server(futures.ThreadPoolExecutor(1))

    def start(behaviour: Callable[[grpc.ServicerContext], bytes]) -> Address:
        handler = grpc.unary_unary_rpc_method_handler(lambda request, context: behaviour(context))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(HEALTH, {"Check": handler})])
        server.add_insecure_port(f"unix:{socket_path}")
        server.start()
        return Address(path=str(socket_path))

    yield start
    server.stop(0).wait()


def abort(context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no health here")
    raise AssertionError


def test_one_that_serves(listen: StartServer) -> None:
    check(listen(lambda context: SERVING), 10)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (lambda context: NOT_SERVING, "not serving: starting, or about to stop"),
        (lambda context: UNKNOWN, "not serving: not a worker, its response is b''"),
        (abort, "there is no health here"),
    ],
)
def test_one_that_does_not(
    listen: StartServer, behaviour: Callable[[grpc.ServicerContext], bytes], message: str
) -> None:
    address = listen(behaviour)
    with pytest.raises(UnhealthyError) as unhealthy:
        check(address, 10)
    assert str(unhealthy.value).startswith(f"{address}: ")
    assert message in str(unhealthy.value)


def test_one_that_is_not_there(socket_path: Path) -> None:
    with pytest.raises(UnhealthyError, match="No such file or directory"):
        check(Address(path=str(socket_path)), 10)


def test_a_peer_that_accepts_the_connection_and_sends_nothing(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(socket_path))
        mute.listen()
        with pytest.raises(UnhealthyError, match=r"no response within 0\.2 seconds"):
            check(Address(path=str(socket_path)), 0.2)


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy is set for requests to AWS; the error message would name its address."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.2:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.2:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UnhealthyError, match=r"127\.0\.0\.1:1.*refused"):
        check(Address("127.0.0.1", 1), 10)


# The command


def test_the_command_reports_health_by_its_output_and_exit_code(listen: StartServer, tmp_path: Path) -> None:
    address = listen(lambda context: SERVING)
    serving = CliRunner().invoke(main, ["health", str(address)])
    assert (serving.exit_code, serving.stdout) == (0, f"{address}: serving\n")
    one_is_missing = CliRunner().invoke(main, ["health", str(address), f"unix:{tmp_path}/w1.sock"])
    assert one_is_missing.exit_code == 1
    assert one_is_missing.stderr.startswith(f"Error: unix:{tmp_path}/w1.sock: ")


def test_without_an_address_it_is_the_one_that_envoy_config_has() -> None:
    result = CliRunner().invoke(main, ["health", "--timeout", "5"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: unix:/run/oai/w0.sock: ")


@pytest.mark.parametrize("arguments", [["nowhere"], ["--timeout", "0"]])
def test_senseless_options_are_rejected(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["health", *arguments]).exit_code == 2
