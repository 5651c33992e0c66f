"""README.md, as its reader uses it: every block of code is run, and shows what it promises."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from extproc import config
from extproc.tenancy.api_keys import digest
from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)  # of Node, for the block in JavaScript

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NODE_MODULES = Path(__file__).parent / "node" / "node_modules"


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    code: str


BLOCKS = [Block(*match) for match in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)]


class ReaderOfReadme:
    """A reader in a terminal, in the project's folder, with the variables exported."""

    def __init__(self, folder: Path, gateway: Any, request: pytest.FixtureRequest) -> None:
        self.folder = folder
        self.token = gateway.tokens["ci"]
        self._request = request
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AWS_"))}
        path = f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}"
        self._environment = {**theirs, "PATH": path, "OPENAI_BASE_URL": gateway.url, "OPENAI_API_KEY": self.token}
        (folder / ".venv").symlink_to(Path(sys.prefix))

    def shell(self, code: str) -> str:
        """Return what a shell prints for this code; it must not fail."""
        return self._run("sh", "-eu", "-c", code)

    def python(self, code: str) -> str:
        """The same for a Python file."""
        return self._run(sys.executable, self._file("example.py", code))

    def node(self, code: str) -> str:
        """The same for a JavaScript file, in a folder with OpenAI's SDK."""
        node = self._request.getfixturevalue("node")
        (self.folder / "node_modules").symlink_to(NODE_MODULES)
        done = node(self._file("example.mjs", code))
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def _file(self, name: str, code: str) -> str:
        path = self.folder / name
        path.write_text(code)
        return str(path)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path, gateway: Any, request: pytest.FixtureRequest) -> ReaderOfReadme:
    return ReaderOfReadme(tmp_path, gateway, request)


# The treatment of each block


def makefile_targets(reader: ReaderOfReadme, code: str) -> None:
    """Check the targets' names; `make run` and `make test` are run by a test of their own."""
    for line in code.splitlines():
        command = line.partition("#")[0].strip()
        assert re.fullmatch(r"make [a-z-]+", command)
        reader.shell(f"{command} --dry-run --directory {ROOT}")


def variables(reader: ReaderOfReadme, code: str) -> None:
    (reader.folder / ".run").mkdir()
    (reader.folder / ".run" / "demo-token").write_text(reader.token + "\n")
    shown = 'echo "$OPENAI_BASE_URL"; echo "$OPENAI_API_KEY"; command -v oai-extproc'
    url, key, command = reader.shell(code + shown).split()
    assert url == "http://127.0.0.1:8080/oai/v1"
    assert key == reader.token
    assert command == str(reader.folder / ".venv" / "bin" / "oai-extproc")


def curl_buffered(reader: ReaderOfReadme, code: str) -> None:
    shown = reader.shell(code)
    assert '"object":"chat.completion"' in shown
    assert 'You said: \\"Hello!\\"' in shown


def curl_streaming(reader: ReaderOfReadme, code: str) -> None:
    shown = reader.shell(code)
    events = shown.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all('"object":"chat.completion.chunk"' in event for event in events[:-2])
    assert "".join(re.findall(r'"content":"([^"]*)"', shown)) == "1 2 3 4 5"


def python_example(reader: ReaderOfReadme, code: str) -> None:
    response, called, streamed, vectors = reader.python(code).splitlines()
    assert response.startswith('You said: "What is the weather in Paris?"')
    assert "name='get_weather'" in called
    assert "Paris" in called
    assert streamed.startswith('You said: "What is the weather in Paris?"')
    assert vectors == "2 vectors of 256"


def node_example(reader: ReaderOfReadme, code: str) -> None:
    counted, *models = reader.node(code).splitlines()
    assert counted == "1 2 3 4 5"
    assert {"anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0"} <= set(models)


def the_stack(reader: ReaderOfReadme, code: str) -> None:
    """Leave the stack to tests/compose, where there is a Docker engine, as docs/docker.md has it."""
    known = (ROOT / "docs" / "docker.md").read_text()
    for line in code.splitlines():
        assert f"\n{line.partition('#')[0].strip()}\n" in known


def own_tokens(reader: ReaderOfReadme, code: str) -> None:
    """Run the commands that end by themselves; `make run` is tested in tests/envoy/test_up.py."""
    *commands, run = code.splitlines()
    makefile_targets(reader, run)
    shown = reader.shell("\n".join([*commands, 'echo "the first: $OPENAI_API_KEY"']))
    assert "gateway.yaml is fine" in shown
    settings = config.load(reader.folder / "gateway.yaml")
    first, second = re.findall(r"^qc_[A-Za-z0-9_-]{43}$", shown.replace("the first: ", ""), re.MULTILINE)
    assert {digest(first), digest(second)} == {token.sha256 for token in settings.tokens}
    assert [token.organisations for token in settings.tokens] == [("acme",), ("acme",)]


def configuration(reader: ReaderOfReadme, code: str) -> None:
    settings = config.parse(code.encode())
    assert settings.region == "us-east-1"
    assert settings.organisations["acme"].models.allow == ("anthropic.*", "amazon.*")
    assert settings.organisations["acme"].models.deny == ("*nova-pro*",)
    [token] = settings.tokens
    assert (token.name, token.organisations) == ("ci", ("acme",))
    assert token.expires is not None


RUNNERS: dict[tuple[str, str], Callable[[ReaderOfReadme, str], None]] = {
    ("sh", "make run"): makefile_targets,
    ("sh", "make test"): makefile_targets,
    ("sh", "export OPENAI_BASE_URL"): variables,
    ("sh", "docker compose up"): the_stack,
    ("sh", "curl -s $"): curl_buffered,
    ("sh", "curl -sN $"): curl_streaming,
    ("python", "from openai import"): python_example,
    ("js", "import OpenAI"): node_example,
    ("sh", "oai-extproc init"): own_tokens,
    ("yaml", "# gateway.yaml"): configuration,
}
"""Language and beginning -> who runs it."""


def runners(block: Block) -> list[tuple[str, str]]:
    return [key for key in RUNNERS if key[0] == block.language and key[1] in block.code.splitlines()[0]]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.code.splitlines()[0])
def test_a_block(reader: ReaderOfReadme, block: Block) -> None:
    [key] = runners(block) or pytest.fail("nobody runs this block")
    RUNNERS[key](reader, block.code)


def test_no_example_was_lost() -> None:
    assert sorted(key for block in BLOCKS for key in runners(block)) == sorted(RUNNERS)
