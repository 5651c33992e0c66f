"""Tool calls and results in the history: each call has its result; contents and neighbours of results."""

import json
from collections.abc import Iterator
from typing import Any

from bedrock_local.conversation import Block, Conversation
from bedrock_local.families import Family
from bedrock_local.rules.words import errors, not_an_object, repeated, unsupported

#: Kinds that are no content of their own, and may be beside anything.
_MARKS = ("toolResult", "cachePoint")


def values_are_objects(conversation: Conversation) -> Iterator[str]:
    """A tool's input, and a result as json, are JSON objects."""
    for call in conversation.blocks("toolUse"):
        if not isinstance(call.value["input"], dict):
            yield not_an_object(f"{call.path}.toolUse.input")
    for place, kind, value in _contents(conversation):
        if kind == "json" and not isinstance(value, dict):
            yield not_an_object(f"{place}.json")


def calls_have_own_ids(conversation: Conversation) -> Iterator[str]:
    """No two tool calls of a conversation share an id."""
    for number, turn in enumerate(conversation.turns()):
        for identifier in repeated(_ids(turn, "toolUse")):
            yield f"The toolUse blocks at messages.{number}.content contain duplicate Ids: {identifier}"
    calls = list(conversation.blocks("toolUse"))
    for identifier in repeated(call.value["toolUseId"] for call in calls):
        last = [call for call in calls if call.value["toolUseId"] == identifier][-1]
        yield errors(f"{last.path}: `tool_use` ids must be unique")


def results_answer_calls(conversation: Conversation) -> Iterator[str]:
    """The turn after tool calls has exactly one result for each of them."""
    calls: list[str] = []
    for number, turn in enumerate(conversation.turns()):
        yield from _results(calls, _ids(turn, "toolResult"), f"messages.{number}.content")
        calls = _ids(turn, "toolUse")
    if calls:
        yield f"Expected toolResult blocks at messages.{len(conversation.messages)}.content {_following(calls)}"


def _results(calls: list[str], results: list[str], place: str) -> Iterator[str]:
    for identifier in repeated(results):
        yield f"The toolResult blocks at {place} contain duplicate Ids: {identifier}"
    if len(results) > len(calls):
        yield f"The number of toolResult blocks at {place} exceeds the number of toolUse blocks of previous turn."
    missing = [identifier for identifier in calls if identifier not in results]
    if missing:
        yield f"Expected toolResult blocks at {place} {_following(missing)}"


def _following(identifiers: list[str]) -> str:
    return f"for the following Ids: {', '.join(identifiers)}"


def results_come_first(conversation: Conversation) -> Iterator[str]:
    """Results come first in their turn."""
    for turn in conversation.turns():
        others = False
        for block in turn:
            if block.kind == "toolResult" and others:
                yield errors(f"{block.path}: `tool_result` blocks must come before any other content of the turn")
            others = others or block.kind != "toolResult"


def company_of_results(conversation: Conversation) -> Iterator[str]:
    """Few models take other blocks after results in the same turn."""
    for turn in conversation.turns():
        if any(block.kind == "toolResult" for block in turn):
            for block in turn:
                kind = "text" if block.kind == "guardContent" else block.kind
                if kind not in (*_MARKS, *conversation.family.beside_results):
                    yield (
                        "Conversation blocks and tool result blocks cannot be provided in the same turn: "
                        f"{block.kind} at {block.path}."
                    )


def company_of_calls(conversation: Conversation) -> Iterator[str]:
    """Some models take nothing beside tool calls in the same turn."""
    for number, turn in enumerate(conversation.turns()):
        kinds = {block.kind for block in turn if block.kind != "cachePoint"}
        if "toolUse" in kinds and len(kinds) > 1 and not conversation.family.text_beside_calls:
            yield (
                f"messages.{number}.content: Conversation blocks and tool use blocks cannot be provided in the same "
                "turn."
            )


def status_of_results(conversation: Conversation) -> Iterator[str]:
    """Only Claude and Nova take a result's status."""
    for result in conversation.blocks("toolResult"):
        if "status" in result.value and not conversation.family.result_status:
            yield unsupported("status", f"{result.path}.toolResult")


def media_in_results(conversation: Conversation) -> Iterator[str]:
    """Images and documents inside a result: by model, and documents by format. Nothing else is taken."""
    for place, kind, value in _contents(conversation):
        if not _may_be_inside(conversation.family, kind, value):
            yield unsupported(kind, place)


def _may_be_inside(family: Family, kind: str, value: Any) -> bool:
    if kind == "document":
        return value.get("format") in family.result_documents
    return kind in ("text", "json") or (kind == "image" and family.result_images)


def objects_as_json(conversation: Conversation) -> Iterator[str]:
    """Mistral takes a JSON object as `json` only, not as a text."""
    for place, kind, value in _contents(conversation):
        if conversation.family.json_results and kind == "text" and _is_object(value):
            yield errors(f"{place}.text: a tool result that is a JSON object must be given as json.")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _contents(conversation: Conversation) -> Iterator[tuple[str, str, Any]]:
    """Yield path, kind and value of everything inside results."""
    for result in conversation.blocks("toolResult"):
        for index, part in enumerate(result.value["content"]):
            kind, value = next(iter(part.items()))
            yield f"{result.path}.toolResult.content.{index}", kind, value


def _ids(turn: list[Block], kind: str) -> list[str]:
    return [block.value["toolUseId"] for block in turn if block.kind == kind]


RULES = (
    values_are_objects,
    calls_have_own_ids,
    results_answer_calls,
    results_come_first,
    company_of_results,
    company_of_calls,
    status_of_results,
    media_in_results,
    objects_as_json,
)
