"""Logs of the programs that tests start, searched for crashes.

Every test fails in whose time one of them reports a crash, and in whose time a supervisor starts a program again,
unless the test has declared that it ends programs itself (`Watched.restarts`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# `^`: without it, a search begins again at each character of a line that has none of these.
CRASH = re.compile(
    r"^.*(?:SIGSEGV|SIGABRT|SIGBUS|SIGILL|SIGFPE|Segmentation fault|Caught \w+ fault|\[critical\]).*", re.MULTILINE
)
RESTART = re.compile(r"^.*, starting it again.*", re.MULTILINE)


@dataclass
class Watched:
    """A log, and how much of it has been searched, in characters."""

    read: Callable[[], str]
    restarts: bool = False
    """Restarts are expected: the test ends programs."""
    searched: int = 0

    def faults(self) -> list[str]:
        """Return the lines since the last search that report a crash."""
        text = self.read()
        end = text.rfind("\n") + 1
        news, self.searched = text[self.searched : end], max(self.searched, end)
        return CRASH.findall(news) + ([] if self.restarts else RESTART.findall(news))


@dataclass
class Watch:
    """The logs of this run."""

    logs: dict[Path, Watched] = field(default_factory=dict)

    def add(self, path: Path) -> Watched:
        """Watch a log from its beginning."""
        self.logs[path] = watched = Watched(lambda: path.read_text(errors="replace") if path.exists() else "")
        return watched

    def check(self) -> None:
        """Fail if a program has reported a crash since the last check; logs that are gone are forgotten."""
        faults = {str(path): lines for path, log in self.logs.items() if (lines := log.faults())}
        self.logs = {path: log for path, log in self.logs.items() if path.exists()}
        assert not faults, faults


WATCH = Watch()
