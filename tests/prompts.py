"""Texts that reached Bedrock in tests, kept so that a gateway's log can be searched for them.

Each line of the file is the body of a call as JSON. Tests of tests/clients add those that the local Bedrock is about
to forget, in Python (`LocalBedrock.forget`) and in Node (`local.forget` of fixtures.mjs).

Decision: docs/decisions.md, D160.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SHORTEST = 12
"""Texts of fewer characters may occur in a log by chance."""

LONGEST = 200
"""Characters of a text that are searched for: more would make the search slow, and find no more."""


def keep(path: Path, calls: Iterable[Mapping[str, Any]]) -> None:
    """Append the bodies of calls, as `GET /_local/calls` shows them, to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(call["body"]) + "\n" for call in calls)


def kept(path: Path) -> set[str]:
    """Return the sentences in the bodies of the file: prompts, arguments and results of tools, contents of files."""
    if not path.exists():
        return set()
    lines = path.read_text("utf-8").splitlines()
    return {text[:LONGEST] for line in lines for text in _texts(json.loads(line)) if len(text) >= SHORTEST}


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value that are no identifiers: those with a blank, and base64 of any length."""
    if isinstance(value, str):
        if " " in value or len(value) > 60:
            yield value.strip()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
