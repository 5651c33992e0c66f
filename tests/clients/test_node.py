"""OpenAI's Node SDK and others: the tests are Node's own (`node/*.test.mjs`); each is one test here.

Those of Responses (`responses.test.mjs`) have a gateway that serves them.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.limits import INSTALLATION_LIMIT

pytestmark = pytest.mark.timeout(INSTALLATION_LIMIT)

FOLDER = Path(__file__).parent / "node"
NAMED = re.compile(r'^\s*test\((?:"([^"]+)"|`([^`]+)`)', re.MULTILINE)
FILES = sorted(path.name for path in FOLDER.glob("*.test.mjs"))


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> Callable[[str], dict[str, str | None]]:
    """Runs a file of tests, once: the tests' names, and what went wrong."""

    @cache
    def run(file: str) -> dict[str, str | None]:
        node = request.getfixturevalue("responses_node" if file.startswith("responses") else "node")
        done = node("--test", "--test-isolation=none", "--test-reporter=./reporter.mjs", file)
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert results, done.stdout + done.stderr
        return {result["name"]: result["error"] for result in results}

    return run


def written(file: str) -> list[str]:
    """The names of the tests in a file, as they are written there."""
    return [first or second for first, second in NAMED.findall((FOLDER / file).read_text())]


def belongs(name: str, template: str) -> bool:
    """Return whether this line made a test of this name: `a ${thing}` makes several."""
    fixed = re.split(r"\$\{[^}]*\}", template)
    return re.fullmatch(".*".join(map(re.escape, fixed)), name) is not None


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in written(file)])
def test_node(outcomes: Callable[[str], dict[str, str | None]], file: str, name: str) -> None:
    ran = {reported: error for reported, error in outcomes(file).items() if belongs(reported, name)}
    assert ran, f"{name} did not run"
    failed = [f"{reported}\n{error}" for reported, error in ran.items() if error is not None]
    assert not failed, "\n\n".join(failed)


@pytest.mark.parametrize("file", FILES)
def test_no_test_of_nodes_is_overlooked(outcomes: Callable[[str], dict[str, str | None]], file: str) -> None:
    names = written(file)
    assert len(names) == len(set(names))
    assert [reported for reported in outcomes(file) if not any(belongs(reported, name) for name in names)] == []


def test_the_sdk_is_the_one_that_is_meant(node: Any) -> None:
    script = 'import { VERSION } from "openai/version"; console.log(process.versions.node, VERSION)'
    done = node("--input-type=module", "--eval", script)
    assert re.fullmatch(r"(2[2-9]|[3-9]\d)\.\d+\.\d+ 7\.\d+\.\d+", done.stdout.strip()), done.stdout + done.stderr
