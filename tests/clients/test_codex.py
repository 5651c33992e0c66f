"""The Codex CLI, as docs/responses.md configures it: turns in a folder, with what its model orders really done."""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import NODE, LocalBedrock
from tests.conftest import Gateway
from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

PAGE = (Path(__file__).parents[2] / "docs" / "responses.md").read_text()
[CONFIG] = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is none: whatever is not on this machine cannot be reached."""

Event = dict[str, Any]


class Codex:
    """A user of Codex in a folder of their own, with the page's configuration."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.work = folder / "work"
        self._home = folder / "home"
        for path in (self.work, self._home):
            path.mkdir()
        (self._home / "config.toml").write_text(CONFIG.replace("http://127.0.0.1:8080/oai/v1", gateway.url))
        self._key = gateway.tokens["ci"]

    def turn(self, text: str, *options: str, resume: bool = False) -> list[Event]:
        """Return the events of a turn; `resume` goes on with the last conversation."""
        command = ["codex", "exec", *(("resume", "--last") if resume else ()), "--json", "--strict-config"]
        command += ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", *options, "--", text]
        environment = {
            "PATH": f"{NODE}/node_modules/.bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self._home),
            "CODEX_HOME": str(self._home),
            "OPENAI_API_KEY": self._key,
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            command,
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events, done.stderr
        return events


@pytest.fixture
def codex(responses_gateway: Gateway, responses_node: Any, tmp_path: Path) -> Codex:
    done = responses_node("--version")  # it and Codex are installed
    assert done.returncode == 0, done.stderr
    return Codex(tmp_path, responses_gateway)


def order(tool: str, **arguments: Any) -> str:
    """A text that has the local Bedrock call this tool."""
    return f"Do it. [[local: call={tool} arguments={json.dumps(arguments)}]]"


def completed(events: list[Event], kind: str) -> list[Event]:
    """The items of a kind that are complete, of a turn that is."""
    assert events[-1]["type"] == "turn.completed", events[-1]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item for item in items if item["type"] == kind]


def test_two_turns_that_write_a_file_and_read_it(codex: Codex, responses_local: LocalBedrock) -> None:
    first = codex.turn(order("exec_command", cmd="echo Hello > greeting.txt"))
    assert [item["exit_code"] for item in completed(first, "command_execution")] == [0]
    assert (codex.work / "greeting.txt").read_text() == "Hello\n"
    assert completed(first, "reasoning")
    second = codex.turn(order("exec_command", cmd="cat greeting.txt"), resume=True)
    assert [item["aggregated_output"] for item in completed(second, "command_execution")] == ["Hello\n"]
    assert "Hello" in completed(second, "agent_message")[-1]["text"]
    assert [call["state"] for call in responses_local.calls()] == ["finished"] * 4
    body = responses_local.calls()[-1]["body"]
    turns = [[next(iter(block)) for block in message["content"]] for message in body["messages"]]
    calling, answering, result = ["reasoningContent", "text", "toolUse"], ["reasoningContent", "text"], ["toolResult"]
    assert turns == [["text", "text"], calling, result, answering, ["text"], calling, result]
    assert body["outputConfig"] == {"effort": "high"}


def test_a_tool_of_a_namespace(codex: Codex, responses_local: LocalBedrock) -> None:
    events = codex.turn(order("multi_agent_v1__close_agent", target="nobody"))
    assert "invalid agent id nobody" in completed(events, "agent_message")[-1]["text"]
    [use] = [
        block["toolUse"]
        for message in responses_local.calls()[-1]["body"]["messages"]
        for block in message["content"]
        if "toolUse" in block
    ]
    assert use["name"] == "multi_agent_v1__close_agent"


def test_an_image_that_it_looks_at_or_is_given(codex: Codex, responses_local: LocalBedrock) -> None:
    gif = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
    (codex.work / "dot.gif").write_bytes(gif)
    events = codex.turn(order("view_image", path="dot.gif"))
    assert completed(events, "agent_message")[-1]["text"] == 'view_image says "[image]".'
    responses_local.forget()
    assert completed(codex.turn("Hello.", "--image", "dot.gif"), "agent_message")
    *_, question = responses_local.calls()[0]["body"]["messages"]
    assert [block["image"]["format"] for block in question["content"] if "image" in block]


def test_an_answer_of_a_schema(codex: Codex, responses_local: LocalBedrock) -> None:
    properties = {"city": {"type": "string"}, "nights": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    (codex.work / "schema.json").write_text(json.dumps(schema))
    events = codex.turn("Plan a journey.", "--output-schema", "schema.json")
    [message] = completed(events, "agent_message")
    journey = json.loads(message["text"])
    assert [type(journey[name]) for name in properties] == [str, int]
    tools = {
        tool["toolSpec"]["name"]: tool["toolSpec"]
        for tool in responses_local.calls()[-1]["body"]["toolConfig"]["tools"]
    }
    assert tools["codex_output_schema"]["inputSchema"]["json"] == schema


def test_a_goal_of_its_own(codex: Codex) -> None:
    """Codex sends the goal as the output of no call, beside the result of the call that made it."""
    events = codex.turn(order("create_goal", objective="Win."))
    assert '"objective":"Win."' in completed(events, "agent_message")[-1]["text"]


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("exception=modelStreamErrorException after=5", "modelStreamErrorException was ordered."),
        ('status=400 type=ValidationException message="Not so."', "Not so."),
    ],
)
def test_a_failure_is_told(codex: Codex, directive: str, message: str) -> None:
    events = codex.turn(f"Hello. [[local: {directive}]]", "-c", "model_providers.gateway.stream_max_retries=0")
    assert events[-1]["type"] == "turn.failed"
    assert message in events[-1]["error"]["message"]
