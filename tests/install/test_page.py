"""docs/install.md: each command is run, or held against the one that is.

pip has the Python of the tests; uv and pipx have the newest others that are here.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.install.conftest import ROOT, Checkout, Terminal
from tests.install.first_use import BLOCKS, block, works
from tests.install.pythons import HERE, others

PAGE = ROOT / "docs" / "install.md"

RUN = {
    "make run": "tests/envoy/test_up.py",
    "make wheel ": "tests/install/conftest.py",
    "python3 -m venv": "tests/install/test_page.py",
    "pipx install": "tests/install/test_page.py",
    "uv tool install": "tests/install/test_page.py",
    "export OPENAI_API_KEY": "tests/install/first_use.py",
    "curl": "tests/install/first_use.py",
    "make wheel-compiled": "tests/install/test_compiled_wheel.py",
    "oai-extproc --version": "tests/install/first_use.py",
}
"""The beginning of each block, and the file that runs it."""


def test_every_block_is_run() -> None:
    assert [next(each for each in RUN if code.startswith(each)) for code in BLOCKS] == [*RUN]
    assert all((ROOT / path).exists() for path in RUN.values())


@pytest.mark.parametrize("target", ["run", "wheel", "wheel-compiled", "sdist", "image"])
def test_targets_exist(target: str) -> None:
    assert re.search(rf"\bmake {target}\b", PAGE.read_text())
    assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """The checkout with its wheel; pipx and uv install into `folder`, for a Python that they are told."""

    checkout: Checkout
    folder: Path

    def terminal(self, python: str) -> Terminal:
        """Open a terminal in the checkout."""
        places = {"PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin", "UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "bin"}
        variables = {name: str(self.folder / place) for name, place in places.items()}
        return Terminal(self.checkout.folder, {**variables, "UV_PYTHON": python, "PIPX_DEFAULT_PYTHON": python})

    def works(self, path: Path, version: str) -> None:
        """See that the command in `path` is for this Python, and follow the rest of the page with it."""
        interpreter = (path / "oai-extproc").read_text().splitlines()[0].removeprefix("#!")
        assert Terminal(self.folder).run(f"{interpreter} --version").startswith(f"Python {version}.")
        works(self.folder / "empty", path, self.checkout.commit)


@pytest.fixture
def place(checkout: Checkout, wheel: Path, tmp_path: Path) -> Place:
    return Place(checkout, tmp_path)


def test_pip(place: Place) -> None:
    here = str(place.folder / "venv")
    code = block("python3 -m venv").replace("~/oai-extproc", here).replace("$HOME/oai-extproc", here)
    code = code.replace("python3 -m", f"{sys.executable} -m") + "command -v oai-extproc"
    assert place.terminal(sys.executable).run(code).splitlines()[-1] == f"{here}/bin/oai-extproc"
    place.works(place.folder / "venv" / "bin", HERE)


def test_uv(place: Place) -> None:
    version, python = others()[0]
    code = block("uv tool install").replace("uv", f"{sys.executable} -m uv", 1)
    terminal = place.terminal(python)
    terminal.run(code)
    terminal.run(code.replace("install", "install --quiet --force", 1))  # as docs/upgrading.md has it
    place.works(place.folder / "bin", version)


def test_pipx(place: Place) -> None:
    version, python = others()[:2][-1]
    pipx = f"{sys.executable} -m uv tool run --quiet --python {sys.executable} pipx"
    place.terminal(python).run(block("pipx install").replace("pipx", pipx, 1))
    place.works(place.folder / "bin", version)
