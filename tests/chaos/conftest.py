"""Gateways for the scenarios, and the record of what they come to, which is written to .run/chaos.json.

The short form runs everything on one worker over http2, and most on two over grpcio; `--long` runs all four.
"""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.chaos.record import Record
from tests.chaos.scene import Scene
from tests.chaos.upstream import Upstream
from tests.conftest import Starter

ROOT = Path(__file__).parents[2]
LONGEST = 180
"""Seconds of the longest test; one that takes longer fails."""

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
    """All of this is run on demand only: by `make test-chaos`."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("chaos")


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail a test that hangs, wherever it does."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test takes longer than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config) -> Iterator[Record]:
    """What the scenarios came to."""
    record, begun = Record(), time.monotonic()
    yield record
    form = "long" if pytestconfig.getoption("--long") else "short"
    record.write(ROOT / ".run" / "chaos.json", {"form": form, "seconds": round(time.monotonic() - begun)})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A Bedrock for one test."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def scene_of(
    place: tuple[str, int], start_gateway: Starter, upstream: Upstream, record: Record
) -> Iterator[Callable[..., Scene]]:
    """Starts a gateway for one test; `config` replaces top-level keys."""
    scenes: list[Scene] = []

    def start(config: dict[str, Any] | None = None, **more: Any) -> Scene:
        transport, workers = place
        settings = {"transport": transport, "workers": workers, **(config or {})}
        env = {**upstream.environment, **more.pop("env", {})}
        gateway = start_gateway(settings, env=env, args=["--upstream", "aws", *more.pop("args", ())])
        scenes.append(Scene(gateway, upstream, transport, workers, record))
        scenes[-1].serves_again()
        return scenes[-1]

    yield start
    for scene in scenes:
        scene.close()


@pytest.fixture
def scene(scene_of: Callable[..., Scene]) -> Scene:
    """A gateway as it is by default."""
    return scene_of()
