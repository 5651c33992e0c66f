"""Schemas of responses and tools: the part of JSON Schema that models can follow.

A schema for the response (`outputConfig.textFormat`) and that of a strict tool are compiled to a grammar, so both have
the same narrow rules; any other tool's schema is only read, with a few gaps.

Source: AWS's page on structured output, corrected by the errors that pydantic-ai's live tests met.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from bedrock_local.conversation import Conversation
from bedrock_local.json_schema import problems, subschemas
from bedrock_local.rules.words import errors

#: Keywords that a grammar does not support.
_UNSUPPORTED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "maxItems",
    "contains",
    "oneOf",
)

#: Most strict tools, optional properties and unions of a request.
_MOST_STRICT, _MOST_OPTIONAL, _MOST_UNIONS = 20, 24, 16

_LOOKAROUND = re.compile(r"\(\?<?[=!]")
_BACK_REFERENCE = re.compile(r"\\\d|\(\?P=")
_COMBINATORS = ("oneOf", "allOf", "anyOf")
_REFERENCES = ("$ref", "$defs", "definitions")


def structured_output(conversation: Conversation) -> Iterator[str]:
    """The response's schema is JSON in a string, within the grammar's limits, on models that support it."""
    text_format = conversation.at(("outputConfig", "textFormat"))
    if text_format is None:
        return
    if not conversation.family.structured:
        yield (
            "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try "
            "again."
        )
        return
    try:
        schema = json.loads(text_format["structure"]["jsonSchema"]["schema"])
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        yield "The value at outputConfig.textFormat.structure.jsonSchema.schema must be a JSON object in a string."
        return
    for place in problems(schema, "output_config.format.schema"):
        yield errors(f"{place}: Invalid JSON schema.")
    yield from _held_to(schema, "output_config.format.schema")


def strict_tools(conversation: Conversation) -> Iterator[str]:
    """`strict` needs a model that supports it, and a schema within the grammar's limits."""
    strict = [(index, tool) for index, tool in enumerate(conversation.tools) if "strict" in tool]
    for index, tool in strict:
        if not conversation.family.strict:
            yield errors(f"tools.{index}.custom.strict: Extra inputs are not permitted")
        elif tool["strict"]:
            yield from _held_to(tool["inputSchema"]["json"], f"tools.{index}.custom.input_schema")
    if sum(tool["strict"] for _, tool in strict) > _MOST_STRICT:
        yield errors(f"tools: at most {_MOST_STRICT} tools may be strict.")


def root_keys(conversation: Conversation) -> Iterator[str]:
    """Some models accept only some keys at the root of a tool's schema."""
    allowed = conversation.family.root_keys
    for index, tool in enumerate(conversation.tools):
        extra = [key for key in tool["inputSchema"]["json"] if allowed and key not in allowed]
        if extra:
            place = f"#/toolConfig/tools/{index}/toolSpec/inputSchema/json"
            keys = "".join(f"{place}: extraneous key [{key}] is not permitted" for key in extra)
            yield errors(f"Malformed input request: {keys}, please reformat your input and try again.")


def property_names(conversation: Conversation) -> Iterator[str]:
    """Some models accept only some names of properties at the root of a tool's schema."""
    pattern = conversation.family.property_names
    for index, tool in enumerate(conversation.tools):
        names = tool["inputSchema"]["json"].get("properties", {})
        if pattern and not all(re.fullmatch(pattern, name) for name in names):
            yield errors(
                f"tools.{index}.custom.input_schema.properties: Property keys should match pattern '{pattern}'"
            )


def schema_gaps(conversation: Conversation) -> Iterator[str]:
    """Some models lack definitions, patterns with lookaround, or combinators at the root."""
    gaps = conversation.family.schema_gaps
    for index, tool in enumerate(conversation.tools):
        if "root_combinators" in gaps and any(key in tool["inputSchema"]["json"] for key in _COMBINATORS):
            yield errors(
                f"tools.{index}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top "
                "level"
            )
        for place, schema in subschemas(tool["inputSchema"]["json"], f"tools.{index}.custom.input_schema"):
            if "definitions" in gaps and any(key in schema for key in _REFERENCES):
                yield errors(f"{place}: this model does not read definitions in a tool's schema.")
            if "lookaround" in gaps:
                for key in _looking_around(schema):
                    yield errors(f"{place}.{key}: look-around in regular expressions is not supported.")


def _looking_around(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the keywords with such a pattern."""
    for key, patterns in (
        ("pattern", [schema.get("pattern", "")]),
        ("patternProperties", schema.get("patternProperties", {})),
    ):
        if any(map(_LOOKAROUND.search, patterns)):
            yield key


def _held_to(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the reasons why a schema cannot become a grammar."""
    optional = unions = 0
    for place, part in subschemas(schema, path):
        yield from _objections(part, place)
        optional += len(part.get("properties", {}).keys() - set(part.get("required", [])))
        unions += "anyOf" in part or isinstance(part.get("type"), list)
    if any(_returns(schema, name) for name in _definitions(schema)):
        yield errors(f"{path}: recursive schemas are not supported.")
    if optional > _MOST_OPTIONAL or unions > _MOST_UNIONS:
        yield errors(f"{path}: Schema is too complex for compilation.")


def _objections(schema: dict[str, Any], place: str) -> Iterator[str]:
    kind = schema.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if is_object and schema.get("additionalProperties") is not False:
        yield errors(f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for key in _UNSUPPORTED:
        if key in schema:
            yield errors(f"{place}: For '{kind}' type, property '{key}' is not supported")
    if schema.get("minItems", 0) > 1:
        yield errors(f"{place}: For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    pattern = schema.get("pattern", "")
    if _LOOKAROUND.search(pattern) or _BACK_REFERENCE.search(pattern):
        yield errors(f"{place}.pattern: look-around and back-references are not supported.")
    if not schema.get("$ref", "#").startswith("#"):
        yield errors(f"{place}.$ref: external references are not supported.")


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions by reference; the root is `#`."""
    named = {f"#/{key}/{name}": it for key in ("$defs", "definitions") for name, it in schema.get(key, {}).items()}
    root = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    return {"#": root, **named}


def _returns(schema: dict[str, Any], start: str) -> bool:
    """Return whether the references from a definition lead back to it."""
    definitions = _definitions(schema)
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for _, part in subschemas(definitions.get(ahead.pop(), {}), ""):
            target = part.get("$ref")
            if target == start:
                return True
            if target is not None and target not in seen:
                seen.add(target)
                ahead.append(target)
    return False


RULES = (structured_output, strict_tools, root_keys, property_names, schema_gaps)
