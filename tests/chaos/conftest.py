"""Gateways for the scenarios, and the record of their outcomes, which is written to .run/chaos.json.

The short form runs everything on one worker over http2, and most on two over grpcio; `--long` runs all four.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.record import Record
from tests.chaos.scene import Scene
from tests.chaos.upstream import Upstream
from tests.conftest import Starter

ROOT = Path(__file__).parents[2]
MATRIX = (("http2", 1), ("grpcio", 2), ("http2", 2), ("grpcio", 1))
SHORT_FORM = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`, for these tests."""
    parser.addoption("--long", action="store_true", help="every scenario on every transport and number of workers")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each gateway of the matrix; the first and the last of the short form are the most different."""
    if "place" in metafunc.fixturenames:
        chosen = MATRIX if metafunc.config.getoption("--long") else MATRIX[:SHORT_FORM]
        metafunc.parametrize("place", chosen, ids=lambda one: f"{one[0]}-{one[1]}", scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all of this: it is run on demand only, by `make test-chaos`."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("chaos")


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config) -> Iterator[Record]:
    """Return the record of the scenarios' outcomes."""
    record, started = Record(), time.monotonic()
    yield record
    form = "long" if pytestconfig.getoption("--long") else "short"
    record.write(ROOT / ".run" / "chaos.json", {"form": form, "seconds": round(time.monotonic() - started)})


class Scenes:
    """Starts scenes on gateways of one place in the matrix, and ends them all."""

    def __init__(self, place: tuple[str, int], starter: Starter, record: Record) -> None:
        self._place, self._starter, self._record = place, starter, record
        self._scenes: list[Scene] = []
        self._upstreams: list[Upstream] = []

    def __call__(self, config: dict[str, Any] | None = None, *, args: Sequence[str] = ()) -> Scene:
        """Return a scene that serves; `config` replaces top-level keys."""
        transport, workers = self._place
        upstream = Upstream()
        self._upstreams.append(upstream)
        settings = {"transport": transport, "workers": workers, **(config or {})}
        gateway = self._starter(settings, env=upstream.environment, args=["--upstream", "aws", *args])
        scene = Scene(gateway, upstream, transport, workers, self._record)
        self._scenes.append(scene)
        scene.serves_again()
        return scene

    def end(self) -> None:
        """End the callers and the upstreams; the gateways are their starter's."""
        for scene in self._scenes:
            scene.close()
        for upstream in self._upstreams:
            upstream.close()


@pytest.fixture
def scene_of(place: tuple[str, int], start_gateway: Starter, record: Record) -> Iterator[Scenes]:
    """Starts gateways for one test."""
    scenes = Scenes(place, start_gateway, record)
    yield scenes
    scenes.end()


@pytest.fixture
def fragile(scene_of: Scenes) -> Scene:
    """A gateway for one test, whose programs the test ends."""
    scene = scene_of()
    scene.gateway.expect_restarts()
    return scene


@pytest.fixture(scope="session")
def scene(place: tuple[str, int], tmp_path_factory: pytest.TempPathFactory, record: Record) -> Iterator[Scene]:
    """A gateway for all tests that change nothing about it."""
    starter = Starter(tmp_path_factory.mktemp("chaos"))
    scenes = Scenes(place, starter, record)
    yield scenes()
    scenes.end()
    starter.end()


@pytest.fixture(scope="session")
def impatient(place: tuple[str, int], tmp_path_factory: pytest.TempPathFactory, record: Record) -> Iterator[Scene]:
    """A gateway that gives up on a silent Bedrock after two seconds."""
    starter = Starter(tmp_path_factory.mktemp("impatient"))
    scenes = Scenes(place, starter, record)
    yield scenes({"streaming": {"keepalive_seconds": 0.5, "idle_seconds": 2}})
    scenes.end()
    starter.end()
