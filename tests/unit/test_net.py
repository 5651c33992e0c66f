"""Addresses, and the bundle of certificate authorities."""

from pathlib import Path

import pytest

from extproc.envoy_config import drain_socket
from extproc.net import Address, ca_bundle, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/oai/w0.sock", Address(path="/run/oai/w0.sock")),
        ("unix:///run/w0.sock", Address(path="/run/w0.sock")),
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:8080", Address("::1", 8080)),
        ("bedrock.example:0", Address("bedrock.example", 0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "8080", "unix:w0.sock", "::1:8080", "host:99999", "host:-1", "host:", ":80", "a:1:2"]
)
def test_a_text_that_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"as in (unix:/run|127\.0\.0\.1)"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("unix:/w0.sock", True),
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("10.0.0.1:1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("localhost.example:1", False),
    ],
)
def test_addresses_that_stay_on_this_machine(text: str, stays: bool) -> None:
    assert parse_address(text).stays_here is stays


def test_a_drain_is_announced_on_a_socket_only() -> None:
    assert drain_socket(Address(path="/run/oai/admin.sock")) == Address(path="/run/oai/drain.sock")
    assert drain_socket(Address("127.0.0.1", 9901)) is None


def test_awss_own_setting_comes_first(tmp_path: Path) -> None:
    assert ca_bundle({"AWS_CA_BUNDLE": "/my/ca.pem"}, [str(tmp_path)]) == Path("/my/ca.pem")


def test_the_systems_file_comes_next(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    assert ca_bundle({}, ["/nowhere.pem", str(tmp_path / "ca.pem")]) == tmp_path / "ca.pem"


def test_there_is_always_one() -> None:
    bundle = ca_bundle({}, [])
    assert b"BEGIN CERTIFICATE" in bundle.read_bytes()
