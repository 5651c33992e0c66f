"""The surroundings of `up`'s programs: the port it holds, the folder it removes. The rest is in tests/envoy/."""

import asyncio
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from extproc.net import Address
from extproc.stack.run_directory import run_directory
from extproc.stack.stack import StackError, reachable, ready_within, reserved_port
from extproc.transport.listen import MAX_SOCKET_PATH

LOCAL = "127.0.0.1"


def listen(port: int, *, share: bool = False) -> socket.socket:
    server = socket.socket()
    if share:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind((LOCAL, port))
    server.listen()
    return server


def test_any_free_port() -> None:
    with reserved_port(Address(LOCAL, 0)) as one, reserved_port(Address(LOCAL, 0)) as two:
        assert one.port
        assert one.port != two.port


def test_envoy_can_listen_and_strangers_cannot() -> None:
    with reserved_port(Address(LOCAL, 0)) as held:
        with pytest.raises(OSError, match="in use"):
            listen(held.port)
        with listen(held.port, share=True) as envoy, socket.create_connection((LOCAL, held.port)) as client:
            accepted, peer = envoy.accept()
            accepted.close()
            assert peer == client.getsockname(), "what is held takes no connection"
        with listen(held.port, share=True):
            pass


@pytest.mark.parametrize(("level", "option"), [(None, "--listen HOST:PORT"), ("1", "LISTEN=HOST:PORT")])
def test_a_taken_port_names_the_option_or_makes_variable(
    monkeypatch: pytest.MonkeyPatch, level: str | None, option: str
) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    if level:
        monkeypatch.setenv("MAKELEVEL", level)
    expected = pytest.raises(StackError, match=f"choose another with {option}")
    with reserved_port(Address(LOCAL, 0)) as held, expected, reserved_port(held):
        pass


@pytest.mark.parametrize("share", [False, True])
def test_a_taken_port(monkeypatch: pytest.MonkeyPatch, share: bool) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)  # make has another option
    with listen(0, share=share) as stranger:
        port = stranger.getsockname()[1]
        with (
            pytest.raises(StackError, match=f"{LOCAL}:{port} is taken by another program.*--listen"),
            reserved_port(Address(LOCAL, port)),
        ):
            pass


def test_a_port_that_two_gateways_want() -> None:
    with reserved_port(Address(LOCAL, 0)) as held, pytest.raises(StackError, match="is taken"), reserved_port(held):
        pass


def test_an_address_of_another_machine() -> None:
    with (
        pytest.raises(StackError, match=r"192\.0\.2\.77:8080 cannot be listened on"),
        reserved_port(Address("192.0.2.77", 8080)),
    ):
        pass


def test_the_folder_is_private_and_goes_away() -> None:
    with run_directory() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
    assert not folder.exists()


def test_the_folder_goes_away_when_something_fails() -> None:
    with pytest.raises(RuntimeError), run_directory() as folder:
        raise RuntimeError
    assert not folder.exists()


def test_sockets_fit_even_where_temporary_files_are_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with run_directory() as folder:
        assert len(str(folder / "worker-63.sock")) <= MAX_SOCKET_PATH
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize(
    ("listens", "reached"),
    [("0.0.0.0", "127.0.0.1:80"), ("::", "[::1]:80"), ("10.0.0.1", "10.0.0.1:80")],
)
def test_where_to_reach_it(listens: str, reached: str) -> None:
    assert str(reachable(Address(listens, 80))) == reached


def test_up_imports_nothing_that_it_seldom_uses() -> None:
    seldom = ("aiohttp", "botocore", "envoy_data_plane", "google.protobuf", "grpc", "pydantic")
    code = f"import sys, extproc.cli.up, extproc.stack.stack; print([name for name in {seldom} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize("ready", [True, False])
async def test_what_is_ready_when_the_time_is_over_is_ready(ready: bool) -> None:
    """As after a SIGSTOP, or in a frozen container: the time passes, and nothing of this program runs."""

    async def look() -> bool:
        return ready

    assert await ready_within(0, asyncio.Event().wait(), look) is ready


async def test_what_starts_in_time_needs_no_last_look() -> None:
    async def look() -> bool:
        raise AssertionError

    assert await ready_within(60, asyncio.sleep(0), look)
