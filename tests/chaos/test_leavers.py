"""A caller leaves in each phase of its call: its call to Bedrock ends at once, and no other call is disturbed."""

import time

import pytest

from tests.chaos.callers import Outcome
from tests.chaos.scene import PHASES, Scene

SECTION = "A caller leaves"
LEFT = "left"
DEADLINE = 30.0


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "stream"])
def test_a_caller_that_leaves(scene: Scene, stream: bool, phase: str) -> None:
    beside = scene.neighbours()
    call = scene.begin(phase, stream=stream)
    since = time.monotonic()
    call.caller.leave()
    at_bedrock = phase not in ("headers", "body")
    if at_bedrock:
        assert call.script.left.wait(DEADLINE), "Bedrock goes on with a call that nobody waits for"
    seconds = round(time.monotonic() - since, 3)
    others = [one.end() for one in beside]
    assert scene.responds()
    assert call.script.arrived.is_set() == at_bedrock, "half a request reaches Bedrock"
    outcome = Outcome(LEFT, seconds=seconds)
    scene.check(outcome, others, [LEFT])
    note = "the call at Bedrock is ended" if at_bedrock else "nothing had left for Bedrock"
    scene.add(SECTION, "a caller leaves", phase, "stream" if stream else "buffered", outcome, others, note)
