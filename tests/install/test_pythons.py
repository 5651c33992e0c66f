"""Each Python that the package is for: what is locked has wheels for it. test_page.py runs those that are here."""

import sys
from pathlib import Path

import pytest

from tests.install.conftest import ROOT, Terminal
from tests.install.pythons import PROJECT, VERSIONS


def test_the_versions_are_those_that_pip_takes() -> None:
    assert VERSIONS == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["requires-python"] == ">=3.11,<3.15"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_locked_has_wheels(version: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m uv pip install --dry-run --only-binary :all: --constraint constraints.txt"
    extras = "--requirements pyproject.toml --extra envoy --extra tokens"
    Terminal(ROOT).run(f"{command} --python-version {version} --target {tmp_path / 'nowhere'} {extras}")
