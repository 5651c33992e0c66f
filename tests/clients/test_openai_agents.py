"""openai-agents, which speaks nothing but Responses by default, in a Python of its own (programs/)."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

PROGRAM = Path(__file__).parent / "programs" / "openai_agents_runs.py"
PARIS, ROME = (f'get_weather says "18 degrees in {city}".' for city in ("Paris", "Rome"))

Outcomes = dict[str, Any]


@pytest.fixture(scope="module", params=["anthropic.claude-sonnet-4-6", "amazon.nova-2-lite-v1:0"])
def outcomes(
    responses_gateway: Gateway, python_with: Callable[[str], Path], request: pytest.FixtureRequest
) -> Outcomes:
    """The outcomes of the program's runs, by their names."""
    variables = {"OPENAI_BASE_URL": responses_gateway.url, "OPENAI_API_KEY": responses_gateway.tokens["ci"]}
    done = subprocess.run(
        [str(python_with("openai_agents")), str(PROGRAM), request.param],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: Outcomes = json.loads(done.stdout)
    return outcomes


def test_a_loop_of_tools_in_a_session(outcomes: Outcomes) -> None:
    assert outcomes["tools"] == {"outputs": [PARIS, ROME], "requests": 2}


def test_reasoning_in_the_loop(outcomes: Outcomes) -> None:
    assert outcomes["reasoning"]["output"] == PARIS
    assert outcomes["reasoning"]["items"][0] == "reasoning_item"


def test_streams_in_the_loop(outcomes: Outcomes) -> None:
    streaming = outcomes["streaming"]
    assert streaming["output"] == PARIS
    assert streaming["text"].endswith(PARIS)
    assert streaming["completed"] == 2


def test_a_handoff(outcomes: Outcomes) -> None:
    assert outcomes["handoff"]["agent"] == "Spanish agent"
    assert 'System: "Habla."' in outcomes["handoff"]["output"]


def test_a_typed_output(outcomes: Outcomes) -> None:
    assert outcomes["structured"] == {"city": "Paris"}
