"""A writer of lines to a descriptor that may have no reader: a thread writes, so that no caller waits.

Invariant: `LineWriter.write` does not block, and the queue stays below `limit` bytes. Lines are written whole and in
order. Lines that exceed the limit, or that the descriptor did not accept, are counted; their number is written as a
line in their place, as soon as the descriptor accepts one. A line that was written in part is ended before the next,
and counts as dropped.

Decision: docs/decisions.md, D75.
"""

import atexit
import functools
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

LIMIT = 1024 * 1024
"""Longest queue, in bytes."""

FLUSH_SECONDS = 1.0
"""Timeout of the last lines at the end of a process, in seconds."""

_BATCH = 4096
"""Bytes of one write. A pipe accepts these atomically, so that lines of several writers do not mix (PIPE_BUF)."""

_NEWLINE = ord("\n")

_OVERHEAD = 64
"""Bytes that a line counts beside its length."""


class LineWriter:
    """A writer to one descriptor, in a thread that does not keep the process alive. Thread-safe."""

    def __init__(self, descriptor: int, limit: int = LIMIT) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._entries: deque[bytes | int] = deque()
        """Whole lines, and numbers of lines that were dropped in that place."""
        self._size = 0
        self._writing = False
        self._lost = 0
        """Lines that the descriptor did not accept since it last accepted one."""
        self._torn = False
        """Set if the descriptor accepted only a part of its last line."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, lines: bytes) -> None:
        """Queue one or several whole lines; drop them if the queue is full."""
        cost = len(lines) + _OVERHEAD
        with self._changed:
            if self._size + cost > self._limit:
                self._drop(lines.count(b"\n"))
            else:
                self._entries.append(lines)
                self._size += cost
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until the queue is written, at most `seconds`; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._entries and not self._writing, seconds)

    def _drop(self, count: int) -> None:
        if self._entries and isinstance(self._entries[-1], int):
            count += int(self._entries.pop())
        self._entries.append(count)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._entries)
                batch = self._take()
                self._writing = True
            self._put(batch)

    def _take(self) -> bytes:
        """Remove the entries of the next write, and return their lines."""
        batch = b""
        while self._entries:
            entry = self._entries[0]
            lines = _missing(entry) if isinstance(entry, int) else entry
            if batch and len(batch) + len(lines) > _BATCH:
                break
            batch += lines
            self._size -= 0 if isinstance(entry, int) else len(entry) + _OVERHEAD
            self._entries.popleft()
        return batch

    def _put(self, batch: bytes) -> None:
        """Write a batch; count the lines that the descriptor does not accept.

        The pipe may be closed, or the disk or the memory full; further lines are tried all the same.
        """
        lost = self._lost
        head = (b"\n" if self._torn else b"") + (_missing(lost) if lost else b"")
        taken = 0
        try:
            whole = head + batch
            while taken < len(whole):
                taken += self._write_some(memoryview(whole)[taken:])
        except Exception:  # the thread must go on after any error
            self._lost = (lost if taken < len(head) else 0) + batch.count(b"\n", max(0, taken - len(head)))
        else:
            self._lost = 0
        if taken:
            last = head[taken - 1] if taken <= len(head) else batch[taken - len(head) - 1]
            self._torn = last != _NEWLINE

    def _write_some(self, rest: memoryview) -> int:
        try:
            return os.write(self._descriptor, rest)
        except BlockingIOError:  # another process with this descriptor has made it non-blocking
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0


def _missing(count: int) -> bytes:
    lines = "1 line was" if count == 1 else f"{count} lines were"
    return f"({lines} dropped here: this log was not read in time)\n".encode()


@functools.cache
def writer(descriptor: int) -> LineWriter:
    """Return the writer of this process for `descriptor`; it is flushed at the end of the process."""
    lines = LineWriter(descriptor)
    atexit.register(lines.flush)
    return lines


def writer_of(stream: TextIO | None) -> LineWriter | None:
    """Return the writer of a standard stream; None for a stream without a descriptor."""
    try:
        return writer(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):
        return None


def write_line(line: str) -> None:
    """Write one line to standard error, without waiting for a reader."""
    error = writer_of(sys.stderr)
    if error is not None:
        error.write(line.encode(errors="backslashreplace") + b"\n")
    elif sys.stderr is not None:
        print(line, file=sys.stderr)


def to_stdout() -> Callable[[bytes], None]:
    """Return a function that writes whole lines to standard output, if there is one."""
    output = writer_of(sys.stdout)
    return output.write if output is not None else _nowhere


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Flush standard output and standard error, each for at most `seconds`."""
    for stream in (sys.stdout, sys.stderr):
        lines = writer_of(stream)
        if lines is not None:
            lines.flush(seconds)


def open_standard_streams() -> None:
    """Open /dev/null in place of a closed standard stream, so that no socket gets its number and its lines."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _nowhere(_lines: bytes) -> None:
    pass
