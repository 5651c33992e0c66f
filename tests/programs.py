"""A program that a test has started, and its output."""

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

DEADLINE = 60.0
"""Seconds after which a program is not going to be ready, or to end."""


@dataclass(frozen=True, eq=False)
class Program:
    """A process, and the file with its output on both of its streams."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, since: int = 0) -> "re.Match[str]":
        """Wait until its output matches."""
        end = time.monotonic() + DEADLINE
        while (match := re.search(pattern, self.output()[since:])) is None:
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, f"it does not print {pattern!r}:\n{self.output()}"
            time.sleep(0.02)
        return match

    def stop(self) -> int:
        """Terminate it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)
