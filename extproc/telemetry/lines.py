"""Lines for a descriptor that may have no reader: a thread writes them, so that no caller waits for the reader.

Invariant: `LineWriter.write` does not block, and what waits to be written stays below `limit` bytes. Lines come out
whole and in order. Lines that found no room, or that the descriptor did not take, are counted, and the count is a line
of its own where they are missing, as soon as the descriptor takes one. A line of which the descriptor took a part only
is ended before the next, and counts as dropped.
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
"""Bytes that wait for a reader."""

FLUSH_SECONDS = 1.0
"""Longest wait for a reader of the last lines, at the end of a process."""

_BATCH = 4096
"""Bytes of one write: what a pipe takes whole, so that lines of several writers do not mix (PIPE_BUF)."""

_NEWLINE = ord("\n")

_OVERHEAD = 64
"""Bytes that a line counts beside its own."""


class LineWriter:
    """Writes to one descriptor, in a thread that does not keep the process alive. Thread-safe."""

    def __init__(self, descriptor: int, limit: int = LIMIT) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._entries: deque[bytes | int] = deque()
        """Whole lines; a number is that of the lines that were dropped there."""
        self._size = 0
        self._writing = False
        self._refused = 0
        """Lines that the descriptor did not take since it last took one."""
        self._torn = False
        """Whether the descriptor took only a part of its last line."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, lines: bytes) -> None:
        """Write one or several whole lines soon; drop them where too much waits already."""
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
        """Wait until everything is written, at most `seconds`; return whether it is."""
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
        """Remove the next entries, as many as one write may have, and return their lines."""
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
        """Write all of it; count the lines that the descriptor does not take.

        Nobody may have the other end, or there is no room, or no memory: the next lines may find it otherwise.
        """
        refused = self._refused
        head = (b"\n" if self._torn else b"") + (_missing(refused) if refused else b"")
        taken = 0
        try:
            whole = head + batch
            while taken < len(whole):
                taken += self._write_some(memoryview(whole)[taken:])
        except Exception:  # the thread must go on, whatever it is
            self._refused = (refused if taken < len(head) else 0) + batch.count(b"\n", max(0, taken - len(head)))
        else:
            self._refused = 0
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
    """Return the writer of this process for `descriptor`; its last lines have a moment at the end of the process."""
    lines = LineWriter(descriptor)
    atexit.register(lines.flush)
    return lines


def writer_of(stream: TextIO | None) -> LineWriter | None:
    """Return the writer of a standard stream; None where there is no descriptor behind it."""
    try:
        return writer(stream.fileno()) if stream is not None else None
    except (OSError, ValueError):
        return None


def say(line: str) -> None:
    """Write one line to standard error, without waiting for a reader."""
    error = writer_of(sys.stderr)
    if error is not None:
        error.write(line.encode(errors="backslashreplace") + b"\n")
    elif sys.stderr is not None:
        print(line, file=sys.stderr)


def to_stdout() -> Callable[[bytes], None]:
    """Return what takes whole lines for standard output; without standard output they go nowhere."""
    output = writer_of(sys.stdout)
    return output.write if output is not None else _nowhere


def flush(seconds: float = FLUSH_SECONDS) -> None:
    """Give the readers of standard output and standard error that long, each, to take the last lines."""
    for stream in (sys.stdout, sys.stderr):
        lines = writer_of(stream)
        if lines is not None:
            lines.flush(seconds)


def open_standard_streams() -> None:
    """Put /dev/null in place of a closed standard stream, so that no socket gets its number, and later its lines."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _nowhere(_lines: bytes) -> None:
    pass
