"""The soak's own harness: it makes every kind of call, and sees what grows."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos import soak
from tests.conftest import Starter


def samples(growing: str | None = None) -> list[dict[str, Any]]:
    """Return forty samples, all alike but for what grows."""

    def value(name: str, base: int, at: int) -> int:
        return base + (base // 10 * at if name == growing else 0)

    return [
        {
            "memory": {name: value(f"memory of {name}", 100 << 20, at) for name in soak.PROGRAMS},
            "descriptors": {name: value(f"descriptors of {name}", 50, at) for name in soak.PROGRAMS},
            "latency": value("latency", 20, at),
        }
        for at in range(40)
    ]


@pytest.mark.parametrize("growing", ["memory of Envoy", "memory of worker", "descriptors of worker", "latency"])
def test_growing_figures_are_named(growing: str) -> None:
    [growing_figure] = soak.grows(soak.growth(samples(growing)))
    assert growing_figure.startswith(f"{growing}: ")


def test_flat_figures_are_not_named() -> None:
    assert soak.grows(soak.growth(samples())) == []


def test_a_short_soak(tmp_path: Path) -> None:
    starter = Starter(tmp_path)
    try:
        figures = soak.soak(starter, seconds=12, interval=2)
    finally:
        starter.end()
    assert figures["unexpected"] == []
    assert figures["calls"].keys() == soak.KINDS.keys()
    assert all(one["memory"].keys() == one["descriptors"].keys() == soak.PROGRAMS.keys() for one in figures["samples"])
