"""What becomes of every field and message form of the openai package, for every family of models.

Each case is a request that differs from a plain one by one thing. The translation itself says what becomes of it:
refused, if it raises; ignored, if it names it; applied, if another request goes out or another answer is made; without
effect, if nothing at all changes. `make docs` writes docs/compatibility.md from here, and the last test holds it to it.
"""

import base64
import copy
import json
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typing_extensions
from msgspec import inspect
from openai.types import chat
from openai.types.chat import chat_completion_content_part_image_param as image_types
from openai.types.chat import chat_completion_content_part_param as part_types
from openai.types.chat import chat_completion_custom_tool_param as custom_tool
from openai.types.chat import completion_create_params as create
from openai.types.shared_params import FunctionDefinition
from openai.types.shared_params import response_format_json_schema as json_schema

from extproc.bedrock.capabilities import BUILT_IN, Capabilities
from extproc.openai import limits
from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.embeddings import MAX_TEXTS, MAX_TOKENS
from extproc.openai.errors import ApiError
from extproc.translate.chat_fields import CHAT_FIELDS
from extproc.translate.chat_request import ChatPlan, plan

PAGE = Path(__file__).parents[3] / "docs" / "compatibility.md"

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
    """Top-level fields."""
    return lambda request: request.update(copy.deepcopy(fields))


def say(*messages: Json, tools: bool = False) -> Change:
    """A whole conversation instead of the plain one."""

    def change(request: Json) -> None:
        request["messages"] = copy.deepcopy(list(messages))
        if tools:
            request["tools"] = [TOOL]

    return change


def part(**fields: Any) -> Change:
    """One more content part in the user's message."""
    return say({"role": "user", "content": [{"type": "text", "text": "Hello"}, fields]})


def tool(**fields: Any) -> Change:
    """One tool, with more fields."""
    return put(tools=[{"type": "function", "function": {**TOOL["function"], **fields}}])


USER = {"role": "user", "content": "Hello"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
GAVE = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}

OPENAIS = set(typing.get_type_hints(create.CompletionCreateParamsStreaming))
TOP: dict[str, Change] = {
    path: put(**row.sample)
    for path, row in sorted(CHAT_FIELDS.items())
    if path in OPENAIS or path.startswith("stream_options.")
}
"""OpenAI's fields of the request itself."""

MESSAGES: dict[str, Change] = {
    "system.content": say({"role": "system", "content": "Be brief."}, USER),
    "system.name": say({"role": "system", "content": "Be brief.", "name": "ops"}, USER),
    "developer.content": say({"role": "developer", "content": "Be brief."}, USER),
    "developer.name": say({"role": "developer", "content": "Be brief.", "name": "ops"}, USER),
    "user.content": say({"role": "user", "content": "Something else"}),
    "user.name": say({**USER, "name": "Ann"}),
    "assistant.content": say(USER, {"role": "assistant", "content": "Hi"}, USER),
    "assistant.refusal": say(USER, {"role": "assistant", "content": None, "refusal": "No."}, USER),
    "assistant.name": say(USER, {"role": "assistant", "content": "Hi", "name": "Bob"}, USER),
    "assistant.audio": say(USER, {"role": "assistant", "content": "Hi", "audio": {"id": "audio_1"}}, USER),
    "assistant.tool_calls": say(USER, ASKED, GAVE, tools=True),
    "assistant.function_call": say(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "Sunny."},
        tools=True,
    ),
    "tool.content": say(USER, ASKED, GAVE, tools=True),
    "tool.tool_call_id": say(USER, ASKED, GAVE, tools=True),
    "function.content": say(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "weather", "content": "Sunny."},
        tools=True,
    ),
    "function.name": say(
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
    "refusal.refusal": say(USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, USER),
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

# What the package declares, by the section and the prefix of the cases that must be there for it.
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
"""Keys that only say what the others are."""


def plain() -> Json:
    return {"model": "m", "messages": [copy.deepcopy(USER)]}


def planned(request: Json, family: Capabilities) -> ChatPlan:
    return plan(decode_request(json.dumps(request).encode()), family)


def answered(change: Change, family: Capabilities) -> ChatPlan | ApiError:
    """What goes out, or the refusal."""
    request = plain()
    change(request)
    try:
        return planned(request, family)
    except ApiError as error:
        return error


def outcome(change: Change, family: Capabilities) -> str:
    """`refused`, `ignored`, `applied` or `no effect`."""
    made = answered(change, family)
    if isinstance(made, ApiError):
        return "refused"
    if made.ignored:
        return "ignored"
    before = planned(plain(), family)
    same = (made.body, made.streamed, made.include_usage, made.shape) == (
        before.body,
        before.streamed,
        before.include_usage,
        before.shape,
    )
    return "no effect" if same and change is not TOP["model"] else "applied"


FAMILIES: Mapping[str, Capabilities] = {
    name: family for name, family in sorted(BUILT_IN.families.items()) if family.converse
}


INLINED = [name for name, family in FAMILIES.items() if "definitions" in family.schema_gaps]


def outcomes(change: Change) -> dict[str, list[str]]:
    """The families for each outcome."""
    found: dict[str, list[str]] = {}
    for name, family in FAMILIES.items():
        found.setdefault(outcome(change, family), []).append(name)
    return found


def cell(names: list[str] | None) -> str:
    if not names:
        return ""
    if len(names) == len(FAMILIES):
        return "all"
    rest = [name for name in FAMILIES if name not in names]
    return _short(names) if len(names) <= len(rest) else f"all but {_short(rest)}"


def _short(names: list[str]) -> str:
    """The names, with `claude-*` for all that begin so."""
    starts = {name.partition("-")[0] for name in names}
    whole = {start for start in starts if all(name in names for name in FAMILIES if name.partition("-")[0] == start)}
    written = [
        f"{start}-\\*" if start in whole and _kin(start) else name
        for name in names
        for start in [name.partition("-")[0]]
    ]
    return ", ".join(dict.fromkeys(written))


def _kin(start: str) -> bool:
    return sum(name.partition("-")[0] == start for name in FAMILIES) > 1


def rows() -> Iterator[str]:
    for title, cases in SECTIONS.items():
        yield f"\n## {title}\n"
        yield "| | applied | ignored, by name | accepted, without effect | refused |"
        yield "|---|---|---|---|---|"
        for name, change in cases.items():
            found = outcomes(change)
            cells = [cell(found.get(kind)) for kind in ("applied", "ignored", "no effect", "refused")]
            yield f"| `{name}` | {' | '.join(cells)} |"


HEAD = f"""# Compatibility

What becomes of every field and message form of OpenAI's chat requests, by family of models. This page is written by
`make docs` from tests/unit/translate/test_compatibility.py, which asks the translation; a test keeps it current, and
fails when a newer openai package has a field that is not here; another fails for a field of any depth that the gateway
does not know.

- *applied*: another request goes to Bedrock, or another answer comes back.
- *ignored, by name*: nothing changes, and the response header `x-oai-ignored-params` names the field: by its path from
  the request's root, with `[]` for any element of a list, as in `messages[].content[].image_url.detail`. Paths are
  separated by a comma and a blank.
- *accepted, without effect*: nothing changes, and nothing could: it carries no meaning for the models.
- *refused*: a 400 whose `param` names it.

A field that is not OpenAI's, nor one of the gateway's own (README.md), is refused, wherever it stands. Only in
messages, where clients send back what they were given by others, it is left out, and named in the header, as in
`messages[].annotations` or `messages[].tool_calls[].index`; `null`, `[]` and `{{}}` are not worth a name.

## Limits

More than this is a 400 whose `param` names the list and whose message has the limit, whatever the model.

| | at most |
|---|---|
| `tools`, `functions`, `tool_choice.allowed_tools.tools` | {limits.MAX_TOOLS}, as with OpenAI |
| `messages` | {limits.MAX_MESSAGES:,} |
| parts of one message's `content` | {limits.MAX_PARTS:,} |
| `tool_calls` of one message | {limits.MAX_TOOL_CALLS:,} |
| JSON objects in the `arguments` of calls, beside the first of each | {limits.MAX_TOOL_CALLS:,} |
| `thinking_blocks` of one message | {limits.MAX_THINKING_BLOCKS:,} |
| `stop` | what the family takes (4 for most), {limits.MAX_STOP_SEQUENCES:,} for any |
| `logit_bias` | {limits.MAX_LOGIT_BIASES:,} |
| bytes of a JSON Schema | {limits.MAX_SCHEMA_BYTES:,} |
| members of all objects in a JSON Schema | {limits.MAX_SCHEMA_MEMBERS:,} |
| levels of a JSON Schema | {limits.MAX_SCHEMA_DEPTH} |
| bytes that replace `$ref` in a request ({", ".join(INLINED)}), each use counted | {limits.MAX_REFERRED_BYTES:,} |
| `input` of embeddings | {MAX_TEXTS:,} texts, {MAX_TOKENS:,} token ids in all, as with OpenAI |
| JSON values in a request of 1 MiB, or of 64 KiB and 8,000 separators | {limits.MAX_VALUES:,} |

## Families

The families are those of [the capability table](../extproc/bedrock/capabilities.json): {", ".join(FAMILIES)}.
"""


def render() -> str:
    return HEAD + "\n".join(rows()) + "\n"


@pytest.mark.parametrize(("cases", "prefix", "declared"), DECLARED, ids=lambda value: getattr(value, "__name__", None))
def test_every_field_that_the_openai_package_knows_is_a_case(
    cases: dict[str, Change], prefix: str, declared: Any
) -> None:
    names = set(typing.get_type_hints(declared)) - WRAPPERS
    assert {f"{prefix}{name}" for name in names} - set(cases) - {"messages"} == set()


def undeclared(declared: Any, kind: inspect.Type, path: str = "") -> Iterator[str]:
    """Keys of the package's TypedDict, and of those in it, that our struct in its place does not have.

    There is nothing to know of a place that is free JSON on our side: it is applied, refused or ignored as a whole.
    """
    for found in typed_dicts(declared):
        structs = list(structs_of(kind))
        if not structs:
            continue
        hints = typing.get_type_hints(found)
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
    """Those that the hint allows."""
    if typing_extensions.is_typeddict(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from typed_dicts(argument)


def structs_of(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Those that may stand in a place, by themselves or in a list."""
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


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_refused_is_a_400_that_names_itself(section: str) -> None:
    for name, change in SECTIONS[section].items():
        for family in FAMILIES.values():
            made = answered(change, family)
            if isinstance(made, ApiError):
                assert (made.status, bool(made.param)) == (400, True), (name, family.family, made.message)


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == render(), "run `make docs`"


if __name__ == "__main__":
    sys.stdout.write(render())
