"""`response_format` -> the members of a Converse request that hold the model to it.

A JSON schema is sent in the first of the family's ways that this request leaves open:

| way         | what is sent                                      | not open                                           |
|-------------|---------------------------------------------------|----------------------------------------------------|
| native      | `outputConfig.textFormat`, the schema as a grammar| where there is no grammar for it, or one too large |
|             |                                                   | or with names of properties that do not fit        |
| tool        | the answer tool, which must be called             | where no call can be forced                        |
| in words    | an instruction with the schema in it              | never                                              |

A JSON object without a schema is always requested in words. Beside a tool of the client's that must be called, the
message has no text, and so no form.

Decision: docs/decisions.md, D2.
"""

from collections.abc import Mapping, Set
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
from extproc.translate.fitting import Fitted, Limits, fit, response_limits, tool_limits
from extproc.translate.grammar import Grammar, Size, grammar
from extproc.translate.names import FreeNames, bedrock_name
from extproc.translate.schemas import Growth

_PARAM = "response_format.json_schema"
_SCHEMA = f"{_PARAM}.schema"
_ANY_OBJECT = Raw(b'{"type":"object"}')
_ANSWER_TOOL = "Give the answer by calling this tool: its input is the answer."
_IN_WORDS = "Answer with one valid JSON object and nothing else: no explanation, no code fence."


@dataclass(frozen=True, slots=True)
class MessageForm:
    """The members of a request that ask for a form of the message; by default none."""

    output: OutputFormat | UnsetType = UNSET
    tool: ToolSpec | None = None
    choice: ToolChoice | None = None
    """The tool choice beside the answer tool."""
    instruction: str | None = None
    size: Size = field(default_factory=Size)
    """The size of the grammar that `output` needs."""
    ignored: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    """Bedrock's names of the answer tool's properties by the client's, where the two differ."""


def form(
    requested: ResponseFormat | None, capabilities: Capabilities, taken: Set[str], growth: Growth, *, reasoning: bool
) -> MessageForm:
    """Return the form for the requested response format. Raises a 400 `ApiError`.

    `taken` has Bedrock's names of the other tools, `growth` the bytes and schemas that these leave. `reasoning`:
    whether the model will reason, since it may then be impossible to force a call.
    """
    if isinstance(requested, ResponseFormatJsonObject):
        return MessageForm(instruction=_IN_WORDS)
    if not isinstance(requested, ResponseFormatJsonSchema):
        return MessageForm()
    for way in capabilities.json_schema:
        planned = None
        if way == "native" and _names_fit(requested.json_schema, capabilities, growth):
            planned = _native(requested.json_schema, _fit(requested.json_schema, response_limits(capabilities), growth))
        if way == "tool" and _can_force(capabilities, reasoning=reasoning):
            planned = _tool(
                requested.json_schema,
                _fit(requested.json_schema, tool_limits(capabilities), growth),
                capabilities,
                taken,
            )
        if planned is not None:
            return planned
    return _in_words(requested.json_schema, _fit(requested.json_schema, Limits(), growth).schema)


def _names_fit(requested: JsonSchema, capabilities: Capabilities, growth: Growth) -> bool:
    """Return whether the properties may keep their names, which a grammar's text does not bring back."""
    return capabilities.property_names is None or not _fit(requested, tool_limits(capabilities), growth).names


def _fit(requested: JsonSchema, limits: Limits, growth: Growth) -> Fitted:
    return fit(requested.schema, _ANY_OBJECT, limits, growth, _SCHEMA)


def _can_force(capabilities: Capabilities, *, reasoning: bool) -> bool:
    """Return whether a model of this family can be forced to call a tool."""
    if reasoning and not capabilities.forced_tools_while_reasoning:
        return False
    return capabilities.tools and ("any" in capabilities.tool_choices or "tool" in capabilities.tool_choices)


def _native(requested: JsonSchema, fitted: Fitted) -> MessageForm | None:
    compiled: Grammar | None = grammar(fitted.schema)
    if compiled is None or not compiled.size.fits:
        return None
    body = JsonSchemaDefinition(
        bytes(compiled.schema).decode(),
        name=bedrock_name(requested.name),
        description=unless_blank(requested.description),
    )
    return MessageForm(
        output=OutputFormat(OutputFormatStructure(body)), size=compiled.size, ignored=loosened(_SCHEMA, fitted)
    )


def _tool(requested: JsonSchema, fitted: Fitted, capabilities: Capabilities, taken: Set[str]) -> MessageForm | None:
    """Return the answer tool. Beside others, any of the tools may be called, which `tool` cannot express."""
    pattern = capabilities.tool_names
    name = FreeNames(taken, pattern).take(bedrock_name(requested.name, pattern))
    if not taken and "tool" in capabilities.tool_choices:
        choice = ToolChoice(tool=SpecificToolChoice(name))
    elif "any" in capabilities.tool_choices:
        choice = ToolChoice(any={})
    else:
        return None
    about = with_note(unless_blank(requested.description) or _ANSWER_TOOL, fitted)
    specification = ToolSpecification(name, ToolInputSchema(fitted.schema), about)
    return MessageForm(
        tool=ToolSpec(specification), choice=choice, ignored=loosened(_SCHEMA, fitted), names=fitted.names
    )


def _in_words(requested: JsonSchema, schema: Raw) -> MessageForm:
    about = f"\nWhat it is: {requested.description}" if unless_blank(requested.description) else ""
    words = f"{_IN_WORDS} It must be valid against this JSON Schema:\n{bytes(schema).decode()}{about}"
    return MessageForm(instruction=words, ignored=(f"{_PARAM}.strict",) if requested.strict else ())


def loosened(schema: str, fitted: Fitted) -> tuple[str, ...]:
    """Return the paths of what is not enforced of the schema at the path `schema`."""
    return tuple(f"{schema}{path}" for path in fitted.loosened)


def with_note(description: str | None, fitted: Fitted) -> str | UnsetType:
    """Return a tool's description with the note about its schema, or UNSET if both are blank."""
    if not fitted.note or (description and fitted.note in description):
        return unless_blank(description)
    return f"{description}\n\n{fitted.note}" if unless_blank(description) else fitted.note


def unless_blank(text: str | None) -> str | UnsetType:
    """Return a description, or UNSET for a blank one, which LangChain sends and Bedrock rejects."""
    return text if text and text.strip() else UNSET
