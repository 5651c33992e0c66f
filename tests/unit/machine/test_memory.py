"""The memory limit of a process, and the budget of bytes in flight that a worker derives from it."""

from pathlib import Path

import pytest

from extproc.config import parse
from extproc.config.capacity import STREAM_BYTES
from extproc.machine.memory import budget_of, memory_limit, too_little

GIB = 1 << 30
FILES = 2**20
MACHINE = 16 * GIB


def limit_of(folder: Path, own: str, **files: str) -> int:
    """Return the limit of these control groups; a file's name is its path with `__` for `/`."""
    root = folder / "cgroup"
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_max", ".max").replace("_limit", ".limit_in_bytes")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "own").write_text(own)
    return memory_limit(root, folder / "own", MACHINE)


def test_a_containers_limit_of_version_2(tmp_path: Path) -> None:
    assert limit_of(tmp_path, "0::/\n", memory_max=f"{GIB}\n") == GIB


def test_a_containers_limit_of_version_1(tmp_path: Path) -> None:
    assert limit_of(tmp_path, "4:memory:/\n", memory__memory_limit=f"{GIB}\n") == GIB


@pytest.mark.parametrize(
    ("unit", "slice_", "limit"), [("max", str(GIB), GIB), (str(GIB), "max", GIB), (str(2 * GIB), str(GIB), GIB)]
)
def test_the_lowest_limit_above_a_process_counts(tmp_path: Path, unit: str, slice_: str, limit: int) -> None:
    files = {"system__gateway__memory_max": unit, "system__memory_max": slice_}
    assert limit_of(tmp_path, "0::/system/gateway\n", **files) == limit


def test_other_groups_and_other_controllers_do_not_count(tmp_path: Path) -> None:
    own = "3:cpu,cpuacct:/small\n4:memory:/mine\n0::/\n"
    files = {"memory__small__memory_limit": "4096", "memory__mine__memory_limit": str(GIB), "small__memory_max": "4096"}
    assert limit_of(tmp_path, own, **files) == GIB


@pytest.mark.parametrize("content", ["max\n", "9223372036854771712\n", str(MACHINE), "", "nonsense", "0", "-1"])
def test_without_a_limit_it_is_half_of_the_machine(tmp_path: Path, content: str) -> None:
    assert limit_of(tmp_path, "0::/\n", memory_max=content, memory__memory_limit=content) == MACHINE // 2


def test_without_control_groups_it_is_half_of_the_machine(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "nowhere", tmp_path / "nothing", MACHINE) == MACHINE // 2


def test_this_machine_has_memory() -> None:
    assert memory_limit() > 0


def test_the_budget_of_a_worker_is_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.machine.memory.memory_limit", lambda: 8 * GIB)
    one, four = (budget_of(parse(f"workers: {count}".encode()), FILES) for count in (1, 4))
    assert 3.5 < one.whole / four.whole < 4.5
    assert one.share == one.whole // 2
    assert budget_of(parse(b"organisations: {acme: {}}"), FILES).share == one.whole
    assert budget_of(parse(b"{}"), 1024).stream_bytes > one.stream_bytes == STREAM_BYTES
    assert budget_of(parse(b"{}"), FILES, GIB).whole < one.whole


def test_memory_below_the_configured_limits_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.machine.memory.memory_limit", lambda: GIB // 2)
    settings = parse(b"{}")
    warning = too_little(settings.limits, budget_of(settings, FILES))
    assert warning is not None
    assert "33554432" in warning
    settings = parse(b"limits: {request_bytes: 1000000}")
    assert too_little(settings.limits, budget_of(settings, FILES)) is None
