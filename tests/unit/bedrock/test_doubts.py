"""Doubts of the capability table: what they cite is among the sources of their rows."""

import re

import pytest

from extproc.bedrock.capability_table import ROWS, SOURCES, Row

CITED = re.compile(r"[(,] ?(?:[a-z ]+ )?[\w./-]+ (\d{2,6})(?=[),;])")
"""An issue in a doubt, by the name of its project and its number, in parentheses."""


def sources(row: Row) -> set[str]:
    """Return the sources of a row, and of those that it is like."""
    by_name = {one.family: one for one in ROWS}
    return {*row.source, *(sources(by_name[row.like]) if row.like else ())}


doubtful = pytest.mark.parametrize("row", [row for row in ROWS if row.doubt], ids=lambda row: row.family)


@doubtful
def test_an_issue_that_a_doubt_cites_is_among_the_sources(row: Row) -> None:
    numbers = [number for doubt in row.doubt for number in CITED.findall(doubt)]
    assert [number for number in numbers if not any(one.endswith(f"/{number}") for one in sources(row))] == []


@doubtful
def test_a_source_that_a_doubt_names_is_among_the_sources(row: Row) -> None:
    words = {word for doubt in row.doubt for word in re.findall(r"[\w./-]*\w", doubt)}
    assert words & SOURCES.keys() <= sources(row)


def test_what_counts_as_a_citation() -> None:
    text = "Yes (a review of lingua 269), no (kyo 1810, pydantic-ai 6765; old) until 2025; Large 2407 (dated 1)."
    assert CITED.findall(text) == ["269", "1810", "6765"]
