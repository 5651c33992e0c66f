"""A command line in a folder of its own, and a gateway.yaml."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extproc.cli import main
from tests.unit.cli.running import CONFIG, Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in a folder of its own, with no AWS variables in the environment but those of the test."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}

    def run(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
        settings = {**nothing, "AWS_EC2_METADATA_DISABLED": "true", **environment}
        return CliRunner(env=settings).invoke(main, arguments, input=stdin)

    return run


@pytest.fixture
def gateway_yaml(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG)
    return path
