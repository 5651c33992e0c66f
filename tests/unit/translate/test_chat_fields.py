"""Every field of a chat request has a row in `CHAT_FIELDS`, and every row is true."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_fields import CHAT_FIELDS, NOT_APPLIED, Row
from extproc.translate.chat_request import ChatPlan, plan
from extproc.translate.field_treatments import Applied, Constant, Implied, NotApplied, Rejected

README = Path(__file__).parents[3] / "README.md"
PLAIN = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
FAMILIES = [family for family in BUILT_IN.families.values() if family.converse]


def rows(kind: type[Row]) -> list[Any]:
    return [pytest.param(path, row, id=path) for path, row in CHAT_FIELDS.items() if isinstance(row, kind)]


def structs_of(kind: inspect.Type) -> Iterator[tuple[inspect.StructType, str]]:
    """Yield the struct types that a value of this type may have, alone or in a list."""
    match kind:
        case inspect.StructType():
            yield kind, ""
        case inspect.ListType(item_type=item):
            for struct, _ in structs_of(item):
                yield struct, "[]"
        case inspect.UnionType(types=kinds):
            for one in kinds:
                yield from structs_of(one)


def paths_of(kind: inspect.Type, path: str = "") -> Iterator[str]:
    for struct, suffix in structs_of(kind):
        for field in struct.fields:
            inner = f"{path}{suffix}.{field.encode_name}".removeprefix(".")
            yield inner
            yield from paths_of(field.type, inner)


def planned(fields: Mapping[str, Any], family: Capabilities) -> ChatPlan | ApiError:
    try:
        return plan(decode_request(json.dumps({**PLAIN, **fields}).encode()), family)
    except ApiError as error:
        return error


def seen(outcome: ChatPlan | ApiError, fields: Mapping[str, Any]) -> Any:
    """Return the part of a request that Bedrock or the client sees; the model's id is sent in the path."""
    if isinstance(outcome, ApiError):
        return outcome.param
    return outcome.body, outcome.streamed, outcome.include_usage, outcome.shape, fields.get("model")


def test_every_field_has_a_row() -> None:
    declared = set(paths_of(inspect.type_info(ChatRequest)))
    assert not declared - set(CHAT_FIELDS), "add rows to CHAT_FIELDS in extproc/translate/chat_fields.py"
    assert not set(CHAT_FIELDS) - declared, "no type in extproc/openai declares these fields"


@pytest.mark.parametrize(("path", "row"), rows(Applied))
def test_an_applied_field_changes_the_request_or_the_response(path: str, row: Applied) -> None:
    for family in FAMILIES:
        plans = planned(row.sample, family), planned(row.without, family)
        if all(isinstance(outcome, ChatPlan) for outcome in plans) and seen(plans[0], row.sample) != seen(
            plans[1], row.without
        ):
            return
    pytest.fail("no family applies it")


@pytest.mark.parametrize(("path", "row"), rows(NotApplied))
def test_a_field_that_is_not_applied_changes_nothing_and_is_named(path: str, row: NotApplied) -> None:
    for family in FAMILIES:
        outcome = planned(row.sample, family)
        if isinstance(outcome, ChatPlan):
            assert path in outcome.ignored
        for neutral in (None, *row.neutral):
            fields = replaced(row.sample, path, neutral)
            quiet, without = planned(fields, family), planned(replaced(row.sample, path, msgspec.UNSET), family)
            assert seen(quiet, fields) == seen(without, fields)
            assert isinstance(outcome, ApiError) or seen(outcome, fields) == seen(without, fields)
            assert isinstance(quiet, ApiError) or path not in quiet.ignored


@pytest.mark.parametrize(("path", "row"), rows(Rejected))
def test_a_rejected_field_is_a_400_that_names_it(path: str, row: Rejected) -> None:
    errors = [planned(row.sample, family) for family in FAMILIES]
    params = set()
    for error in errors:
        assert isinstance(error, ApiError)
        assert (error.status, error.type) == (400, "invalid_request_error")
        params.add(re.sub(r"\[\d+]", "[]", error.param or ""))
    assert params & {path, path.rpartition(".")[0]}
    for neutral in (None, *row.neutral):
        for family in FAMILIES:
            assert "." in path or isinstance(planned(replaced(row.sample, path, neutral), family), ChatPlan)


@pytest.mark.parametrize(("path", "row"), rows(Implied))
def test_an_implied_field_changes_nothing_and_is_named_where_it_cannot_be_kept(path: str, row: Implied) -> None:
    outcome = [planned(row.sample, family) for family in FAMILIES]
    without = [planned(replaced(row.sample, path, msgspec.UNSET), family) for family in FAMILIES]
    assert [seen(one, {}) for one in outcome] == [seen(one, {}) for one in without]
    ignored = [one.ignored for one in outcome if isinstance(one, ChatPlan)]
    named = {any(f"{name}.".startswith(f"{path}.") for name in names) for names in ignored}
    assert named == {True, False}


@pytest.mark.parametrize(("path", "row"), rows(Constant))
def test_a_constant_field_has_one_value(path: str, row: Constant) -> None:
    """Another value is a 400 by decoding, or repeats the object's other members."""
    fields = replaced(row.sample, path, "other")
    for family in FAMILIES:
        changed = planned(fields, family)
        assert isinstance(changed, ApiError) or seen(changed, fields) == seen(planned(row.sample, family), row.sample)


def replaced(fields: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return `fields` with another value at `path`, wherever there is one; without it where the value is UNSET."""
    copy: dict[str, Any] = json.loads(json.dumps(fields))
    *steps, last = path.split(".")
    holders: list[Any] = [copy]
    for step in steps:
        name = step.removesuffix("[]")
        holders = [holder[name] for holder in holders if isinstance(holder, dict) and name in holder]
        if step != name:
            holders = [element for holder in holders if isinstance(holder, list) for element in holder]
    for holder in holders:
        if isinstance(holder, dict) and last in holder:
            del holder[last]
            if value is not msgspec.UNSET:
                holder[last] = value
    return copy


def test_the_readme_lists_the_fields_that_are_not_applied() -> None:
    outcome = re.search(r"^\| (`.*`), `stream_options.* \| ignored \|$", README.read_text(), re.M)
    assert outcome is not None
    assert re.findall(r"`(\w+)`", outcome[1]) == list(NOT_APPLIED)
