"""docs/clients.md, as its reader uses it: each block is run with the real client, or is a file that this client reads.

A section is one reader's terminal, in a home folder of its own: its files are written, then its commands and programs
run. The page's address stands for the gateway's.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text()
ADDRESS = "http://127.0.0.1:8080/oai/v1"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
INTERPRETERS = {"sh": ("sh", "-eu"), "python": ("python",), "js": ("node",)}
PROGRAMS = {"sh": "script.sh", "python": "program.py", "js": "program.mjs"}
"""Languages that are run, and the files that the reader puts them in; blocks in other languages are files."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `file` is the name of the file that it is."""

    language: str
    code: str
    file: str


def sections() -> dict[str, list[Block]]:
    """Return the blocks of each section that has some, by its heading."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        name, _, text = section.partition("\n")
        blocks = [Block(block[1], block[2], file_of(block[1], text[: block.start()])) for block in FENCE.finditer(text)]
        if blocks:
            found[name] = blocks
    return found


def file_of(language: str, before: str) -> str:
    """Return the name of a block's file: for one that is not run, the first name in the sentence before it."""
    if language in PROGRAMS:
        return PROGRAMS[language]
    name = re.search(r"`([\w.-]+)`", before.strip().rpartition("\n\n")[2])
    assert name, f"no sentence names the file of this block: …{before[-80:]}"
    return name[1]


SECTIONS = sections()


class Terminal:
    """A reader's terminal: a folder that is also the home, the two variables, and the clients on the path."""

    def __init__(self, folder: Path, gateway: Any, path: Sequence[Path]) -> None:
        self._folder, self._url = folder, gateway.url
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AWS_"))}
        self._environment = {
            **theirs,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / ".config"),
            "PATH": ":".join([*map(str, path), theirs["PATH"]]),
            "OPENAI_BASE_URL": gateway.url,
            "OPENAI_API_KEY": gateway.tokens["ci"],
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else LiteLLM and aider go and fetch the newest prices
        }

    def write(self, block: Block, folder: str = "") -> str:
        """Write a block to its file, with the gateway's address in it, and return the file's path."""
        path = self._folder / folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code.replace(ADDRESS, self._url))
        return str(path)

    def run(self, *command: str) -> str:
        """Return what a command prints; it must not fail."""
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@dataclass(frozen=True)
class Recipe:
    """How a section is run: where its client is installed, and what it shows of the response, as a pattern."""

    programs: str
    shows: str = re.escape('You said: "Hello!"')
    folder: str = "."
    """Where the section's files belong, below the home folder."""


RECIPES = {
    "curl": Recipe("ours", re.escape(r"You said: \"Hello!\"")),
    "openai for Python": Recipe("ours"),
    "openai for Node": Recipe("node"),
    "LangChain for Python": Recipe("ours", r'You said: "Hello!".*\n1024 numbers'),
    "LangChain for Node": Recipe("node"),
    "LlamaIndex": Recipe("openai-2", r'You said: "Hello!".*\n1024 numbers'),
    "LiteLLM": Recipe("openai-2"),
    "instructor": Recipe("openai-3", r"city='Paris' nights=3"),
    "pydantic-ai": Recipe("ours"),
    "openai-agents": Recipe("openai-3"),
    "Vercel AI SDK": Recipe("node", r'You said: "Hello!".*\nYou said: "Hello!"'),
    "llm": Recipe("openai-3", folder=".config/io.datasette.llm"),
    "opencode": Recipe("agents"),
    "Continue": Recipe("agents"),
    "Cline": Recipe("agents", "You said"),
    "qwen-code": Recipe("agents", r"\S"),
    "aider": Recipe("aider", "You said"),
}
"""Sections whose blocks are run. Agents' prompts have more than the user's words, and some name tools."""


@pytest.fixture
def programs(request: pytest.FixtureRequest, python_with: Callable[[str], Path]) -> Callable[[str], list[Path]]:
    """Gives the folders of programs of an installation; what is not installed yet, is."""

    def folders(name: str) -> list[Path]:
        if name == "ours":
            return [Path(sys.executable).parent]
        if name in ("node", "agents"):
            return request.getfixturevalue("packages_of_node")(name)  # type: ignore[no-any-return]
        if name == "aider" and sys.version_info >= (3, 13):
            pytest.skip("aider is for Python 3.12 at most")
        return [python_with(name).parent]

    return folders


@pytest.mark.parametrize("name", RECIPES)
def test_a_section(name: str, tmp_path: Path, gateway: Any, programs: Any, local: Any) -> None:
    recipe = RECIPES[name]
    terminal = Terminal(tmp_path, gateway, programs(recipe.programs))
    shown = ""
    for block in SECTIONS[name]:
        if block.language in PROGRAMS:
            path = terminal.write(block)
            if block.language == "js":
                (tmp_path / "node_modules").unlink(missing_ok=True)
                (tmp_path / "node_modules").symlink_to(NODE_MODULES)
            shown += terminal.run(*INTERPRETERS[block.language], path)
        else:
            terminal.write(block, recipe.folder)
    assert re.search(recipe.shows, shown), shown
    assert {call["state"] for call in local.calls()} == {"finished"}


def test_every_block_is_run() -> None:
    assert {*SECTIONS} == {*RECIPES}


VERSIONS = {
    "openai for Python": ("constraints.txt", "openai"),
    "openai for Node": ("tests/clients/node/package.json", "openai"),
    "LangChain for Python": ("constraints.txt", "langchain-openai"),
    "LangChain for Node": ("tests/clients/node/package.json", "@langchain/openai"),
    "LlamaIndex": ("tests/clients/requirements/openai-2.txt", "llama-index-llms-openai-like"),
    "LiteLLM": ("tests/clients/requirements/openai-2.txt", "litellm"),
    "instructor": ("tests/clients/requirements/openai-3.txt", "instructor"),
    "pydantic-ai": ("constraints.txt", "pydantic-ai-slim"),
    "openai-agents": ("tests/clients/requirements/openai-3.txt", "openai-agents"),
    "Vercel AI SDK": ("tests/clients/node/package.json", "ai"),
    "llm": ("tests/clients/requirements/openai-3.txt", "llm"),
    "opencode": ("tests/clients/agents/package.json", "opencode-linux-x64"),
    "Continue": ("tests/clients/agents/package.json", "@continuedev/cli"),
    "Cline": ("tests/clients/agents/package.json", "@cline/cli-linux-x64"),
    "qwen-code": ("tests/clients/agents/package.json", "@qwen-code/qwen-code"),
    "aider": ("tests/clients/requirements/aider.txt", "aider-chat"),
}
"""Which file pins the version of a client, and under which name."""

ROWS = re.findall(r"^\| \[(.+?)\]\(#\S+\) ?([\d.]*) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)


def test_the_table_has_every_section() -> None:
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert sorted(name for name, _, _ in ROWS) == sorted({*sections} - {"All of them", "What was recorded"})
    assert {name for name, _, how in ROWS if how == "run"} == {*RECIPES}


@pytest.mark.parametrize(("name", "version"), [(name, version) for name, version, how in ROWS if how == "run"])
def test_the_table_has_the_versions_that_are_run(name: str, version: str) -> None:
    if name == "curl":
        return
    file, package = VERSIONS[name]
    text = (ROOT / file).read_text()
    assert re.search(rf'^\W*{re.escape(package)}(?:==|": "){re.escape(version)}(\.|"|$)', text, re.MULTILINE)
