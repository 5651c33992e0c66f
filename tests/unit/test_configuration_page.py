"""docs/configuration.md has every key, with the sentence of its type.

The cells under "type" and "default" are generated: `make docs` writes both from the types, in the words
that error messages have too. The effect and the meaning of a key are written by hand.
"""

import ast
import datetime
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import pytest

from extproc import config
from extproc.bedrock import capabilities
from extproc.config import Settings, faults, parse

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
ROW = re.compile(r"^\| `([^`]+)` \|((?:[^|]*\|){4})$", re.MULTILINE)
HEAD = "| key | type | default | takes effect | meaning |"
MOST_TOKENS = 2**31 - 1
"""The bounds of Bedrock's own integer type, which no documentation mentions."""


def present(kind: Any) -> Any:
    """Return a type without None."""
    return get_args(kind)[0] if get_args(kind)[1:] == (NoneType,) else kind


def leaves(kind: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key that holds a value: its path in the documentation, and its field."""
    for field in msgspec.structs.fields(kind):
        below = f"{path}.{field.encode_name}".lstrip(".")
        base = present(get_args(field.type)[0] if get_origin(field.type) is Annotated else field.type)
        inner = get_args(base)[-1 if get_origin(base) is dict else 0] if get_args(base) else base
        if not isinstance(inner, type) or not issubclass(inner, msgspec.Struct):
            yield below, field
        else:
            yield from leaves(inner, below + {dict: ".<name>", tuple: "[]"}.get(get_origin(base), ""))


KEYS = dict(leaves(Settings))
UNKNOWN = {field.encode_name: field for field in capabilities.FIELDS}
"""The defaults of an operator's row: the family's own values, or those of the family `unknown`."""


def item(kind: Any) -> Any:
    """Return the type of a list's items, and any other type itself."""
    kind = present(kind)
    return get_args(kind)[0] if get_origin(kind) is tuple else kind


def shown_type(path: str) -> str:
    """Return the cell under "type": the type's own sentence, without its explanations."""
    kind = KEYS[path].type
    sentence = re.sub(r" \([^)]*\)|, as in .*", "", faults.description(item(kind)))
    return f"list, each {sentence}" if get_origin(present(kind)) is tuple else sentence


def shown_default(path: str) -> str:
    """Return the cell under "default"."""
    field = UNKNOWN.get(path.removeprefix("capabilities[]."), KEYS[path])
    if field.required:
        return "required"
    if field.default is msgspec.NODEFAULT:
        return f"`{json.dumps(field.default_factory())}`"
    return f"`{field.default if isinstance(field.default, str) else json.dumps(field.default)}`"


def rendered(page: str) -> str:
    """Return the page with its generated cells renewed."""

    def row(match: re.Match[str]) -> str:
        path, cells = match[1], match[2].split("|")
        if path not in KEYS:
            return match[0]
        return "|".join([f"| `{path}` ", f" {shown_type(path)} ", f" {shown_default(path)} ", *cells[2:]])

    return ROW.sub(row, page)


def documented() -> dict[str, list[str]]:
    """Return the rows of the tables of keys: path -> type, default, takes effect, meaning."""
    return {path: [cell.strip() for cell in rest.split("|")[:4]] for path, rest in ROW.findall(PAGE.read_text())}


def test_the_walk_finds_the_keys() -> None:
    assert {"region", "organisations.<name>.models.allow", "tokens[].sha256", "limits.request_bytes"} <= set(KEYS)
    assert len(KEYS) >= 15


def test_every_key_is_documented_once_and_no_other() -> None:
    assert sorted(path for path, _ in ROW.findall(PAGE.read_text())) == sorted(KEYS)


def test_types_and_defaults_are_those_of_the_types() -> None:
    assert rendered(PAGE.read_text()) == PAGE.read_text(), "run `make docs`"


def test_every_row_of_keys_is_in_a_table() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE.read_text(), re.MULTILINE):
        if ROW.search(table):
            assert table.startswith(f"{HEAD}\n|---|")


@pytest.mark.parametrize("path", KEYS)
def test_each_key_has_its_effect_and_its_meaning(path: str) -> None:
    _, _, effect, meaning = documented()[path]
    assert effect in ("at once", "restart")
    assert meaning


ATTRIBUTES = {
    node.attr
    for path in Path(config.__file__).parents[1].rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Attribute)
}
"""Attributes that every object has."""


@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_read(path: str) -> None:
    _, _, _, meaning = documented()[path]
    assert meaning.endswith("for the reader.") or path.rpartition(".")[2] in ATTRIBUTES


def parts(kind: Any) -> Iterator[Any]:
    """Yield the type and all types within it."""
    yield kind
    for part in (*get_args(kind), *getattr(kind, "__metadata__", ())):
        yield from parts(part)


@pytest.mark.parametrize("path", KEYS)
def test_the_sentence_of_a_type_names_its_literal_values(path: str) -> None:
    sentence = faults.description(item(KEYS[path].type))
    assert sentence
    for part in parts(item(KEYS[path].type)):
        if get_origin(part) is Literal:
            assert re.findall(r"`([^`]+)`", sentence) == list(get_args(part))
        if isinstance(part, msgspec.Meta):
            limits = {part.gt, part.ge, part.lt, part.le} - {None, MOST_TOKENS}
            assert {str(limit) for limit in limits} <= set(re.findall(r"\d+", sentence))
        if part is bool:
            assert sentence == "true or false"
        if part is datetime.datetime:
            assert "time" in sentence


def test_the_examples_are_valid() -> None:
    examples = [text.encode() for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    whole, aliases, tokens, prices, families = examples
    nightly = config.draft(b"organisations: {acme: {}}").settings({"tokens.yaml": tokens})
    assert [token.name for token in nightly.tokens] == ["nightly"]
    assert [token.name for token in parse(whole).tokens] == ["ci", "both"]
    assert sorted(parse(aliases).aliases) == ["gpt-4o", "small"]
    assert sorted(parse(prices).prices) == ["acme.*", "eu.anthropic.claude-sonnet-4-6"]
    assert [row.family for row in parse(families).capabilities] == ["acme-chat", "house-claude", "claude-4-5"]


if __name__ == "__main__":
    sys.stdout.write(rendered(PAGE.read_text()))
