"""`serve` and `drain`: their errors."""

from pathlib import Path

import click
import pytest

from extproc.transport import health
from tests.unit.cli.running import Cli, is_rejected


@pytest.mark.parametrize("option", ["--notice", "--grace"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-0.5", "5s"])
@pytest.mark.usefixtures("gateway_yaml")
def test_a_worker_with_an_invalid_timeout(cli: Cli, option: str, value: str) -> None:
    options = ["--config", "gateway.yaml", "--listen", "unix:/nowhere/w0.sock"]
    assert is_rejected(cli("serve", *options, option, value), option, "is not a number of seconds from 0")


# drain


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "--admin"),
        (["--admin", "127.0.0.1:9901"], "unix:/run/oai/admin.sock"),
        (["--admin", "unix:/a", "--notice", "-1"], "--notice"),
        (["--admin", "unix:/a", "--notice", "nan"], "--notice"),
        (["--admin", "unix:/a", "--timeout", "inf"], "--timeout"),
    ],
)
def test_a_drain_that_cannot_be_meant(cli: Cli, options: list[str], word: str) -> None:
    assert is_rejected(cli("drain", *options), word)


def test_a_drain_whose_announcement_has_no_place(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "drain.sock").write_text("a file")
    options = ["--admin", "unix:/nowhere", "--announce", f"unix:{tmp_path}/drain.sock"]
    assert is_rejected(cli("drain", *options), "is no socket; remove it")
    options = ["--admin", "unix:/nowhere", "--announce", f"unix:{tmp_path}/nowhere/drain.sock"]
    assert is_rejected(
        cli("drain", *options), "nowhere/drain.sock: there is no folder", "make it, or choose another path"
    )


@pytest.mark.parametrize(("missed", "drained"), [(0, True), (2, True), (3, False)])
def test_a_worker_that_is_only_busy_does_not_keep_envoy_from_being_drained(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, missed: int, drained: bool
) -> None:
    questions = []

    def check(_worker: object, _seconds: float) -> None:
        questions.append(1)
        if len(questions) <= missed:
            raise health.SilentError("no answer")

    async def drain(*_: object) -> None:
        click.echo("draining")

    monkeypatch.setattr(health, "check", check)
    monkeypatch.setattr("extproc.envoy_admin.drain.drain_and_announce", drain)
    result = cli("drain", "--admin", "unix:/a", "--worker", "unix:/b")
    assert (result.exit_code, "draining" in result.output) == (0, drained)
