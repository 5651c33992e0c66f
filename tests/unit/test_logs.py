"""The search of programs' logs, by which a crash fails the test in whose time it happened."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.containers import Containers
from tests.logs import Watch


@pytest.mark.parametrize(
    "line",
    [
        "[2026-11-28 10:00:00.000][7][critical][backtrace] Caught Segmentation fault, suspect faulting address 0x0",
        "envoy: was ended by SIGSEGV, starting it again",
        "worker-0: was ended by SIGKILL, starting it again",
    ],
)
def test_a_crash_is_reported_once(tmp_path: Path, line: str) -> None:
    watch, log = Watch(), tmp_path / "log"
    watch.add(log)
    log.write_text(f"serving\n{line}\nserving\n")
    with pytest.raises(AssertionError, match=line[-20:]):
        watch.check()
    watch.check()


def test_a_line_that_is_not_whole_is_searched_when_it_is(tmp_path: Path) -> None:
    watch, log = Watch(), tmp_path / "log"
    watch.add(log)
    log.write_text("envoy: was ended by SIGS")
    watch.check()
    log.write_text("envoy: was ended by SIGSEGV\n")
    with pytest.raises(AssertionError):
        watch.check()


def test_a_test_that_ends_programs_may_see_restarts_but_no_crash(tmp_path: Path) -> None:
    watch, log = Watch(), tmp_path / "log"
    watch.add(log).restarts = True
    log.write_text("worker-0: was ended by SIGKILL, starting it again\n")
    watch.check()
    log.write_text(log.read_text() + "envoy: was ended by SIGSEGV, starting it again\n")
    with pytest.raises(AssertionError):
        watch.check()


class Engine:
    """A Docker engine with one container, as the client shows it."""

    def __init__(self) -> None:
        self.log, self.attrs = "serving\n", {"RestartCount": 0, "State": {}}
        self.state(Status="running", StartedAt="10:00", FinishedAt="", ExitCode=0, OOMKilled=False)
        self.containers = SimpleNamespace(list=lambda **_: [self])

    id, name = "1", "oai-test-envoy-1"

    def state(self, **changes: object) -> None:
        self.attrs["State"] = {**self.attrs["State"], **changes}

    def logs(self) -> bytes:
        return self.log.encode()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def containers(engine: Engine) -> Containers:
    containers = Containers(engine, ("oai-test-",))
    containers.check()
    return containers


def test_a_crash_in_a_containers_log_is_reported_once(engine: Engine, containers: Containers) -> None:
    engine.log += "[2026-11-28 10:00:00.000][7][critical][backtrace] Caught Segmentation fault\n"
    with pytest.raises(AssertionError, match=r"oai-test-envoy-1: .*Segmentation fault"):
        containers.check()
    containers.check()


def test_a_crash_is_remembered_when_the_container_is_removed(engine: Engine, containers: Containers) -> None:
    engine.log += "Caught Aborted fault\n"
    containers.search()
    engine.containers.list = lambda **_: []
    with pytest.raises(AssertionError, match="Aborted"):
        containers.check()
    containers.check()


def test_a_container_that_docker_restarts_is_reported_unless_declared(engine: Engine, containers: Containers) -> None:
    engine.attrs["RestartCount"] = 1
    with pytest.raises(AssertionError, match="started it again"):
        containers.check()
    engine.attrs["RestartCount"] = 2
    containers.restarts = True
    containers.check()
    engine.attrs["RestartCount"] = 3
    with pytest.raises(AssertionError, match="started it again"):
        containers.check()


@pytest.mark.parametrize(
    ("state", "fault"), [({"ExitCode": 139}, "it ended by SIGSEGV"), ({"ExitCode": 137, "OOMKilled": True}, "memory")]
)
def test_how_a_container_ends(engine: Engine, containers: Containers, state: dict[str, object], fault: str) -> None:
    engine.state(Status="exited", FinishedAt="10:01", **state)
    with pytest.raises(AssertionError, match=fault):
        containers.check()
    containers.check()
    engine.state(StartedAt="10:02", FinishedAt="10:03", ExitCode=137, OOMKilled=False)  # `docker kill`: the test's own
    containers.check()


def test_containers_of_other_runs_are_not_ours(engine: Engine) -> None:
    engine.log += "Caught Aborted fault\n"
    Containers(engine, ("oai-docs-",)).check()
