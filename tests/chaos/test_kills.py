"""A program is killed, or stopped, in each phase of a call."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.chaos.callers import BROKEN, ERROR, NO_RESPONSE, WHOLE
from tests.chaos.scene import PHASES, Scene

SECTION = "A program dies"
WORKER, ENVOY = "extproc.worker.command", "envoy -c"

BEFORE = {
    # The request's headers are with Envoy alone: a worker that is back, or another, serves the call.
    "headers": (ERROR, WHOLE),
    "body": (ERROR,),
    "waiting": (ERROR,),
    "streaming": (BROKEN, ERROR),
    "ending": (BROKEN, ERROR),
}
"""Outcomes of a worker's death for its caller, by phase. A buffered call's response does not begin before its end."""


def kill(scene: Scene, program: str) -> Callable[[], None]:
    """Return what kills the first process of this program, and sees it gone."""

    def strike() -> None:
        since = len(scene.gateway.log())
        os.kill(scene.gateway.pids(program)[0], signal.SIGKILL)
        scene.gateway.wait_for("was ended by SIGKILL", since)

    return strike


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "stream"])
def test_kill_9_of_a_worker_in_every_phase(fragile: Scene, stream: bool) -> None:
    """Five kills: as many short lives as a program may have in a row."""
    for phase in PHASES:
        sees = BEFORE[phase] if fragile.workers == 1 else (*BEFORE[phase], WHOLE)
        fragile.run(
            SECTION,
            "kill -9 of a worker" if fragile.workers == 1 else "kill -9 of one of two workers",
            phase,
            stream=stream,
            strike=kill(fragile, WORKER),
            sees=sees,
            spares_neighbours=False,
        )


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "stream"])
def test_kill_9_of_envoy_in_every_phase(fragile: Scene, stream: bool) -> None:
    for phase in PHASES:
        sees = (BROKEN, NO_RESPONSE)
        strike = kill(fragile, ENVOY)
        fragile.run(
            SECTION, "kill -9 of Envoy", phase, stream=stream, strike=strike, sees=sees, spares_neighbours=False
        )
