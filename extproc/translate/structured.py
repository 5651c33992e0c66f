"""`response_format` -> how the model is held to the form of its answer.

A JSON schema is asked for in the first way, of those that the family of models has, that this request leaves open:

| way         | what goes out                                     | not open                                           |
|-------------|---------------------------------------------------|----------------------------------------------------|
| native      | `outputConfig.textFormat`, the schema as a grammar| where there is no grammar for it, or one too large |
| tool        | the answer tool, which must be called             | where no call can be forced                        |
| in words    | an instruction with the schema in it              | never                                              |

A JSON object without a schema has no way but words. Beside a tool of the client's that must be called there is no
answer to give a form to.
"""

from collections.abc import Set
from dataclasses import dataclass, field

from msgspec import UNSET, Raw, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import (
    JsonSchemaDefinition,
    OutputFormat,
    OutputFormatStructure,
    SpecificToolChoice,
    ToolChoice,
    ToolInputSchema,
    ToolSpec,
    ToolSpecification,
)
from extproc.openai.chat import JsonSchema, ResponseFormat, ResponseFormatJsonObject, ResponseFormatJsonSchema
from extproc.openai.limits import check_schema
from extproc.translate.grammar import Grammar, Size, grammar
from extproc.translate.names import bedrock_name, free_name
from extproc.translate.schemas import Growth, inlined, object_schema, without_lookaround

_PARAM = "response_format.json_schema"
_ANY_OBJECT = Raw(b'{"type":"object"}')
_ANSWER = "Give the answer by calling this tool: its input is the answer."
_IN_WORDS = "Answer with one valid JSON object and nothing else: no explanation, no code fence."


@dataclass(frozen=True, slots=True)
class Form:
    """How the form of an answer is asked for; by default, not at all."""

    output: OutputFormat | UnsetType = UNSET
    tool: ToolSpec | None = None
    choice: ToolChoice | None = None
    """What must be called, with the answer tool on offer."""
    instruction: str | None = None
    size: Size = field(default_factory=Size)
    """Of the grammar that `output` needs."""
    ignored: tuple[str, ...] = ()


def form(
    wanted: ResponseFormat | None, capabilities: Capabilities, taken: Set[str], growth: Growth, *, reasoning: bool
) -> Form:
    """How to ask for `wanted`, `taken` being Bedrock's names of the other tools on offer; raises a 400 `ApiError`.

    `growth`: what the tools have left of it. `reasoning`: whether the model will reason, since it may then be
    impossible to force a call.
    """
    if isinstance(wanted, ResponseFormatJsonObject):
        return Form(instruction=_IN_WORDS)
    if not isinstance(wanted, ResponseFormatJsonSchema):
        return Form()
    schema = adapted(wanted.json_schema.schema, _ANY_OBJECT, capabilities, growth, f"{_PARAM}.schema")
    for way in capabilities.json_schema:
        found = _native(wanted.json_schema, schema) if way == "native" else None
        if way == "tool" and _can_force(capabilities, reasoning=reasoning):
            found = _tool(wanted.json_schema, schema, capabilities, taken)
        if found is not None:
            return found
    return _in_words(wanted.json_schema, schema)


def adapted(schema: Raw, absent: Raw, capabilities: Capabilities, growth: Growth, param: str) -> Raw:
    """`schema` as this family takes it, its root an object, or `absent` if it is null; raises a 400 `ApiError`.

    `growth` is one for all schemas of a request.
    """
    check_schema(schema, param)
    found = object_schema(schema, absent, param)
    if "definitions" in capabilities.schema_gaps:
        found = inlined(found, param, growth)
    if "lookaround" in capabilities.schema_gaps:
        found = without_lookaround(found, param)
    return found


def _can_force(capabilities: Capabilities, *, reasoning: bool) -> bool:
    """Whether a model of this family can be made to call a tool."""
    if reasoning and not capabilities.forced_tools_while_reasoning:
        return False
    return capabilities.tools and ("any" in capabilities.tool_choices or "tool" in capabilities.tool_choices)


def _native(wanted: JsonSchema, schema: Raw) -> Form | None:
    found: Grammar | None = grammar(schema)
    if found is None or not found.size.fits:
        return None
    body = JsonSchemaDefinition(
        bytes(found.schema).decode(), name=bedrock_name(wanted.name), description=unless_blank(wanted.description)
    )
    return Form(output=OutputFormat(OutputFormatStructure(body)), size=found.size)


def _tool(wanted: JsonSchema, schema: Raw, capabilities: Capabilities, taken: Set[str]) -> Form | None:
    """The answer tool; beside others, one of all must be called, which `tool` cannot say."""
    name = free_name(bedrock_name(wanted.name), taken)
    if not taken and "tool" in capabilities.tool_choices:
        choice = ToolChoice(tool=SpecificToolChoice(name))
    elif "any" in capabilities.tool_choices:
        choice = ToolChoice(any={})
    else:
        return None
    about = unless_blank(wanted.description) or _ANSWER
    return Form(tool=ToolSpec(ToolSpecification(name, ToolInputSchema(schema), about)), choice=choice)


def _in_words(wanted: JsonSchema, schema: Raw) -> Form:
    about = f"\nWhat it is: {wanted.description}" if unless_blank(wanted.description) else ""
    words = f"{_IN_WORDS} It must be valid against this JSON Schema:\n{bytes(schema).decode()}{about}"
    return Form(instruction=words, ignored=(f"{_PARAM}.strict",) if wanted.strict else ())


def unless_blank(text: str | None) -> str | UnsetType:
    """A description: Bedrock refuses an empty one, which LangChain sends."""
    return text if text and text.strip() else UNSET
