"""Asking a worker for its health: grpcio's own server as the peer, and peers that are none."""

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

Answer = Callable[[Callable[[grpc.ServicerContext], bytes]], Address]


@pytest.fixture
def listen(socket_path: Path) -> Iterator[Answer]:
    """A server on a unix socket that answers as it is told."""
    server = grpc.server(futures.ThreadPoolExecutor(1))

    def start(answer: Callable[[grpc.ServicerContext], bytes]) -> Address:
        handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer(context))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(HEALTH, {"Check": handler})])
        server.add_insecure_port(f"unix:{socket_path}")
        server.start()
        return Address(path=str(socket_path))

    yield start
    server.stop(0).wait()


def refuse(context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no health here")
    raise AssertionError


def test_one_that_serves(listen: Answer) -> None:
    check(listen(lambda context: SERVING), 10)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda context: NOT_SERVING, "not serving: starting, or about to stop"),
        (lambda context: UNKNOWN, "not serving: not a worker, its response is b''"),
        (refuse, "there is no health here"),
    ],
)
def test_one_that_does_not(listen: Answer, answer: Callable[[grpc.ServicerContext], bytes], said: str) -> None:
    address = listen(answer)
    with pytest.raises(UnhealthyError) as unhealthy:
        check(address, 10)
    assert str(unhealthy.value).startswith(f"{address}: ")
    assert said in str(unhealthy.value)


def test_one_that_is_not_there(socket_path: Path) -> None:
    with pytest.raises(UnhealthyError, match="No such file or directory"):
        check(Address(path=str(socket_path)), 10)


def test_one_that_takes_the_connection_and_says_nothing(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(socket_path))
        mute.listen()
        with pytest.raises(UnhealthyError, match=r"no response within 0\.2 seconds"):
            check(Address(path=str(socket_path)), 0.2)


def test_no_proxy_stands_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is named for the way to AWS; the message would be its address's."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.2:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.2:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UnhealthyError, match=r"127\.0\.0\.1:1.*refused"):
        check(Address("127.0.0.1", 1), 10)


# The command


def test_the_command_says_so_and_how_by_its_exit_code(listen: Answer, tmp_path: Path) -> None:
    address = listen(lambda context: SERVING)
    serving = CliRunner().invoke(main, ["health", str(address)])
    assert (serving.exit_code, serving.stdout) == (0, f"{address}: serving\n")
    one_is_missing = CliRunner().invoke(main, ["health", str(address), f"unix:{tmp_path}/w1.sock"])
    assert one_is_missing.exit_code == 1
    assert one_is_missing.stderr.startswith(f"Error: unix:{tmp_path}/w1.sock: ")


def test_without_an_address_it_is_the_one_that_envoy_config_has() -> None:
    asked = CliRunner().invoke(main, ["health", "--timeout", "5"])
    assert asked.exit_code == 1
    assert asked.stderr.startswith("Error: unix:/run/oai/w0.sock: ")


@pytest.mark.parametrize("arguments", [["nowhere"], ["--timeout", "0"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["health", *arguments]).exit_code == 2
