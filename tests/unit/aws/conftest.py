"""A fixture that replaces the machine's AWS settings with those of a test."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Clear every AWS setting; the result sets variables, and `config` and `credentials` write those files."""
    files = {"config": tmp_path / "aws-config", "credentials": tmp_path / "aws-credentials"}
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(files["config"]))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files["credentials"]))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def setting(**variables: str) -> None:
        for name, value in variables.items():
            if name in files:
                files[name].write_text(value)
            else:
                monkeypatch.setenv(name, value)

    return setting
