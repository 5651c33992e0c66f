"""Containers that tests run, searched for crashes as `tests.logs` searches the logs of programs.

A test fails in whose time a container's log reports a crash, in whose time one ends by a signal that is a crash or for
want of memory, and in whose time Docker starts one again, unless the test has declared that it ends programs itself
(`Containers.restarts`). A container is searched before it is removed.
"""

import signal
from dataclasses import dataclass, field

import docker

from tests.logs import Watched

CRASHES = {
    128 + number: number.name
    for number in (
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGSEGV,
    )
}
"""Exit codes of a program that crashed."""


@dataclass
class Progress:
    """The part of a container's log that has been read so far."""

    log: Watched
    restarts: int = 0
    """Number of restarts by Docker."""
    ended: tuple[str, str] = ("", "")
    """Times of its start and its end."""


@dataclass
class Containers:
    """The containers whose names begin with one of `prefixes`, on one engine."""

    client: docker.DockerClient
    prefixes: tuple[str, ...]
    restarts: bool = False
    """Restarts are expected until the next check: the test ends programs."""
    _progress: dict[str, Progress] = field(default_factory=dict)
    _faults: list[str] = field(default_factory=list)

    def search(self) -> None:
        """Remember the faults since the last search. Call it before containers are removed."""
        for container in self.client.containers.list(all=True, ignore_removed=True):
            if container.name.startswith(self.prefixes):
                self._faults += [f"{container.name}: {fault}" for fault in self._search(container)]

    def check(self) -> None:
        """Fail if there was a fault since the last check."""
        self.search()
        faults, self._faults, self.restarts = self._faults, [], False
        assert not faults, faults

    def _search(self, container: docker.models.containers.Container) -> list[str]:
        progress = self._progress.get(container.id)
        if progress is None:
            read = Watched(lambda: str(container.logs().decode(errors="replace")))
            progress = self._progress[container.id] = Progress(read)
        faults = progress.log.faults()
        state, restarts = container.attrs["State"], container.attrs["RestartCount"]
        if restarts > progress.restarts and not self.restarts:
            faults.append(f"it ended, and Docker started it again ({restarts} times so far)")
        ended = (state["StartedAt"], state["FinishedAt"])
        if state["Status"] == "exited" and ended != progress.ended:
            progress.ended = ended
            faults += [f"it ended by {CRASHES[code]}" for code in CRASHES if code == state["ExitCode"]]
            faults += ["it ended for want of memory"] if state["OOMKilled"] else []
        progress.restarts = restarts
        return faults
