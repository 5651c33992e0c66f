"""Follows the ledger of usage, and adds what is new in it to the sums.

One worker of a machine does it, in a thread: the one that holds a lock. When it ends, another goes on where it was.

It reads the ledger and the files into which a rotation has renamed it (`usage.jsonl.1`, `usage.jsonl-20261130`), each
from where it was read to, for as long as it grows: after a rename, Envoy writes on into the renamed file until it opens
the new one. A file is known by its first line, which has an id that no other line has, so that it may be renamed, and a
copy counts nothing twice.

The invariant: a line counts once, and only with its newline. The thread reads a piece at a time and pauses, so that
calls are served beside a ledger of any size.

Decision: docs/decisions.md, D256.
"""

import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

from extproc.config.faults import printable
from extproc.config.usage import ROTATED
from extproc.openai.usage_query import DAY
from extproc.worker.file_lock import locked
from extproc.worker.sqlite_file import StoreError
from extproc.worker.usage_lines import summed
from extproc.worker.usage_store import UsageStore, oldest_kept

log = logging.getLogger(__name__)

PIECE: Final = 256 * 1024
"""Bytes that are read at once; no line of the gateway's is as long."""

PAUSE_SECONDS: Final = 0.01
"""Least pause between two pieces. It is as long as the piece took, so that half of the time is left to calls."""

POLL_SECONDS: Final = 1.0

TRY_SECONDS: Final = 2.0
"""Between two tries to become the one that reads, or after an error."""

NOTE_SECONDS: Final = 5
"""Between two notes that all was read, while nothing is new."""

_MODE: Final = 0o600


class UsageReader:
    """The thread's work: call `run` in it, and `stop` in any other. `clock` returns unix seconds."""

    def __init__(self, ledger: Path, store: Path, keep_days: int, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._path = store
        self._lock = store.with_name(f".{store.name}.reader")
        self._keep_days = keep_days
        self._clock = clock
        self._stop = threading.Event()
        self._read: dict[tuple[int, int], tuple[int, int]] = {}
        """The size and the time of change of each file (device, inode) that was read to its end."""
        self._passed_over: dict[Path, int | None] = {}
        """Files that cannot be read, and why."""
        self._forgot = self._noted = 0
        self._trouble = ""

    def stop(self) -> None:
        """Let `run` end soon."""
        self._stop.set()

    def run(self) -> None:
        """Read until stopped, as soon as no other worker does. Errors are logged, and it is tried again."""
        while not self._stop.is_set():
            try:
                with locked(self._lock, _MODE, 1, 0):
                    self._follow()
            except BlockingIOError:
                pass  # another worker reads
            except (OSError, StoreError) as error:
                self._tell(str(error))
            except Exception:  # a bug, too, is no reason to stop for good
                log.exception("usage cannot be summed up")
            self._stop.wait(TRY_SECONDS)

    def _follow(self) -> None:
        self._read, self._noted, self._forgot = {}, 0, 0
        with UsageStore(self._path) as store:
            while not self._stop.is_set() and store.is_there():
                self.catch_up(store)
                self._stop.wait(POLL_SECONDS)

    def catch_up(self, store: UsageStore) -> None:
        """Read what is new in all files. Raises `OSError` or `StoreError`, but not for a ledger that is missing."""
        now = int(self._clock())
        oldest = oldest_kept(now - DAY, self._keep_days)  # a day more, for queries that were checked before midnight
        if abs(now - self._forgot) >= DAY:
            for _ in store.forget(oldest):
                if self._stop.wait(PAUSE_SECONDS):
                    return
            self._forgot = now
        read, grown = {}, False
        for path, found in self._files():
            inode, state = (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns)
            if self._read.get(inode) != state:
                try:
                    grown = self._read_on(path, store, oldest) or grown
                except OSError as error:
                    self._pass_over(path, error)
                    continue  # it may be readable the next time, and otherwise the same
            read[inode] = state
        if self._stop.is_set():
            return
        self._read = read
        if grown or abs(now - self._noted) >= NOTE_SECONDS:
            store.caught_up(now)
            store.shorten()
            self._noted = now
        self._tell("")

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """Return the ledger and what it was renamed into, the oldest first. Raises `OSError` where there is none."""
        found, name = [], self._ledger.name
        with os.scandir(self._ledger.parent) as entries:
            for entry in entries:
                if entry.name.startswith(name) and ROTATED.fullmatch(entry.name[len(name) :]):
                    try:
                        found.append((Path(entry.path), entry.stat()))
                    except FileNotFoundError:
                        pass  # renamed or removed meanwhile
                    except OSError as error:
                        self._pass_over(Path(entry.path), error)
        if not found:
            raise FileNotFoundError(f"there is no {self._ledger}; Envoy makes it when it starts")
        regular = [each for each in found if stat.S_ISREG(each[1].st_mode)]
        return sorted(regular, key=lambda each: each[1].st_mtime_ns)

    def _read_on(self, path: Path, store: UsageStore, oldest: dict[int, int]) -> bool:
        """Add the new lines of a file; return whether there were any. A file that is gone by now has none."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            first = _first_line(file)
            if not first:
                return False
            offset = start = self._offset(path, file, first, store)
            for lines, end in _pieces(file, start):
                begun = time.monotonic()
                sums, broken = summed(lines)
                store.add(sums, oldest, first, offset, end, int(self._clock()))
                offset = end
                if broken:
                    log.warning("%s has %d lines that are no records; they are left out", path, broken)
                if self._stop.wait(max(PAUSE_SECONDS, time.monotonic() - begun)):
                    break
            return offset > start

    def _offset(self, path: Path, file: IO[bytes], first: bytes, store: UsageStore) -> int:
        """Return up to which byte the file was read."""
        offset, size = store.offset(first), os.fstat(file.fileno()).st_size
        if offset > size and path == self._ledger:
            # Its end is gone, as after a crash of the machine: those lines are in the sums, and what follows is new.
            store.add({}, {}, first, offset, size, int(self._clock()))
            return size
        return offset

    def _pass_over(self, path: Path, error: OSError) -> None:
        """Leave out a file that a rotation has made, and cannot be read. Raises `error` if it is the ledger."""
        if path == self._ledger:
            raise error
        if self._passed_over.get(path) != error.errno:
            log.warning("%s cannot be read, and its calls are left out: %s", printable(str(path)), error.strerror)
        self._passed_over[path] = error.errno

    def _tell(self, trouble: str) -> None:
        """Log what is wrong, once for as long as it is the same."""
        if trouble and trouble != self._trouble:
            log.warning("usage cannot be summed up in %s: %s", self._path, printable(trouble))
        if self._trouble and not trouble:
            log.info("usage is summed up in %s again", self._path)
        self._trouble = trouble


def _first_line(file: IO[bytes]) -> bytes:
    """Return a digest of the first line; empty if there is no whole one."""
    line = file.readline(PIECE)
    return hashlib.sha256(line).digest() if line.endswith(b"\n") or len(line) == PIECE else b""


def _pieces(file: IO[bytes], offset: int) -> Iterator[tuple[list[bytes], int]]:
    """Yield the whole lines from `offset` on, in pieces, and the offset behind each piece."""
    while True:
        file.seek(offset)
        data = file.read(PIECE)
        end = data.rfind(b"\n") + 1
        if not end and len(data) < PIECE:
            return
        lines = data[:end].split(b"\n")[:-1] if end else [data]  # a line that is too long is no record
        offset += end or len(data)
        yield lines, offset
