"""Addresses: their forms, and that plain text never leaves the machine."""

import socket

import pytest

from extproc.net import Address
from extproc.transport import listen
from extproc.transport.listen import ListenError, Tls


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/oai/w0.sock", Address(path="/run/oai/w0.sock")),
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
        ("localhost", "HOST:PORT"),
        ("localhost:65536", "HOST:PORT"),
        ("unix:w0.sock", "absolute path"),
        ("unix:/" + "a" * 107, "longer than 107 bytes"),
    ],
)
def test_a_text_that_is_no_address_is_rejected(text, words):
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


def test_the_socket_of_a_dead_process_is_cleared(socket_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    listen.clear_stale(Address(path=str(socket_path)))
    assert not socket_path.exists()
    listen.clear_stale(Address(path=str(socket_path)))


def test_the_socket_of_a_living_process_is_left_alone(socket_path):
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(socket_path))
        alive.listen()
        with pytest.raises(ListenError, match="another process is listening"):
            listen.clear_stale(Address(path=str(socket_path)))
    assert socket_path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ListenError, match=f"there is no folder {tmp_path / 'run'}; make it"):
        listen.clear_stale(Address(path=str(tmp_path / "run" / "w0.sock")))


def test_a_file_is_left_alone(socket_path):
    socket_path.write_text("precious")
    with pytest.raises(ListenError, match="is no socket"):
        listen.clear_stale(Address(path=str(socket_path)))
    assert socket_path.read_text() == "precious"


def test_a_port_has_nothing_to_clear_or_to_share():
    listen.clear_stale(Address("127.0.0.1", 80))
    listen.share(Address("127.0.0.1", 80))
