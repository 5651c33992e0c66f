"""Tools and tool choice. Calls in the history are in `results`."""

import re
from collections.abc import Iterator

from bedrock_local.conversation import Conversation
from bedrock_local.errors import AwsError
from bedrock_local.json_schema import problems
from bedrock_local.rules.words import errors, not_an_object, repeated

_CHOICES = ("auto", "any", "tool", "none")


def model_takes_tools(conversation: Conversation) -> Iterator[str]:
    """Some models have no tool use."""
    if "toolConfig" in conversation.request and not conversation.family.tools:
        yield "This model doesn't support tool use."


def tools_may_stream(conversation: Conversation) -> Iterator[str]:
    """Some models with tools cannot stream beside them."""
    if conversation.streaming and "toolConfig" in conversation.request and not conversation.family.streamed_tools:
        yield "This model doesn't support tool use in streaming mode."


def history_needs_config(conversation: Conversation) -> Iterator[str]:
    """Tool blocks in the history need a toolConfig, even if no tool is wanted any more."""
    if "toolConfig" not in conversation.request and any(conversation.blocks("toolUse", "toolResult")):
        yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."


def system_tools_are_known(conversation: Conversation) -> Iterator[str]:
    """Few models have system tools."""
    for index, tool in enumerate(conversation.request.get("toolConfig", {}).get("tools", [])):
        if "systemTool" in tool and tool["systemTool"]["name"] not in conversation.family.system_tools:
            yield f"This model doesn't support the system tool at toolConfig.tools.{index}."


def names_are_unique(conversation: Conversation) -> Iterator[str]:
    """Two tools may not share a name."""
    for name in repeated(tool["name"] for tool in conversation.tools):
        yield f"The toolConfig field contains duplicate tool names: {name}. Tool names must be unique."


def schemas_are_objects(conversation: Conversation) -> Iterator[str]:
    """The root of an inputSchema is an object with type `object`."""
    for index, tool in enumerate(conversation.tools):
        place = f"toolConfig.tools.{index}.toolSpec.inputSchema.json"
        schema = tool["inputSchema"]["json"]
        if not isinstance(schema, dict):
            yield not_an_object(place)
        elif schema.get("type") != "object":
            yield f"The value at {place}.type must be one of the following: object."


def schemas_are_schemas(conversation: Conversation) -> Iterator[str]:
    """An inputSchema is a JSON schema all the way down."""
    for index, tool in enumerate(conversation.tools):
        for place in problems(tool["inputSchema"]["json"], f"tools.{index}.custom.input_schema"):
            yield errors(
                f"{place}: JSON schema is invalid. It must match JSON Schema draft 2020-12 "
                "(https://json-schema.org/draft/2020-12)."
            )


def choice_is_supported(conversation: Conversation) -> Iterator[str]:
    """A model takes certain members of toolChoice."""
    for kind in conversation.request.get("toolConfig", {}).get("toolChoice", {}):
        if kind not in conversation.family.tool_choice:
            yield (
                f"This model doesn't support the toolConfig.toolChoice.{kind} field. Remove "
                f"toolConfig.toolChoice.{kind} and try again."
            )


def own_choice_is_one(conversation: Conversation) -> Iterator[str]:
    """Claude's own tool_choice is of a type that the model takes, and needs tools."""
    own, family = conversation.own_tool_choice, conversation.family
    if "tool_choice" not in conversation.extra or not family.own_tool_choice:
        return
    for key in own.keys() - {"type", "name", "disable_parallel_tool_use"}:
        yield errors(f"tool_choice.{key}: Extra inputs are not permitted")
    kind = own.get("type")
    if kind is None and "toolChoice" not in conversation.request.get("toolConfig", {}):
        yield errors("tool_choice.type: Field required")
    if kind is not None and kind not in _CHOICES:
        yield errors(f"tool_choice: Input tag '{kind}' does not match any of the expected tags: {', '.join(_CHOICES)}")
    elif kind not in (None, *family.tool_choice, *family.own_tool_choice):
        yield errors(f"tool_choice.type: '{kind}' is not supported for this model.")
    if "disable_parallel_tool_use" in own and ("single" not in family.own_tool_choice or kind == "none"):
        yield errors("tool_choice.disable_parallel_tool_use: Extra inputs are not permitted")
    if "toolConfig" not in conversation.request:
        yield errors("tool_choice may only be specified while providing tools.")


def choice_is_sent_once(conversation: Conversation) -> Iterator[str]:
    """Claude's own tool_choice.type excludes toolConfig.toolChoice."""
    if "type" in conversation.own_tool_choice and "toolChoice" in conversation.request.get("toolConfig", {}):
        yield "The additional field tool_choice conflicts with an existing field toolConfig.toolChoice."


def choice_is_a_tool(conversation: Conversation) -> Iterator[str]:
    """A tool that must be called is one of the tools."""
    kind, value = conversation.tool_choice
    if kind == "tool" and value.get("name") not in [tool["name"] for tool in conversation.tools]:
        yield f"The tool {value.get('name')} at toolConfig.toolChoice.tool.name is not in toolConfig.tools."
    if kind == "any" and not conversation.tools:
        yield "The toolConfig.toolChoice.any field needs a tool in toolConfig.tools."


def check_names(conversation: Conversation) -> None:
    """Raise the model's own error if it cannot write a call of a tool, by the tool's name."""
    called = [call.value["name"] for call in conversation.blocks("toolUse")]
    for name in (*(tool["name"] for tool in conversation.tools), *called):
        if not re.fullmatch(conversation.family.tool_names, name):
            raise AwsError(
                424,
                "ModelErrorException",
                "Model produced invalid sequence as part of ToolUse. Please refer to the model tool use "
                "troubleshooting guide.",
            )


RULES = (
    model_takes_tools,
    tools_may_stream,
    history_needs_config,
    system_tools_are_known,
    names_are_unique,
    schemas_are_objects,
    schemas_are_schemas,
    choice_is_supported,
    choice_is_sent_once,
    own_choice_is_one,
    choice_is_a_tool,
)
