"""Tools: what is offered, what is chosen, and that every call has its result."""

from collections import Counter
from collections.abc import Iterable, Iterator

from bedrock_local.conversation import Block, Conversation
from bedrock_local.json_schema import problems


def model_takes_tools(conversation: Conversation) -> Iterator[str]:
    """Some models know no tools at all."""
    if "toolConfig" in conversation.request and not conversation.model.tools:
        yield "This model doesn't support tool use."


def history_needs_config(conversation: Conversation) -> Iterator[str]:
    """Tool blocks in the history need a toolConfig, even where no tool is wanted any more."""
    if "toolConfig" not in conversation.request and any(conversation.blocks("toolUse", "toolResult")):
        yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."


def no_server_tools(conversation: Conversation) -> Iterator[str]:
    """No model here brings tools of its own."""
    for index, tool in enumerate(conversation.request.get("toolConfig", {}).get("tools", [])):
        if "systemTool" in tool:
            yield f"This model doesn't support the system tool at toolConfig.tools.{index}."


def names_are_unique(conversation: Conversation) -> Iterator[str]:
    """Two tools may not share a name."""
    for name in _repeated(tool["name"] for tool in conversation.tools):
        yield f"The toolConfig field contains duplicate tool names: {name}. Tool names must be unique."


def schemas_are_objects(conversation: Conversation) -> Iterator[str]:
    """The root of an inputSchema is an object with type `object`."""
    for index, tool in enumerate(conversation.tools):
        place = f"toolConfig.tools.{index}.toolSpec.inputSchema.json"
        schema = tool["inputSchema"]["json"]
        if not isinstance(schema, dict):
            yield f"The format of the value at {place} is invalid. Provide a json object for the field and try again."
        elif schema.get("type") != "object":
            yield f"The value at {place}.type must be one of the following: object."


def schemas_are_schemas(conversation: Conversation) -> Iterator[str]:
    """An inputSchema is a JSON schema all the way down."""
    for index, tool in enumerate(conversation.tools):
        for place in problems(tool["inputSchema"]["json"], f"tools.{index}.custom.input_schema"):
            yield (
                f"The model returned the following errors: {place}: JSON schema is invalid. It must match JSON Schema "
                "draft 2020-12 (https://json-schema.org/draft/2020-12)."
            )


def choice_is_supported(conversation: Conversation) -> Iterator[str]:
    """Which members of toolChoice a model takes differs."""
    if "toolChoice" not in conversation.request.get("toolConfig", {}):
        return
    kind, _ = conversation.tool_choice
    if kind not in conversation.model.tool_choice:
        yield (
            f"This model doesn't support the toolConfig.toolChoice.{kind} field. Remove toolConfig.toolChoice.{kind} "
            "and try again."
        )


def choice_is_offered(conversation: Conversation) -> Iterator[str]:
    """A tool that is demanded must be among those offered."""
    kind, value = conversation.tool_choice
    if kind == "tool" and value["name"] not in [tool["name"] for tool in conversation.tools]:
        yield f"The tool {value['name']} at toolConfig.toolChoice.tool.name is not in toolConfig.tools."
    if kind == "any" and not conversation.tools:
        yield "The toolConfig.toolChoice.any field needs a tool in toolConfig.tools."


def choice_is_said_once(conversation: Conversation) -> Iterator[str]:
    """Claude's own tool_choice.type may not stand beside toolConfig.toolChoice."""
    own = conversation.extra.get("tool_choice")
    if isinstance(own, dict) and "type" in own and "toolChoice" in conversation.request.get("toolConfig", {}):
        yield "The additional field tool_choice conflicts with an existing field toolConfig.toolChoice."


def values_are_objects(conversation: Conversation) -> Iterator[str]:
    """A tool's input, and a result given as json, are JSON objects."""
    for call in conversation.blocks("toolUse"):
        if not isinstance(call.value["input"], dict):
            yield _not_an_object(f"{call.path}.toolUse.input")
    for result in conversation.blocks("toolResult"):
        for index, part in enumerate(result.value["content"]):
            if "json" in part and not isinstance(part["json"], dict):
                yield _not_an_object(f"{result.path}.toolResult.content.{index}.json")


def _not_an_object(place: str) -> str:
    return f"The format of the value at {place} is invalid. Provide a json object for the field and try again."


def calls_have_own_ids(conversation: Conversation) -> Iterator[str]:
    """No two tool calls of a conversation share an id."""
    for number in range(len(conversation.messages)):
        for identifier in _repeated(_ids(conversation.turn(number), "toolUse")):
            yield f"The toolUse blocks at messages.{number}.content contain duplicate Ids: {identifier}"
    calls = list(conversation.blocks("toolUse"))
    for identifier in _repeated(call.value["toolUseId"] for call in calls):
        last = [call for call in calls if call.value["toolUseId"] == identifier][-1]
        yield f"The model returned the following errors: {last.path}: `tool_use` ids must be unique"


def results_answer_calls(conversation: Conversation) -> Iterator[str]:
    """The turn after a tool call answers exactly the calls of that turn, each once."""
    asked: list[str] = []
    for number in range(len(conversation.messages)):
        turn = conversation.turn(number)
        yield from _answers(asked, _ids(turn, "toolResult"), f"messages.{number}.content")
        asked = _ids(turn, "toolUse")
    if asked:
        yield f"Expected toolResult blocks at messages.{len(conversation.messages)}.content {_following(asked)}"


def _answers(asked: list[str], answered: list[str], place: str) -> Iterator[str]:
    for identifier in _repeated(answered):
        yield f"The toolResult blocks at {place} contain duplicate Ids: {identifier}"
    if len(answered) > len(asked):
        yield f"The number of toolResult blocks at {place} exceeds the number of toolUse blocks of previous turn."
    missing = [identifier for identifier in asked if identifier not in answered]
    if missing:
        yield f"Expected toolResult blocks at {place} {_following(missing)}"


def _following(identifiers: list[str]) -> str:
    return f"for the following Ids: {', '.join(identifiers)}"


def results_come_first(conversation: Conversation) -> Iterator[str]:
    """In a turn that brings results, they stand before anything else."""
    for number in range(len(conversation.messages)):
        others = False
        for block in conversation.turn(number):
            if block.kind == "toolResult" and others:
                yield (
                    f"The model returned the following errors: {block.path}: `tool_result` blocks must come before "
                    "any other content of the turn"
                )
            others = others or block.kind != "toolResult"


def _ids(turn: list[Block], kind: str) -> list[str]:
    return [block.value["toolUseId"] for block in turn if block.kind == kind]


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


RULES = (
    model_takes_tools,
    history_needs_config,
    no_server_tools,
    names_are_unique,
    schemas_are_objects,
    schemas_are_schemas,
    choice_is_supported,
    choice_is_offered,
    choice_is_said_once,
    values_are_objects,
    calls_have_own_ids,
    results_answer_calls,
    results_come_first,
)
