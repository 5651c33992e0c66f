"""docs/local-bedrock.md, as its reader uses it: every block of code is run, and every directive is in its table."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bedrock_local import controls
from tests.clients.test_readme import Block, ReaderOfReadme

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "local-bedrock.md").read_text()
BLOCKS = [Block(*match) for match in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
[REQUEST] = [block.code for block in BLOCKS if block.code.startswith("ask() {")]

LISTEN = "http://127.0.0.1:9000"


@dataclass(frozen=True)
class Terminal:
    """A reader's terminal: the function of the page is defined, and the page's port is the local Bedrock's."""

    reader: ReaderOfReadme
    local_url: str

    def shell(self, code: str) -> str:
        return self.reader.shell(REQUEST + code.replace(LISTEN, self.local_url))


@pytest.fixture
def terminal(tmp_path: Path, gateway: Any, request: pytest.FixtureRequest) -> Terminal:
    return Terminal(ReaderOfReadme(tmp_path, gateway, request), gateway.local_url)


@pytest.fixture
def alone() -> Iterator[str]:
    """The URL of a local Bedrock without a gateway, started as the page starts it, on a free port."""
    [command] = [block.code for block in BLOCKS if "-m bedrock_local --listen" in block.code]
    words = command.split()[1:]
    words[words.index("127.0.0.1:9000")] = "127.0.0.1:0"
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


def start(terminal: Terminal, code: str) -> None:
    """`up` itself is what these tests run against: of its options, that they exist."""
    options = re.findall(r"--[a-z-]+", code)
    shown = terminal.reader.shell(".venv/bin/oai-extproc up --help")
    assert options
    assert all(option in shown for option in options)
    terminal.reader.shell(f"{code.strip()} --dry-run --directory {ROOT}")


def definition(terminal: Terminal, code: str) -> None:
    assert terminal.shell("type ask").startswith("ask is a")


def throttling(terminal: Terminal, code: str) -> None:
    shown = terminal.shell(code)
    assert shown.startswith("HTTP/1.1 429 ")
    assert '"code":"rate_limit_exceeded"' in shown
    assert "Slow down." in shown


def first_event(terminal: Terminal, code: str) -> None:
    assert terminal.shell(code).startswith("HTTP/1.1 503 ")


def middle(terminal: Terminal, code: str) -> None:
    shown = terminal.shell(code)
    assert shown.startswith("HTTP/1.1 200 ")
    assert '"content":"' in shown
    assert 'data: {"error":' in shown
    assert "[DONE]" not in shown


def broken(terminal: Terminal, code: str) -> None:
    shown = terminal.shell(code)
    assert '"content":"' in shown
    assert re.search(r"^curl ends with [1-9]", shown, re.MULTILINE)
    assert "[DONE]" not in shown


def other_ends(terminal: Terminal, code: str) -> None:
    shown = terminal.shell(code)
    assert '"finish_reason":"content_filter"' in shown
    assert '"content":""' in shown or '"content":null' in shown


def held(terminal: Terminal, code: str) -> None:
    shown = terminal.shell(code)
    assert '{"released": 1}' in shown
    assert "data: [DONE]" in shown


def arrived(terminal: Terminal, code: str) -> None:
    [call] = json.loads(terminal.shell(code))
    assert (call["operation"], call["state"]) == ("Converse", "finished")
    assert call["model"] == "amazon.nova-micro-v1:0"
    assert call["body"]["inferenceConfig"] == {"maxTokens": 5}


RUNNERS: dict[str, Callable[[Terminal, str], None]] = {
    "make run": start,
    "ask() {": definition,
    "status=429": throttling,
    "exception=serviceUnavailableException": first_event,
    "exception=modelStreamErrorException after=4": middle,
    "cut after=4": broken,
    "stop=guardrail_intervened": other_ends,
    "[[local: hold]]": held,
    "/_local/calls": arrived,
}
"""Part of a block's code -> what runs it."""

ALONE = ("-m bedrock_local", "curl -sS http://127.0.0.1:9000/model/", "import boto3")


@pytest.mark.parametrize("part", RUNNERS)
def test_a_block(terminal: Terminal, part: str) -> None:
    [code] = [block.code for block in BLOCKS if part in block.code]
    RUNNERS[part](terminal, code)


def test_without_the_gateway(terminal: Terminal, alone: str) -> None:
    [curl] = [block.code for block in BLOCKS if ALONE[1] in block.code]
    body = json.loads(terminal.reader.shell(curl.replace(LISTEN, alone)))
    assert body["output"]["message"]["content"] == [{"text": 'You said: "Hello!" (1 text block, 0 images, 1 turn).'}]
    [python] = [block.code for block in BLOCKS if ALONE[2] in block.code]
    shown = terminal.reader.python(python.replace(LISTEN, alone))
    assert "messageStart" in shown
    assert "throttlingException" in shown.splitlines()[-1]


def test_no_block_was_left_out() -> None:
    for block in BLOCKS:
        assert sum(part in block.code for part in (*RUNNERS, *ALONE)) == 1, block.code


def test_the_table_has_every_directive() -> None:
    """The table names the keys that the parser has and no others; each of its examples is accepted."""
    section = PAGE.partition("### All directives")[2].partition("\n## ")[0]
    examples = re.findall(r"`([^`]+)`", "".join(line.split(" | ")[0] for line in section.splitlines() if "| `" in line))
    for example in examples:
        controls.parse(f"[[local: {example}]]")
    named = {example.partition("=")[0] for example in examples} | set(
        re.findall(r"`(after|type|message|arguments)=", section)
    )
    assert named == controls.KEYS
    assert set(re.findall(r"`hold=(\w+)`", section)) == {"1", *controls.HOLDS} - {"here"}
