"""The Pythons that the package is for, and those of them that this machine has."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.install.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if each.startswith("Programming Language")]
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def found(version: str) -> str | None:
    """Return a Python of this version: on the PATH, or one of pyenv's, whose shims need not work."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    places = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python{version}"))]
    script = "import sys, venv, ssl; print('%d.%d' % sys.version_info[:2])"
    for place in filter(None, places):
        shown = subprocess.run([place, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        if shown.stdout == f"{version}\n":
            return place
    return None


def others() -> list[tuple[str, str]]:
    """Return version and place of each Python beside that of the tests, the newest first; that of the tests is last."""
    places = ((version, found(version)) for version in reversed(VERSIONS) if version != HERE)
    return [*((version, place) for version, place in places if place), (HERE, sys.executable)]
