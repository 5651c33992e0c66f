"""The cases of docs/compatibility.md: requests that differ from a plain one by one field."""

import base64
import copy
import typing
from collections.abc import Callable
from typing import Any

from openai.types import chat
from openai.types.chat import chat_completion_content_part_image_param as image_types
from openai.types.chat import chat_completion_content_part_param as part_types
from openai.types.chat import chat_completion_custom_tool_param as custom_tool
from openai.types.chat import completion_create_params as create
from openai.types.shared_params import FunctionDefinition
from openai.types.shared_params import response_format_json_schema as json_schema

from extproc.translate.chat_fields import CHAT_FIELDS

Json = dict[str, Any]
Change = Callable[[Json], None]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n").decode()
WAV = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt ").decode()
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": SCHEMA}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}


def put(**fields: Any) -> Change:
    """Set top-level fields."""
    return lambda request: request.update(copy.deepcopy(fields))


def conversation(*messages: Json, tools: bool = False) -> Change:
    """Replace the plain conversation with a whole one."""

    def change(request: Json) -> None:
        request["messages"] = copy.deepcopy(list(messages))
        if tools:
            request["tools"] = [TOOL]

    return change


def part(**fields: Any) -> Change:
    """Add a content part to the user's message."""
    return conversation({"role": "user", "content": [{"type": "text", "text": "Hello"}, fields]})


def tool(**fields: Any) -> Change:
    """Add a tool with more fields."""
    return put(tools=[{"type": "function", "function": {**TOOL["function"], **fields}}])


USER = {"role": "user", "content": "Hello"}
CALLING_MESSAGE = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}

OPENAIS = set(typing.get_type_hints(create.CompletionCreateParamsStreaming))
TOP: dict[str, Change] = {
    path: put(**row.sample)
    for path, row in sorted(CHAT_FIELDS.items())
    if path in OPENAIS or path.startswith("stream_options.")
}
"""OpenAI's fields of the request itself."""

MESSAGES: dict[str, Change] = {
    "system.content": conversation({"role": "system", "content": "Be brief."}, USER),
    "system.name": conversation({"role": "system", "content": "Be brief.", "name": "ops"}, USER),
    "developer.content": conversation({"role": "developer", "content": "Be brief."}, USER),
    "developer.name": conversation({"role": "developer", "content": "Be brief.", "name": "ops"}, USER),
    "user.content": conversation({"role": "user", "content": "Something else"}),
    "user.name": conversation({**USER, "name": "Ann"}),
    "assistant.content": conversation(USER, {"role": "assistant", "content": "Hi"}, USER),
    "assistant.refusal": conversation(USER, {"role": "assistant", "content": None, "refusal": "No."}, USER),
    "assistant.name": conversation(USER, {"role": "assistant", "content": "Hi", "name": "Bob"}, USER),
    "assistant.audio": conversation(USER, {"role": "assistant", "content": "Hi", "audio": {"id": "audio_1"}}, USER),
    "assistant.tool_calls": conversation(USER, CALLING_MESSAGE, TOOL_RESULT, tools=True),
    "assistant.function_call": conversation(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "Sunny."},
        tools=True,
    ),
    "tool.content": conversation(USER, CALLING_MESSAGE, TOOL_RESULT, tools=True),
    "tool.tool_call_id": conversation(USER, CALLING_MESSAGE, TOOL_RESULT, tools=True),
    "function.content": conversation(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "Sunny."},
        tools=True,
    ),
    "function.name": conversation(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "Sunny."},
        tools=True,
    ),
}

BREAK = {"mode": "explicit"}
PARTS: dict[str, Change] = {
    "text.text": part(type="text", text="More."),
    "text.prompt_cache_breakpoint": part(type="text", text="More.", prompt_cache_breakpoint=BREAK),
    "image_url.image_url.url": part(type="image_url", image_url={"url": f"data:image/png;base64,{PNG}"}),
    "image_url.image_url.detail": part(
        type="image_url", image_url={"url": f"data:image/png;base64,{PNG}", "detail": "low"}
    ),
    "image_url.prompt_cache_breakpoint": part(
        type="image_url", image_url={"url": f"data:image/png;base64,{PNG}"}, prompt_cache_breakpoint=BREAK
    ),
    "input_audio.input_audio": part(type="input_audio", input_audio={"data": WAV, "format": "wav"}),
    "input_audio.prompt_cache_breakpoint": part(
        type="input_audio", input_audio={"data": WAV, "format": "wav"}, prompt_cache_breakpoint=BREAK
    ),
    "file.file.file_data": part(
        type="file", file={"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}
    ),
    "file.file.file_id": part(type="file", file={"file_id": "file-1"}),
    "file.file.filename": part(type="file", file={"file_data": PDF, "filename": "a.pdf"}),
    "file.prompt_cache_breakpoint": part(
        type="file",
        file={"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
        prompt_cache_breakpoint=BREAK,
    ),
    "refusal.refusal": conversation(
        USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER
    ),
}

TOOLS: dict[str, Change] = {
    "function.name": tool(name="other"),
    "function.description": tool(description="Other."),
    "function.parameters": tool(parameters={"type": "object", "properties": {"x": {"type": "integer"}}}),
    "function.strict": tool(strict=True),
    "custom": put(tools=[{"type": "custom", "custom": {"name": "sql", "description": "A query."}}]),
    "custom.name": put(tools=[{"type": "custom", "custom": {"name": "query"}}]),
    "custom.description": put(tools=[{"type": "custom", "custom": {"name": "sql", "description": "Other."}}]),
    "custom.format: text": put(tools=[{"type": "custom", "custom": {"name": "sql", "format": {"type": "text"}}}]),
    "custom.format": put(
        tools=[
            {
                "type": "custom",
                "custom": {
                    "name": "sql",
                    "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[a-z]+"}},
                },
            }
        ]
    ),
    "tool_choice: none": put(tools=[TOOL], tool_choice="none"),
    "tool_choice: auto": put(tools=[TOOL], tool_choice="auto"),
    "tool_choice: required": put(tools=[TOOL], tool_choice="required"),
    "tool_choice: function": put(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "weather"}}),
    "tool_choice: custom": put(
        tools=[{"type": "custom", "custom": {"name": "sql"}}], tool_choice={"type": "custom", "custom": {"name": "sql"}}
    ),
    "tool_choice: allowed_tools": put(
        tools=[TOOL, {"type": "function", "function": {"name": "time"}}],
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
        },
    ),
    "response_format: json_object": put(response_format={"type": "json_object"}),
    "response_format: json_schema": put(
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    ),
    "json_schema.name": put(response_format={"type": "json_schema", "json_schema": {"name": "other"}}),
    "json_schema.description": put(
        response_format={"type": "json_schema", "json_schema": {"name": "place", "description": "A place."}}
    ),
    "json_schema.schema": put(
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    ),
    "json_schema.strict": put(
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    ),
    "response_format: json_schema, with tools": put(
        tools=[TOOL],
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}},
    ),
}

SECTIONS: dict[str, dict[str, Change]] = {
    "Fields of the request": TOP,
    "Messages": MESSAGES,
    "Content parts": PARTS,
    "Tools and formats": TOOLS,
}

# The package's declarations, by the section and the prefix of the cases that must be there for it.
DECLARED: tuple[tuple[dict[str, Change], str, Any], ...] = (
    (TOP, "", create.CompletionCreateParamsStreaming),
    (TOP, "stream_options.", chat.ChatCompletionStreamOptionsParam),
    (MESSAGES, "system.", chat.ChatCompletionSystemMessageParam),
    (MESSAGES, "developer.", chat.ChatCompletionDeveloperMessageParam),
    (MESSAGES, "user.", chat.ChatCompletionUserMessageParam),
    (MESSAGES, "assistant.", chat.ChatCompletionAssistantMessageParam),
    (MESSAGES, "tool.", chat.ChatCompletionToolMessageParam),
    (MESSAGES, "function.", chat.ChatCompletionFunctionMessageParam),
    (PARTS, "text.", chat.ChatCompletionContentPartTextParam),
    (PARTS, "image_url.", chat.ChatCompletionContentPartImageParam),
    (PARTS, "image_url.image_url.", image_types.ImageURL),
    (PARTS, "input_audio.", chat.ChatCompletionContentPartInputAudioParam),
    (PARTS, "file.", part_types.File),
    (PARTS, "file.file.", part_types.FileFile),
    (PARTS, "refusal.", chat.ChatCompletionContentPartRefusalParam),
    (TOOLS, "function.", FunctionDefinition),
    (TOOLS, "", chat.ChatCompletionCustomToolParam),
    (TOOLS, "custom.", custom_tool.Custom),
    (TOOLS, "json_schema.", json_schema.JSONSchema),
)
WRAPPERS = {"type", "role", "image_url", "file"}
"""Keys that only name the kind of the others."""
