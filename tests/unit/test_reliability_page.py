"""docs/reliability.md matches its results: `make reliability` writes it."""

import json
from typing import Any

import pytest

from tests.chaos import soak
from tests.chaos.callers import SHORT, SILENCE
from tests.chaos.page import NAMES, PAGE, RESULTS, render
from tests.properties.__main__ import figures


def results(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def test_the_page_is_equal_to_its_data() -> None:
    assert PAGE.read_text() == render()


def test_all_results_are_committed() -> None:
    assert {path.name for path in RESULTS.glob("*.json")} == set(NAMES)


def test_no_caller_gets_a_short_response_or_none() -> None:
    assert {row["sees"] for row in results("chaos.json")["rows"]} & {SHORT, SILENCE} == set()


def test_every_error_has_a_code() -> None:
    rows = results("chaos.json")["rows"]
    assert [row for row in rows if row["sees"] in ("error", "error event") and not row["code"]] == []


@pytest.mark.parametrize("what", ["unexpected", "grows"])
def test_the_soak_was_flat(what: str) -> None:
    figures = results("soak.json")
    assert (figures["unexpected"] if what == "unexpected" else soak.grows(soak.growth(figures["samples"]))) == []


def test_no_property_has_a_counterexample() -> None:
    found = results("properties.json")
    assert (found["failures"], found["examples"] > 0) == (0, True)


REPORT = """
tests/properties/test_a.py::test_a[nova]:

  - during reuse phase (0.10 seconds):
    - Typical runtimes: < 1ms
    - 1 passing, 0 failing, and 0 invalid test cases

  - during generate phase (176.16 seconds):
    - Typical runtimes: ~ 0-87 ms, of which < 1ms in data generation
    - {} passing, {} failing, and 261 invalid test cases
"""


def test_the_figures_of_properties_are_those_that_hypothesis_reports() -> None:
    reports = [REPORT.format(5000, 0) * 2, REPORT.format(4999, 1)]
    assert figures(reports) == {"properties": 2, "seeds": 2, "examples": 15_000, "failures": 1}
