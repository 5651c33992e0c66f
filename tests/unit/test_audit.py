"""`make audit`: a package that could not be looked up is no clean bill."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "audit.py"
GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("report", "code"),
    [([GOOD], 0), ([GOOD, BAD], 1), ([GOOD, UNKNOWN], 3), ([UNKNOWN], 3), ([BAD, UNKNOWN], 1), ([], 3)],
)
def test_only_a_whole_and_clean_report_is_a_0(audit: Any, report: list[Any], code: int) -> None:
    text, vulnerable = audit.verdict(report)
    assert vulnerable == code
    assert ("PYSEC-1" in text) == (BAD in report)
    assert ("could NOT be looked up" in text) == (UNKNOWN in report)
    assert f"{sum(one is BAD for one in report)} vulnerabilities" in text
