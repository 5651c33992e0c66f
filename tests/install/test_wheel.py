"""The wheel, the source distribution and editable installations: what is in them, and that they know their commit."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from extproc import __version__
from tests.install.conftest import Checkout, Terminal
from tests.repository import commit_all, git

UNKNOWN = "unknown: made from a folder without Git"


def tracked(checkout: Checkout, *folders: str) -> set[str]:
    return set(git(checkout.folder, "ls-files", "--", *folders).splitlines())


def content(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def test_it_has_every_file_of_the_packages_and_nothing_else(wheel: Path, checkout: Checkout) -> None:
    files = content(wheel)
    assert files.keys() == tracked(checkout, "extproc", "bedrock_local") | {"extproc/commit.txt"}
    assert files.pop("extproc/commit.txt").decode().strip() == checkout.commit
    assert all(data == (checkout.folder / name).read_bytes() for name, data in files.items())


def test_its_metadata(wheel: Path) -> None:
    assert wheel.name == f"oai_extproc-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        folder = f"oai_extproc-{__version__}.dist-info"
        metadata = HeaderParser().parsestr(archive.read(f"{folder}/METADATA").decode())
        assert archive.read(f"{folder}/entry_points.txt").decode().split() == [
            *("[console_scripts]", "oai-extproc", "=", "extproc.cli:main")
        ]
        assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert (metadata["Name"], metadata["Version"]) == ("oai-extproc", __version__)
    assert not [each for each in metadata.get_all("Requires-Dist", []) if re.match(r"oai[-_.]extproc\b", each)]


def test_make_wheel_leaves_nothing_behind(wheel: Path, checkout: Checkout) -> None:
    assert not (checkout.folder / "build").exists()
    assert git(checkout.folder, "status", "--porcelain") == ""


# The commit


def packages(folder: Path, into: Path) -> Path:
    """Let setup.py make the folder of packages that becomes the wheel, and return it."""
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(into)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return into


def build(folder: Path, *options: str, into: Path) -> Path:
    """Build by setuptools, without what pip or make do around it; returns what was built."""
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    done = subprocess.run(
        [*command, *options, "--out-dir", str(into), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [built] = [path for path in into.iterdir() if path.suffix in (".whl", ".gz")]
    return built


MODULE = f"{sys.executable} -m extproc --version"


def printed(folder: Path, command: str = MODULE) -> str:
    """Return the commit that the copy in the folder prints, with the packages of the tests for its dependencies.

    An editable installation among those packages would be found before another one.
    """
    with tempfile.TemporaryDirectory() as packages_of_tests:
        for package in Path(sysconfig.get_path("purelib")).iterdir():
            if "extproc" not in package.name:
                (Path(packages_of_tests) / package.name).symlink_to(package)
        shown = Terminal(folder, {"PYTHONPATH": f"{folder}:{packages_of_tests}"}).run(command)
    match = re.fullmatch(rf"oai-extproc, version {re.escape(__version__)} \(commit (.*); interpreted\)\n", shown)
    assert match, shown
    return match[1]


@pytest.fixture
def source(checkout: Checkout, tmp_path: Path) -> Path:
    """The files of the checkout, as a tarball has them: without Git."""
    copy = tmp_path / "source"
    for name in tracked(checkout):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkout.folder / name, copy / name)
    return copy


def test_from_a_tarball_without_git(source: Path, tmp_path: Path) -> None:
    built = packages(source, tmp_path / "built")
    assert not (built / "extproc" / "commit.txt").exists()
    assert printed(built) == printed(source) == UNKNOWN


def test_from_a_tarball_within_another_repository(source: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    commit_all(tmp_path)
    assert printed(packages(source, tmp_path / "built")) == printed(source) == UNKNOWN


def test_by_way_of_a_source_distribution(checkout: Checkout, tmp_path: Path) -> None:
    archive = build(checkout.folder, "--sdist", into=tmp_path / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    folder = tmp_path / f"oai_extproc-{__version__}"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not {name for name in names if name.startswith(("tests", "bench", ".run"))}
    wheel = build(folder, "--wheel", into=tmp_path / "wheel")
    assert content(wheel).keys() == tracked(checkout, "extproc", "bedrock_local") | {"extproc/commit.txt"}
    with zipfile.ZipFile(wheel) as opened_wheel:
        opened_wheel.extractall(tmp_path / "unpacked")
    assert printed(tmp_path / "unpacked") == checkout.commit


def test_a_changed_checkout_shows_and_an_earlier_builds_record_is_replaced(source: Path, tmp_path: Path) -> None:
    git(source, "init", "--quiet")
    first = commit_all(source)
    (source / "extproc" / "shared_names.py").open("a").write("# changed\n")
    built = packages(source, tmp_path / "built")
    assert printed(built) == f"{first}-dirty"
    shutil.rmtree(source / ".git")
    assert printed(packages(source, built)) == UNKNOWN


def test_an_editable_installation_has_the_commit_of_its_checkout_now(source: Path, tmp_path: Path) -> None:
    git(source, "init", "--quiet")
    commit_all(source)
    uv = f"{sys.executable} -m uv"
    terminal = Terminal(tmp_path)
    terminal.run(f"{uv} venv --quiet --python {sys.executable} venv")
    terminal.run(f"{uv} pip install --quiet --python venv/bin/python --no-deps --editable source")
    assert not (source / "extproc" / "commit.txt").exists()
    (source / "extproc" / "shared_names.py").open("a").write("# changed\n")
    later = commit_all(source)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert printed(empty, f"{tmp_path}/venv/bin/oai-extproc --version") == later
