"""Every field that the openai package knows is declared, and is a case of docs/compatibility.md."""

import typing
from collections.abc import Iterator
from typing import Any

import pytest
import typing_extensions
from msgspec import inspect
from openai.types import chat
from openai.types.chat import completion_create_params as create

from extproc.openai.chat import ChatRequest
from tests.unit.translate.compatibility_cases import DECLARED, WRAPPERS, Change


@pytest.mark.parametrize(("cases", "prefix", "declared"), DECLARED, ids=lambda value: getattr(value, "__name__", None))
def test_every_field_that_the_openai_package_knows_is_a_case(
    cases: dict[str, Change], prefix: str, declared: Any
) -> None:
    names = set(typing.get_type_hints(declared)) - WRAPPERS
    assert {f"{prefix}{name}" for name in names} - set(cases) - {"messages"} == set()


def undeclared(declared: Any, kind: inspect.Type, path: str = "") -> Iterator[str]:
    """Yield keys of the package's TypedDict, and of those in it, that the corresponding struct lacks.

    A place that is free JSON on our side has no members to compare: it is applied, rejected or ignored as a whole.
    """
    for typed_dict in typed_dicts(declared):
        structs = list(structs_of(kind))
        if not structs:
            continue
        hints = typing.get_type_hints(typed_dict)
        tags = typing.get_args(hints.get(structs[0].tag_field or ""))
        fitting = [struct for struct in structs if not tags or struct.tag in tags]
        if not fitting:
            yield f"{path}: {', '.join(tags)}"
        for struct in fitting:
            fields = {field.encode_name: field.type for field in struct.fields}
            for name in hints.keys() - {struct.tag_field}:
                place = f"{path}.{name}".removeprefix(".")
                yield from undeclared(hints[name], fields[name], place) if name in fields else [place]


def typed_dicts(hint: Any) -> Iterator[Any]:
    """Yield the TypedDicts that the hint allows."""
    if typing_extensions.is_typeddict(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from typed_dicts(argument)


def structs_of(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Yield the structs that a place allows, alone or in a list."""
    match kind:
        case inspect.StructType():
            yield kind
        case inspect.ListType(item_type=item):
            yield from structs_of(item)
        case inspect.UnionType(types=kinds):
            for one in kinds:
                yield from structs_of(one)


def test_every_key_that_the_openai_package_knows_is_declared_however_deep() -> None:
    assert list(undeclared(create.CompletionCreateParamsStreaming, inspect.type_info(ChatRequest))) == []


class NewerTool(chat.ChatCompletionFunctionToolParam):
    hurry: bool


class NewestTool(typing.TypedDict):
    type: typing.Literal["shell"]


class NewerRequest(typing.TypedDict):
    tools: typing.Iterable[NewerTool | NewestTool]


def test_a_key_or_a_form_of_a_newer_package_is_noticed() -> None:
    assert list(undeclared(NewerRequest, inspect.type_info(ChatRequest))) == ["tools.hurry", "tools: shell"]
