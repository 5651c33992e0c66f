"""The folder of one `up`: sockets, Envoy's configuration, and the workers' last good settings.

Other programs may remove files below /tmp: old ones, or all. So everything here is touched now and then, and what is
gone is made again: the folder and Envoy's admin socket here, Envoy's configuration before each of its starts, and the
workers' sockets and settings by the workers.

Envoy cannot make its admin socket anew without a restart, which would cut all calls. But a socket is found by any of
its names, so a second one is kept, below `names/`.

A process that is killed leaves its folder. Each holds a lock in it while it lives, so that the next start can tell and
remove such folders.

Invariant: the folder is this user's alone, also when it is made again; a folder whose lock is held is not removed.

Decision: docs/decisions.md, D77.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from extproc.stack.supervisor import Report
from extproc.transport.listen import MAX_SOCKET_PATH

PREFIX = "oai-"
LOCK = "lock"

CHECK_SECONDS = 1.0
TOUCH_SECONDS = 3600.0
"""Interval at which files are touched: less than any age at which temporary files are removed."""


class RunDirectoryError(Exception):
    """No folder can be made; the message names where and why."""


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """Make a private folder, and remove it at the end with all that is in it. Raises `RunDirectoryError`."""
    remove_left_behind()
    try:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
        if len(str(path / "worker-63.sock").encode()) > MAX_SOCKET_PATH:
            path.rmdir()
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    except OSError as error:
        raise RunDirectoryError(
            f"no folder for sockets can be made ({error}); let TMPDIR name a folder that has room and can be written to"
        ) from error
    with locked(path):
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which shows other starts that it is in use; without locks here, it stays unlocked."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            draft = folder / f".{LOCK}"
            file = stack.enter_context(draft.open("wb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(folder / LOCK)  # locked before others can see it
        yield


def remove_left_behind() -> None:
    """Remove folders of starts that were killed: this user's, with a lock that nobody holds."""
    for root in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - `run_directory` makes them there too
        for folder in Path(root).glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    """Raises `OSError` for a folder that is in use, of another user, or no folder of a start."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    with (folder / LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


class Caretaker:
    """The task that keeps the folder at `path` complete."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path = path
        self._report = report
        self._trouble = ""
        self._touched = 0.0
        self._had_admin = False

    @property
    def admin(self) -> Path:
        """Envoy's admin socket."""
        return self.path / "admin.sock"

    @property
    def _second_name(self) -> Path:
        return self.path / "names" / "admin.sock"

    async def run(self) -> None:
        """Check the folder, again and again, until cancelled."""
        clock = asyncio.get_running_loop().time
        self._touched = clock()
        while True:
            self.check()
            if clock() - self._touched > TOUCH_SECONDS:
                self._touched = clock()
                self.touch()
            await asyncio.sleep(CHECK_SECONDS)

    def check(self) -> None:
        """Make again what is gone, and report it."""
        try:
            self._make()
            trouble = self._keep_admin()
        except OSError as error:
            trouble = f"{self.path} was removed, and cannot be made again: {error.strerror}"
        if trouble and trouble != self._trouble:
            self._report(trouble)
        self._trouble = trouble

    def write(self, name: str, content: str) -> Path:
        """Write a file unless it has this content; return its path. Raises `OSError`."""
        self._make()
        path = self.path / name
        with contextlib.suppress(OSError):
            if path.read_text() == content:
                return path
        draft = path.with_name(f".{name}")
        draft.write_text(content)
        draft.replace(path)
        return path

    def touch(self) -> None:
        """Touch all files, so that programs that remove old ones leave them."""
        for folder, _, names in os.walk(self.path):
            for name in (*names, ""):
                with contextlib.suppress(OSError):
                    os.utime(Path(folder, name), follow_symlinks=False)

    def _make(self) -> None:
        """Make the folder if it is gone; reject one of another user."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
            self._report(f"{self.path} was removed: made again")
        status = self.path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise OSError(0, "something of another's is there")

    def _keep_admin(self) -> str:
        """Give the admin socket its second name, or its first one back; return what is wrong, if it has none."""
        admin, second = self.admin, self._second_name
        if admin.exists():
            second.parent.mkdir(mode=0o700, exist_ok=True)
            self._had_admin = True
            if not second.exists() or second.stat().st_ino != admin.stat().st_ino:
                second.unlink(missing_ok=True)
                os.link(admin, second)
            return ""
        if second.exists():
            os.link(second, admin)
            self._report(f"{admin} was removed: put back")
            return ""
        if not self._had_admin:  # Envoy has not started yet
            return ""
        return (
            f"{admin} was removed, and Envoy makes it only when it starts: calls go on, but calls that are in flight "
            "when this ends are cut"
        )
