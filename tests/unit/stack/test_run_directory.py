"""The run directory of an `up`, and removals of its contents."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.stack.run_directory import Caretaker, RunDirectoryError, run_directory


@pytest.fixture
def folder() -> Iterator[Path]:
    with run_directory() as path:
        yield path


class CaredForFolder:
    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.folder = folder
        self.caretaker = Caretaker(folder, self.lines.append)

    def listen(self) -> socket.socket:
        """Bind Envoy's socket, as Envoy does at each start."""
        self.caretaker.admin.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.caretaker.admin))
        server.listen()
        return server

    def reaches(self, server: socket.socket) -> bool:
        """Return true if a connection to the path reaches this server."""
        server.setblocking(False)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.caretaker.admin))
            try:
                server.accept()[0].close()
            except BlockingIOError:
                return False
        return True


@pytest.fixture
def stage(folder: Path) -> CaredForFolder:
    return CaredForFolder(folder)


def test_what_a_killed_start_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import os, signal\nfrom extproc.stack.run_directory import run_directory\n"
        "with run_directory() as path:\n    (path / 'w0.sock').touch()\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    [left] = tmp_path.glob("oai-*")
    unlocked, strange = tmp_path / "oai-unlocked", tmp_path / "oai-file"
    unlocked.mkdir()
    strange.touch()
    with run_directory() as first, run_directory() as second:
        assert not left.exists()
        assert {first, second, unlocked, strange} == set(tmp_path.glob("oai-*"))
    assert {unlocked, strange} == set(tmp_path.glob("oai-*"))


def test_before_envoy_starts_nothing_is_reported(stage: CaredForFolder) -> None:
    stage.caretaker.check()
    assert stage.lines == []


def test_the_admin_socket_is_put_back(stage: CaredForFolder) -> None:
    with stage.listen() as server:
        for _ in range(2):
            stage.caretaker.check()
            stage.caretaker.admin.unlink()
            stage.caretaker.check()
            assert stage.reaches(server)
    assert stage.lines == [f"{stage.caretaker.admin} was removed: put back"] * 2


def test_that_of_an_envoy_that_was_started_again_is(stage: CaredForFolder) -> None:
    with stage.listen():
        stage.caretaker.check()
    with stage.listen() as server:
        stage.caretaker.check()
        stage.caretaker.admin.unlink()
        stage.caretaker.check()
        assert stage.reaches(server)


def test_the_whole_folder_is_made_again_and_a_failure_is_reported_once(stage: CaredForFolder) -> None:
    with stage.listen():
        stage.caretaker.check()
        shutil.rmtree(stage.folder)
        for _ in range(3):
            stage.caretaker.check()
    assert stage.folder.stat().st_mode & 0o777 == 0o700
    assert stage.lines[0] == f"{stage.folder} was removed: made again"
    assert len(stage.lines) == 2
    assert "calls go on" in stage.lines[1]


@pytest.mark.parametrize("kind", ["link", "open"])
def test_a_folder_that_another_has_made_there_is_not_taken(kind: str, stage: CaredForFolder, tmp_path: Path) -> None:
    shutil.rmtree(stage.folder)
    if kind == "link":
        stage.folder.symlink_to(tmp_path)
    else:
        stage.folder.mkdir(mode=0o755)
        stage.folder.chmod(0o755)
    for _ in range(2):
        stage.caretaker.check()
    with pytest.raises(OSError, match="another"):
        stage.caretaker.write("envoy.yaml", "text")
    (line,) = stage.lines
    assert "cannot be made again" in line
    assert list(stage.folder.iterdir()) == []
    if kind == "link":
        stage.folder.unlink()


def test_a_file_is_there_with_its_content_at_each_start(stage: CaredForFolder) -> None:
    path = stage.caretaker.write("envoy.yaml", "text")
    before = path.stat()
    assert stage.caretaker.write("envoy.yaml", "text") == path
    assert path.stat().st_ino == before.st_ino
    path.unlink()
    assert stage.caretaker.write("envoy.yaml", "text").read_text() == "text"
    shutil.rmtree(stage.folder)
    assert stage.caretaker.write("envoy.yaml", "text").read_text() == "text"


def test_nothing_looks_old(stage: CaredForFolder) -> None:
    path = stage.caretaker.write("envoy.yaml", "text")
    with stage.listen():
        stage.caretaker.check()
        everything = [stage.folder, path, stage.caretaker.admin, stage.folder / "names"]
        for each in everything:
            os.utime(each, (1, 1))
        stage.caretaker.touch()
        assert all(each.stat().st_mtime > 1 for each in everything)


def test_no_folder_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(RunDirectoryError, match=r"TMPDIR"), run_directory():
        pass
