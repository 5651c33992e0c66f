"""`extproc.build`: the commit of a copy, however it was made. tests/install builds and installs such copies."""

import subprocess
from pathlib import Path

import pytest

from extproc import build
from tests.repository import commit_all, git

DIGEST = "0123456789ab" + "f" * 52


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Create a checkout with one commit, whose package is `extproc`."""
    (tmp_path / "extproc").mkdir()
    (tmp_path / "extproc" / "__init__.py").write_text("")
    git(tmp_path, "init", "--quiet")
    commit_all(tmp_path)
    return tmp_path


def test_a_checkout_has_the_commit_and_its_changes_show(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert build.commit_of(checkout) == commit
    (checkout / "extproc" / "__init__.py").write_text("changed = True\n")
    assert build.commit_of(checkout) == f"{commit}-dirty"


def test_a_tag_is_no_commit(checkout: Path) -> None:
    git(checkout, "tag", "v9")
    assert build.commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_worktree_is_a_checkout(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("worktree") / "other"
    git(checkout, "worktree", "add", "--quiet", "--detach", str(other))
    assert build.commit_of(other) == git(checkout, "rev-parse", "HEAD")


def test_a_folder_within_another_repository_has_no_commit(checkout: Path) -> None:
    unpacked = checkout / "unpacked"
    (unpacked / "extproc").mkdir(parents=True)
    assert build.commit_of(unpacked) is None


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert build.commit_of(tmp_path) is None


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert build.commit_of(checkout) is None


def test_the_variables_of_a_hook_name_no_other_repository(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    other = tmp_path_factory.mktemp("hook")
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert build.commit_of(checkout) == commit


def copied(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `extproc.build` take itself for the one of this copy."""
    monkeypatch.setattr(build, "__file__", str(package / "build.py"))


def test_a_record_comes_before_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(checkout / "extproc", monkeypatch)
    assert build.commit() == git(checkout, "rev-parse", "HEAD")
    (checkout / "extproc" / build.RECORD).write_text("0123\n")
    assert build.commit() == "0123"


def test_a_copy_without_either_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "extproc").mkdir()
    copied(tmp_path / "extproc", monkeypatch)
    assert build.commit() == "unknown: made from a folder without Git"


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `extproc.build` find an image's record."""
    (tmp_path / "source").write_text(f"{DIGEST}\n")
    monkeypatch.setattr(build, "IMAGE_SOURCE", tmp_path / "source")


@pytest.mark.usefixtures("image")
def test_an_image_has_the_revision_of_its_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.IMAGE_REVISION, "4567-dirty")
    assert build.commit() == "4567-dirty"


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("revision", [None, "", "unknown"])
def test_an_image_without_a_revision_names_its_source(revision: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if revision is None:
        monkeypatch.delenv(build.IMAGE_REVISION, raising=False)
    else:
        monkeypatch.setenv(build.IMAGE_REVISION, revision)
    assert build.commit() == "unknown: the image was built without REVISION, from the source 0123456789ab"


def test_the_variable_of_an_image_says_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.IMAGE_REVISION, "4567")
    assert not build.in_image()
    assert build.commit() != "4567"


def test_the_dockerfile_sets_the_variable() -> None:
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text()
    stage = dockerfile.partition("FROM base AS extproc\n")[2]
    lines = [line for line in stage.splitlines() if not line.startswith("#")]
    assert lines[lines.index("ARG REVISION=unknown") + 1] == f"ENV {build.IMAGE_REVISION}=$REVISION"
    assert f"/opt/oai/{build.IMAGE_SOURCE.relative_to(build.IMAGE_SOURCE.parents[2]).parent}" in dockerfile


def test_git_is_asked_as_the_makefile_asks_it() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    [line] = [line for line in makefile.splitlines() if line.startswith("REVISION ")]
    assert "git describe --always --dirty --abbrev=40 --exclude '*'" in line
    source = Path(build.__file__).read_text()
    assert '"describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"' in source


def test_it_runs_without_the_package() -> None:
    """setup.py runs it before anything is installed."""
    script = "import runpy, sys; print(runpy.run_path(sys.argv[1])['RECORD'])"
    command = ["python3", "-I", "-S", "-c", script, build.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{build.RECORD}\n"
