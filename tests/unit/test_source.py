"""deploy/docker/source.py: one digest for a checkout, for the part of it that a build sees, and for its commit."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.repository import commit_all, git
from tests.scripts import load

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "docker" / "source.py"


@pytest.fixture(scope="module")
def source() -> Any:
    return load(SCRIPT)


@pytest.fixture
def checkout(source: Any, tmp_path: Path) -> Path:
    """Create a small source with every file and folder of the real one, in a Git repository of its own."""
    for name in (*source.FILES, *(f"{folder}/__init__.py" for folder in source.FOLDERS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git(tmp_path, "init", "--quiet")
    commit_all(tmp_path)
    return tmp_path


def test_a_commit_has_the_digest_of_its_checkout(source: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_git", lambda *arguments: git(checkout, *arguments))
    before = source.of_folder(checkout)
    (checkout / "extproc" / "new é.json").write_text("{}")
    assert source.of_commit("HEAD") == before != source.of_folder(checkout)
    commit_all(checkout)
    assert source.of_commit("HEAD") == source.of_folder(checkout)
    assert source.of_commit("HEAD~1") == before


def test_the_commits_of_an_image_are_listed(source: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, first = source.of_folder(checkout), git(checkout, "rev-parse", "HEAD")
    (checkout / "NOTES").write_text("not part of the source")
    second = commit_all(checkout)
    (checkout / "setup.py").write_text("")
    commit_all(checkout)
    monkeypatch.setattr(source, "_git", lambda *arguments: git(checkout, *arguments))
    monkeypatch.setattr(source, "_output", lambda *command: f"{changed}\n")
    assert [line.split()[0] for line in source.find("oai-extproc").splitlines()] == [second, first]
    monkeypatch.setattr(source, "_output", lambda *command: f"{'0' * 64}\n")
    with pytest.raises(SystemExit, match="none of the last 3 commits has the source 0000"):
        source.find("oai-extproc")


@pytest.mark.parametrize("name", ["Dockerfile", "extproc/__init__.py", "deploy/docker/requirements.txt"])
def test_every_changed_byte_changes_the_digest(source: Any, checkout: Path, name: str) -> None:
    before = source.of_folder(checkout)
    with (checkout / name).open("a") as file:
        file.write("\n")
    assert source.of_folder(checkout) != before


def test_caches_and_other_files_do_not(source: Any, checkout: Path) -> None:
    before = source.of_folder(checkout)
    (checkout / "extproc" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "extproc" / "__pycache__" / "x.pyc").write_text("x")
    (checkout / "deploy" / "docker" / "measure.py").write_text("x")
    assert source.of_folder(checkout) == before


def test_an_image_of_another_source_is_reported(source: Any, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = checkout / "record"
    record.write_text(source.of_folder(checkout) + "\n")
    monkeypatch.setattr(source, "RECORD", record)
    assert source.compare(checkout) is None
    (checkout / "setup.py").write_text("")
    assert "docker-compose build" in source.compare(checkout)


def test_an_incomparable_source_is_reported_and_no_failure(
    source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record"
    record.write_text("0" * 64)
    monkeypatch.setattr(source, "RECORD", record)
    assert source.compare(tmp_path) is None
    assert re.search(r"cannot be compared .*: No such .*: .*Dockerfile", capsys.readouterr().err)


def test_git_has_the_digest_of_this_very_source(source: Any) -> None:
    status = ["git", "-C", str(ROOT), "status", "--porcelain", "--", *source.FILES, *source.FOLDERS]
    done = subprocess.run(status, capture_output=True, text=True, check=False)
    if done.returncode or done.stdout:
        pytest.skip("this source differs from its commit, or has none")
    assert source.of_commit("HEAD") == source.of_folder(ROOT)


def test_the_source_is_all_that_the_build_sees(source: Any) -> None:
    seen = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M))
    named = {name for name in seen if "*" not in name}
    assert named <= {*source.FILES, *source.FOLDERS}
    for name in {*source.FILES, *source.FOLDERS} - named:
        assert any(Path(name).match(pattern) for pattern in seen), name
