"""docs/security.md: each threat of its model is proven by a test that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
MODEL = PAGE.partition("\n## Threat model\n")[2].partition("\n## ")[0]
ROWS = [line for line in MODEL.splitlines() if line.startswith("| ") and not line.startswith("| threat |")]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ATTACKERS = ("A hostile caller, without a token", "A tenant", "Bedrock", "A neighbour", "An operator's mistake")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_threat_has_tests_that_exist(row: str) -> None:
    assert row.count("|") == 4, "a row has three cells"
    named = TEST.findall(row.split("|")[3])
    assert named, row
    for path, name in named:
        text = (ROOT / path).read_text()
        assert re.search(rf"^ *(async )?def {name}\(", text, re.MULTILINE), f"{path} has no {name}"


def test_the_model_has_every_attacker() -> None:
    headings = re.findall(r"^### (.+)$", MODEL, re.MULTILINE)
    assert all(any(heading.startswith(attacker) for heading in headings) for attacker in ATTACKERS)
    assert len(ROWS) >= 30
