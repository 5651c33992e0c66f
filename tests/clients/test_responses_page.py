"""docs/responses.md, as its reader uses it: every block of code is run. Codex's is in test_codex.py."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extproc import config
from tests.clients.conftest import LocalBedrock
from tests.clients.test_readme import Block
from tests.conftest import Gateway
from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

PAGE = (Path(__file__).parents[2] / "docs" / "responses.md").read_text()
BLOCKS = [Block(*match) for match in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
ANSWER = 'get_weather says "18 degrees in Paris".\n'
ORGANISATIONS = "organisations: {acme: {}}\n"


def block(beginning: str) -> str:
    """The code of the block that begins so."""
    [code] = [block.code for block in BLOCKS if block.code.startswith(beginning)]
    return code


def past_kinds(local: LocalBedrock) -> list[str]:
    """The kinds of blocks of the assistant's turn in the last call to the model."""
    [turn] = [turn for turn in local.calls()[-1]["body"]["messages"] if turn["role"] == "assistant"]
    return [next(iter(block)) for block in turn["content"]]


def run(gateway: Gateway, *command: str) -> str:
    """Return what a command prints for whoever has exported the two variables; it must not fail."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AWS_"))}
    variables = {"OPENAI_BASE_URL": gateway.url, "OPENAI_API_KEY": gateway.tokens["ci"]}
    done = subprocess.run(command, env={**theirs, **variables}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_switch() -> None:
    settings = config.parse(block("endpoints:").encode())
    assert settings.offers("responses", settings.organisations["acme"])
    assert not settings.offers("responses", settings.organisations["frugal"])


def test_the_keys() -> None:
    keys = config.parse((ORGANISATIONS + block("responses:")).encode()).responses.keys
    assert [len(key) for key in keys] == [64, 64]


def test_a_request(responses_gateway: Gateway) -> None:
    code = block("curl ").replace("http://127.0.0.1:8080/oai/v1", responses_gateway.url)
    response = json.loads(run(responses_gateway, "bash", "-ec", code))
    assert response["status"] == "completed"
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]


def test_openai_agents(
    responses_gateway: Gateway, responses_local: LocalBedrock, python_with: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "example.py"
    file.write_text(block("from agents import"))
    assert run(responses_gateway, str(python_with("openai_agents")), str(file)) == ANSWER
    assert past_kinds(responses_local) == ["reasoningContent", "text", "toolUse"]


def test_vercel(responses_node: Any, responses_local: LocalBedrock, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    file = tmp_path / "example.mjs"
    file.write_text(block("import { openai }"))
    done = responses_node(str(file))
    assert (done.returncode, done.stdout) == (0, ANSWER), done.stderr
    assert past_kinds(responses_local) == ["reasoningContent", "text", "toolUse"]


def test_no_block_was_left_out() -> None:
    beginnings = (
        "endpoints:",
        "curl ",
        "responses:",
        "# ~/.codex/config.toml",
        "from agents import",
        "import { openai }",
    )
    assert [block.code.startswith(beginning) for block, beginning in zip(BLOCKS, beginnings, strict=True)] == [True] * 6
