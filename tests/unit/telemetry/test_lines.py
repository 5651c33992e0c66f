"""Lines for a pipe that may have no reader: no write waits, and each lost line is counted."""

import contextlib
import errno
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.telemetry.lines import LineWriter

LONG = 60.0
"""Timeout for expected lines, in seconds."""


class Pipe:
    """A pipe; `fill` leaves no room in it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.junk = 0

    def fill(self) -> None:
        os.set_blocking(self.writer, False)
        try:
            while True:
                self.junk += os.write(self.writer, b"#" * 4096)
        except BlockingIOError:
            os.set_blocking(self.writer, True)

    def lines(self, writer: LineWriter, last: bytes) -> list[str]:
        """Read up to the line `last`, without the bytes that filled the pipe."""
        content = b""
        while not content.endswith(last + b"\n"):
            content += self.read()
        return content[self.junk :].decode().splitlines()

    def read(self) -> bytes:
        """Read the next bytes; fail if none arrive."""
        assert select.select([self.reader], [], [], LONG)[0], "nothing comes"
        piece = os.read(self.reader, 1 << 20)
        assert piece, "nobody writes any more"
        return piece

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_come_out_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer)
    for number in range(1000):
        writer.write(b"%d\n" % number)
    assert pipe.lines(writer, b"999") == [str(number) for number in range(1000)]
    assert writer.flush(LONG)


def test_without_a_reader_no_write_waits_and_dropped_lines_are_counted(pipe: Pipe) -> None:
    """The test would never end if a write waited. The thread may hold some lines more than the limit.

    It takes them whenever it runs first, which makes room once: so there are one or two gaps.
    """
    writer = LineWriter(pipe.writer, limit=10_000)
    pipe.fill()
    for number in range(20_000):
        writer.write(b"%d\n" % number)
    assert not writer.flush(0)
    assert os.read(pipe.reader, pipe.junk) == b"#" * pipe.junk
    pipe.junk = 0
    first = b""
    while b"dropped" not in first:
        first += pipe.read()
    writer.write(b"last\n")
    whole = first.decode().splitlines() + pipe.lines(writer, b"last")
    missing = [int(each[1]) for line in whole if (each := re.match(r"\((\d+) lines were dropped here", line))]
    numbers = [int(line) for line in whole if line.isdigit()]
    assert len(missing) in (1, 2)
    assert numbers == sorted(set(numbers))
    assert len(numbers) + sum(missing) == 20_000
    assert sum(len(str(number)) for number in numbers) < 20_000
    assert whole[-1] == "last"


def test_a_line_that_is_longer_than_the_limit_is_one_that_was_dropped(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, limit=1000)
    writer.write(b"#" * 1000 + b"\n")
    assert pipe.lines(writer, b"in time)") == ["(1 line was dropped here: this log was not read in time)"]


def test_a_line_that_is_longer_than_the_pipe_is_whole(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer)
    writer.write(b"#" * 500_000 + b"\n")
    writer.write(b"last\n")
    assert pipe.lines(writer, b"last") == ["#" * 500_000, "last"]


def test_a_descriptor_that_another_process_made_non_blocking(pipe: Pipe) -> None:
    pipe.fill()
    os.set_blocking(pipe.writer, False)
    writer = LineWriter(pipe.writer)
    writer.write(b"hello\n")
    assert not writer.flush(0.1)
    assert pipe.lines(writer, b"hello") == ["hello"]


def test_a_reader_that_has_gone(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer)
    os.close(pipe.reader)
    writer.write(b"one\n")
    writer.write(b"two\n")
    assert writer.flush(LONG)


def test_lines_lost_to_a_full_disk_are_counted_when_there_is_room_again(tmp_path: Path) -> None:
    """/dev/full never has room; afterwards the same descriptor is a file."""
    with open("/dev/full", "wb", buffering=0) as full, (tmp_path / "log").open("wb", buffering=0) as log:
        writer = LineWriter(full.fileno())
        writer.write(b"one\ntwo\n")
        assert writer.flush(LONG)
        os.dup2(log.fileno(), full.fileno())
        writer.write(b"three\n")
        assert writer.flush(LONG)
    assert (tmp_path / "log").read_text() == "(2 lines were dropped here: this log was not read in time)\nthree\n"


class Disk:
    """Stands in for `os.write`: takes `room` bytes, then fails with `error`."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.content = b""

    def write(self, _: int, data: memoryview) -> int:
        piece = bytes(data[: self.room])
        if not piece:
            raise self.error
        self.content += piece
        self.room -= len(piece)
        return len(piece)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("room", range(16))
def test_a_line_that_was_written_in_part_is_ended_and_counted(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(room, FULL)
    monkeypatch.setattr(os, "write", disk.write)
    writer = LineWriter(99)
    writer.write(b"one\ntwo\nthree\n")
    assert writer.flush(LONG)
    disk.room = 1000
    writer.write(b"four\n")
    assert writer.flush(LONG)
    lines = disk.content.decode().splitlines()
    written = [line for line in ("one", "two", "three") if line in lines]
    missing = 3 - (b"one\ntwo\nthree\n"[:room]).count(b"\n")
    notice = f"({missing} line{'s were' if missing > 1 else ' was'} dropped here: this log was not read in time)"
    assert len(written) in (3 - missing, 4 - missing)  # a line that only lacks its end is whole to a reader
    assert lines[-1] == "four"
    assert lines[-2] == (notice if missing else "three")


@pytest.mark.parametrize("room", range(80))
def test_a_notice_that_was_written_in_part_is_written_again(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(0, FULL)
    monkeypatch.setattr(os, "write", disk.write)
    writer = LineWriter(99)
    for line, there in ((b"one\n", 0), (b"two\n", room), (b"three\n", 1000)):
        disk.room = there
        writer.write(line)
        assert writer.flush(LONG)
    lines = disk.content.decode().splitlines()
    counts = [int(each[1]) for line in lines if (each := re.fullmatch(r"\((\d) lines? w.*in time\)", line))]
    assert lines[-1] == "three"
    assert sum(counts) + disk.content.count(b"two\n") in (2, 3)  # a notice that only lacked its end comes again


def test_the_thread_goes_on_after_an_error_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(0, MemoryError())
    monkeypatch.setattr(os, "write", disk.write)
    writer = LineWriter(99)
    writer.write(b"one\n")
    assert writer.flush(LONG)
    disk.room = 1000
    writer.write(b"two\n")
    assert writer.flush(LONG)
    assert disk.content == b"(1 line was dropped here: this log was not read in time)\ntwo\n"


PROGRAM = """
import logging, os, sys
from extproc.telemetry import lines, log
lines.open_standard_streams()
log.setup("info")
for number in range(int(sys.argv[1])):
    logging.getLogger("x").info("%d %s", number, "#" * 300)
lines.to_stdout()(b"called\\n")
lines.write_line("said")
"""


TOO_MANY, FEW = 5000, 500
"""Lines of this program that exceed the limit of waiting bytes together, and lines that do not."""


def run(count: int, **streams: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", PROGRAM, str(count)]
    return subprocess.Popen(command, **streams)  # type: ignore[call-overload, no-any-return]


def test_a_process_whose_log_is_not_read_ends(pipe: Pipe) -> None:
    pipe.fill()
    with run(TOO_MANY, stdout=pipe.writer, stderr=pipe.writer) as process:
        assert process.wait(LONG) == 0


def test_a_process_whose_log_is_closed_ends() -> None:
    closed = f"exec '{sys.executable}' -c '{PROGRAM}' {TOO_MANY} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", closed], timeout=LONG, check=False).returncode == 0


def test_the_last_lines_of_a_process_are_written(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, run(FEW, stdout=subprocess.DEVNULL, stderr=log) as process:
        assert process.wait(LONG) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == FEW + 1
    assert lines[-1] == "said"
