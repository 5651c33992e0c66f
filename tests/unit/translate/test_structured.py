"""The ways to enforce the form of a response: natively, by the answer tool, or by instructions."""

import json
from typing import Any

import msgspec
import pytest

from extproc.bedrock.capabilities import Capabilities, ToolChoice
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.schemas import Growth
from extproc.translate.structured import MessageForm, form

CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OPEN = {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}}
WIDE = {
    "type": "object",
    "properties": {f"p{number}": {"type": "string"} for number in range(25)},
    "additionalProperties": False,
}
CHOICES: tuple[ToolChoice, ...] = ("auto", "any", "tool")
BOTH = Capabilities(tool_choices=CHOICES, json_schema=("native", "tool"))
TOOL_FIRST = Capabilities(tool_choices=CHOICES, json_schema=("tool", "native"))
NATIVE = Capabilities(json_schema=("native",))
TOOL = Capabilities(tool_choices=CHOICES, json_schema=("tool",))
WORDS = Capabilities()


def form_of(
    capabilities: Capabilities,
    schema: Any = CLOSED,
    *,
    reasoning: bool = False,
    taken: list[str] | None = None,
    **more: Any,
) -> MessageForm:
    wanted = {"type": "json_schema", "json_schema": {"name": "report", "schema": schema, **more}}
    return choose(capabilities, wanted, reasoning=reasoning, taken=taken)


def choose(
    capabilities: Capabilities, wanted: Any, *, reasoning: bool = False, taken: list[str] | None = None
) -> MessageForm:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": wanted}
    request = decode_request(json.dumps(body).encode())
    return form(request.response_format, capabilities, taken or [], Growth(), reasoning=reasoning)


def way(chosen: MessageForm) -> str:
    ways = {"native": chosen.output, "tool": chosen.tool, "words": chosen.instruction}
    (only,) = [name for name, value in ways.items() if value]
    return only


@pytest.mark.parametrize(
    ("capabilities", "schema", "reasoning", "expected"),
    [
        (BOTH, CLOSED, False, "native"),
        (BOTH, CLOSED, True, "native"),
        (BOTH, OPEN, False, "tool"),
        (BOTH, WIDE, False, "tool"),
        (BOTH, None, False, "tool"),
        (BOTH, {}, False, "tool"),
        (BOTH, OPEN, True, "words"),
        (TOOL_FIRST, CLOSED, False, "tool"),
        (TOOL_FIRST, CLOSED, True, "native"),
        (TOOL_FIRST, OPEN, True, "words"),
        (NATIVE, CLOSED, False, "native"),
        (NATIVE, OPEN, False, "words"),
        (TOOL, CLOSED, False, "tool"),
        (TOOL, CLOSED, True, "words"),
        (msgspec.structs.replace(TOOL, forced_tools_while_reasoning=True), CLOSED, True, "tool"),
        (msgspec.structs.replace(TOOL, tool_choices=("auto",)), CLOSED, False, "words"),
        (msgspec.structs.replace(TOOL, tools=False), CLOSED, False, "words"),
        (WORDS, CLOSED, False, "words"),
    ],
)
def test_a_schema_is_requested_in_the_first_way_that_is_available(
    capabilities: Capabilities, schema: Any, reasoning: bool, expected: str
) -> None:
    assert way(form_of(capabilities, schema, reasoning=reasoning)) == expected


@pytest.mark.parametrize(
    ("choices", "taken", "choice"),
    [
        (CHOICES, [], {"tool": {"name": "report"}}),
        (CHOICES, ["f"], {"any": {}}),
        (("auto", "any"), [], {"any": {}}),
        (("auto", "tool"), [], {"tool": {"name": "report"}}),
        (("auto", "tool"), ["f"], None),
    ],
)
def test_the_answer_tool_or_one_of_all_must_be_called(choices: Any, taken: list[str], choice: Any) -> None:
    chosen = form_of(Capabilities(tool_choices=choices, json_schema=("tool",)), taken=taken)
    assert (way(chosen) == "words") is (choice is None)
    assert json.loads(msgspec.json.encode(chosen.choice)) == choice


def test_a_grammar_goes_out_as_a_text_with_its_name_and_description() -> None:
    chosen = form_of(
        BOTH, {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}, description="Mine."
    )
    sent = json.loads(msgspec.json.encode(chosen.output))
    assert sent["type"] == "json_schema"
    body = sent["structure"]["jsonSchema"]
    assert (body["name"], body["description"]) == ("report", "Mine.")
    assert json.loads(body["schema"]) == {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "minimum: 1"}},
        "additionalProperties": False,
    }


def test_a_grammar_that_needs_no_change_goes_out_byte_for_byte() -> None:
    body = json.loads(msgspec.json.encode(form_of(BOTH).output))["structure"]["jsonSchema"]
    assert body["schema"] == json.dumps(CLOSED)
    assert "description" not in body


@pytest.mark.parametrize("strict", [True, False, None])
def test_in_instructions_the_schema_is_quoted_and_strict_is_ignored(strict: Any) -> None:
    chosen = form_of(WORDS, strict=strict, description="A report.")
    assert chosen.instruction is not None
    assert json.dumps(CLOSED) in chosen.instruction
    assert "A report." in chosen.instruction
    assert chosen.ignored == (("response_format.json_schema.strict",) if strict else ())


@pytest.mark.parametrize("capabilities", [BOTH, TOOL, WORDS])
def test_a_json_object_is_requested_in_the_instructions(capabilities: Capabilities) -> None:
    assert way(choose(capabilities, {"type": "json_object"})) == "words"


@pytest.mark.parametrize("wanted", [None, {"type": "text"}])
def test_plain_text_needs_nothing(wanted: Any) -> None:
    assert choose(BOTH, wanted) == MessageForm()


@pytest.mark.parametrize("capabilities", [BOTH, TOOL, WORDS])
def test_an_invalid_schema_is_rejected_in_every_way_of_requesting_it(capabilities: Capabilities) -> None:
    with pytest.raises(ApiError) as caught:
        form_of(capabilities, {"type": "array", "items": {}})
    assert caught.value.param == "response_format.json_schema.schema.type"


@pytest.mark.parametrize("capabilities", [BOTH, TOOL])
def test_a_name_that_bedrock_rejects_is_replaced(capabilities: Capabilities) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "Page[int]", "schema": CLOSED}}
    sent = msgspec.json.encode(choose(capabilities, wanted)).decode()
    assert "Page_int__" in sent
    assert "Page[int]" not in sent


def test_references_are_replaced_before_a_grammar_is_made() -> None:
    schema = {**CLOSED, "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    blind = Capabilities(json_schema=("native",), schema_gaps=("definitions",))
    body = json.loads(msgspec.json.encode(form_of(blind, schema).output))["structure"]["jsonSchema"]
    assert json.loads(body["schema"]) == CLOSED
