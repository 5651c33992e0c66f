"""Calls that are alone on their Envoy for longer than it keeps an idle gRPC client (50 s)."""

from typing import Any

import pytest

from tests.chaos.callers import WHOLE
from tests.chaos.scene import Scene

SECTION = "Long calls"


def test_calls_of_55_s_alone(scene_of: Any, pytestconfig: pytest.Config) -> None:
    """Shorter ones, with a shorter cache, are in tests/envoy/gateway/test_long_calls.py."""
    if not pytestconfig.getoption("--long"):
        pytest.skip("a minute: in the long form only")
    scene: Scene = scene_of()
    calls = [scene.begin(phase, stream=stream) for phase in ("waiting", "streaming") for stream in (False, True)]
    calls[0].caller.wait_quietly(55)
    outcomes = [one.end() for one in calls]
    scene.check(outcomes[0], outcomes[1:], [WHOLE])
    for one, call in zip(outcomes, calls, strict=True):
        scene.add(SECTION, "55 s without another call", "", "stream" if call.caller.stream else "buffered", one, [])
    scene.serves_again()
