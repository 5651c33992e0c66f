"""AWS's settings, as a test wants them and not as the machine has them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Clears every AWS setting; call it to set variables, and `config` and `credentials` to give those files a text."""
    files = {"config": tmp_path / "aws-config", "credentials": tmp_path / "aws-credentials"}
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(files["config"]))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files["credentials"]))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def setting(**given: str) -> None:
        for name, value in given.items():
            if name in files:
                files[name].write_text(value)
            else:
                monkeypatch.setenv(name, value)

    return setting
