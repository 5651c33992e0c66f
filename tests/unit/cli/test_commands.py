"""The command line without starting anything: output, error messages and exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from extproc import __version__
from extproc.cli import COMMANDS
from tests.unit.cli.running import Cli, is_rejected


@pytest.mark.parametrize(("is_compiled", "kind"), [(True, "compiled"), (False, "interpreted")])
def test_version(cli: Cli, is_compiled: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.cli.commit", lambda: "0123")
    monkeypatch.setattr("extproc.cli.compiled", lambda: is_compiled)
    shown = cli("--version")
    assert shown.stdout == f"oai-extproc, version {__version__} (commit 0123; {kind})\n"
    assert shown.exit_code == 0


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    shown = cli(command, "--help")
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) > 5
    assert command in cli("--help").stdout


def test_it_is_a_module_too() -> None:
    shown = subprocess.run([sys.executable, "-m", "extproc", "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Usage: oai-extproc [OPTIONS] COMMAND")


@pytest.mark.parametrize("command", ["check", "models", "envoy-config"])
def test_a_file_that_is_not_there(cli: Cli, command: str) -> None:
    assert is_rejected(cli(command, "--config", "nowhere.yaml"), "nowhere.yaml: No such file", "--config")


@pytest.mark.parametrize("command", ["check", "models", "envoy-config", "up"])
def test_an_unknown_key_is_rejected_with_its_path(cli: Cli, gateway_yaml: Path, command: str) -> None:
    gateway_yaml.write_text("organisations: {acme: {modles: {}}}")
    assert is_rejected(cli(command, "--config", "gateway.yaml"), "organisations", "modles", "unknown key")


@pytest.mark.parametrize(("address", "hint"), [("/run/oai/w0.sock", "unix:/run/oai/w0.sock"), ("w0", "unix:/path")])
def test_an_address_of_health_may_be_a_socket(cli: Cli, address: str, hint: str) -> None:
    assert is_rejected(cli("health", address), "HOST:PORT", hint)


def test_an_address_to_listen_on_is_no_socket(cli: Cli) -> None:
    result = cli("up", "--listen", "somewhere")
    assert is_rejected(result, "IP:PORT, as in 127.0.0.1:8080")
    assert "unix:" not in result.stderr
