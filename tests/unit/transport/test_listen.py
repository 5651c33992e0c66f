"""Addresses: which there are, and that plain text never leaves the machine."""

import socket
from pathlib import Path

import pytest

from extproc.transport import listen
from extproc.transport.listen import Address, ListenError, Tls


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/oai/w0.sock", Address(path=Path("/run/oai/w0.sock"))),
        ("127.0.0.1:9000", Address(host="127.0.0.1", port=9000)),
        ("[::1]:0", Address(host="::1", port=0)),
        ("gateway.internal:443", Address(host="gateway.internal", port=443)),
    ],
)
def test_an_address_is_read_and_written_the_same(text, address):
    assert listen.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "write unix:/path or HOST:PORT"),
        ("localhost", "HOST:PORT"),
        (":80", "HOST:PORT"),
        ("localhost:http", "HOST:PORT"),
        ("localhost:65536", "HOST:PORT"),
        ("localhost:²", "HOST:PORT"),
        ("unix:w0.sock", "must be absolute"),
        ("unix:/" + "a" * 107, "longer than 107 bytes"),
    ],
)
def test_what_is_no_address_is_refused(text, words):
    with pytest.raises(ListenError, match=words):
        listen.parse(text)


@pytest.mark.parametrize("text", ["unix:/x", "127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.9.9:1"])
def test_plain_text_stays_on_this_machine(text):
    listen.check(listen.parse(text), tls=None)


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "gateway.internal:1"])
def test_plain_text_does_not_leave_this_machine(text):
    with pytest.raises(ListenError, match="plain text leaves this machine"):
        listen.check(listen.parse(text), tls=None)
    listen.check(listen.parse(text), tls=Tls(b"certificate", b"key"))


def test_the_socket_of_a_dead_process_is_cleared(tmp_path):
    path = tmp_path / "w0.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen.clear_stale(path)
    assert not path.exists()
    listen.clear_stale(path)


def test_the_socket_of_a_living_process_is_left_alone(tmp_path):
    path = tmp_path / "w0.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(ListenError, match="another process is listening"):
            listen.clear_stale(path)
    assert path.exists()


def test_a_file_is_left_alone(tmp_path):
    path = tmp_path / "w0.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket"):
        listen.clear_stale(path)
    assert path.read_text() == "precious"
