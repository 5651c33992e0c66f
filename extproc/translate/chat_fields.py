"""The treatment of each field of a chat request, at any depth.

`CHAT_FIELDS` has a row for every field of `ChatRequest`, by its path from the request's root (`[]` for any element of
a list). A row carries the fields of a request that shows it, beside a plain one, and for `Applied` those of the same
request without it. `chat_request` reads the top level; tests prove every row by its sample, and find a field that has
no row.

Decision: docs/decisions.md, D95.
"""

from collections.abc import Mapping
from typing import Any, Final

from extproc.translate.field_treatments import Applied, Constant, Fields, Implied, NotApplied, Rejected

Row = Applied | NotApplied | Rejected | Constant | Implied

# Samples

_USER: Final = {"role": "user", "content": "Hello"}
_SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_FUNCTION: Final = {"name": "weather", "parameters": _SCHEMA}
_TOOL: Final = {"type": "function", "function": _FUNCTION}
_CUSTOM: Final = {"type": "custom", "custom": {"name": "sql"}}
_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
_RESULT: Final = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."}
_FUNCTION_RESULT: Final = {"role": "function", "name": "weather", "content": "Sunny."}
_CACHE: Final = {"type": "ephemeral"}
_HOUR: Final = {"type": "ephemeral", "ttl": "1h"}
_BREAKPOINT: Final = {"mode": "explicit"}
_HALF_HOUR: Final = {**_BREAKPOINT, "ttl": "30m"}
_GUARDRAIL: Final = {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
_PNG: Final = "data:image/png;base64,iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"
_PDF: Final = "data:application/pdf;base64,JVBERi0xLjQK"
_WAV: Final = "UklGRgAAAABXQVZFZm10IA=="
_MP4: Final = "data:video/mp4;base64,AAAAGGZ0eXBtcDQyAAAAAA=="


def _messages(*messages: Fields, **fields: Any) -> Fields:
    return {"messages": messages, **fields}


def _part(**part: Any) -> Fields:
    """A user's message with one more part."""
    return _messages({"role": "user", "content": [{"type": "text", "text": "Hello"}, part]})


def _image(**image_url: Any) -> Fields:
    return _part(type="image_url", image_url={"url": _PNG, **image_url})


def _file(**file: Any) -> Fields:
    return _part(type="file", file=file)


def _assistant(**fields: Any) -> Fields:
    """A conversation whose assistant's message has these fields."""
    return _messages(_USER, {"role": "assistant", "content": "Hi", **fields}, _USER)


def _called(call: Fields, result: Fields = _RESULT) -> Fields:
    """A conversation with a call and its result."""
    return _messages(_USER, {"role": "assistant", "tool_calls": [call]}, result, tools=[_TOOL, _CUSTOM])


def _function_called(result: Fields = _FUNCTION_RESULT, **call: Any) -> Fields:
    """The same in the form from before tools."""
    called = {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}", **call}}
    return _messages(_USER, called, result, functions=[_FUNCTION])


def _cached_for(options: Fields) -> Fields:
    return _messages({**_USER, "prompt_cache_breakpoint": _BREAKPOINT}, prompt_cache_options=options)


def _thinking_block(**block: Any) -> Fields:
    return _assistant(thinking_blocks=[block])


def _tool(*, function: Fields | None = None, **fields: Any) -> Fields:
    return {"tools": [{"type": "function", "function": {**_FUNCTION, **(function or {})}, **fields}]}


def _custom(**custom: Any) -> Fields:
    return {"tools": [{"type": "custom", "custom": {"name": "sql", **custom}}]}


def _grammar(syntax: str = "regex", definition: str = "[a-z]+") -> Fields:
    return _custom(format={"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}})


def _function(**function: Any) -> Fields:
    return {"functions": [{**_FUNCTION, **function}]}


def _choice(choice: Any) -> Fields:
    return {"tools": [_TOOL, _CUSTOM, {"type": "function", "function": {"name": "time"}}], "tool_choice": choice}


def _allowed(mode: str, *tools: Fields) -> Fields:
    return _choice({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})


def _named(name: str, kind: str = "function") -> Fields:
    return {"type": kind, kind: {"name": name}}


def _format(**json_schema: Any) -> Fields:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "place", **json_schema}}}


def _guardrail(**guardrail: Any) -> Fields:
    return {"guardrailConfig": {**_GUARDRAIL, **guardrail}}


_TOP_LEVEL: Mapping[str, Row] = {
    "model": Applied({"model": "another"}),
    "messages": Applied(_messages({"role": "user", "content": "Other"})),
    "stream": Applied({"stream": True}),
    "stream_options": Applied({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    "stream_options.include_usage": Applied(
        {"stream": True, "stream_options": {"include_usage": True}}, {"stream": True, "stream_options": {}}
    ),
    "stream_options.include_obfuscation": NotApplied(
        {"stream": True, "stream_options": {"include_obfuscation": True}}, (False,)
    ),
    "max_tokens": Applied({"max_tokens": 100}),
    "max_completion_tokens": Applied({"max_completion_tokens": 100}),
    "temperature": Applied({"temperature": 0.5}),
    "top_p": Applied({"top_p": 0.5}),
    "stop": Applied({"stop": ["END"]}),
    "n": Rejected({"n": 2}, (1,), "Only n=1 is supported. To get several completions, send several requests."),
    "parallel_tool_calls": Applied({"tools": [_TOOL], "parallel_tool_calls": False}, {"tools": [_TOOL]}),
    "frequency_penalty": NotApplied({"frequency_penalty": 0.5}, (0,)),
    "presence_penalty": NotApplied({"presence_penalty": -0.5}, (0,)),
    "seed": NotApplied({"seed": 0}),
    "logprobs": NotApplied({"logprobs": True}, (False,)),
    "top_logprobs": NotApplied({"top_logprobs": 0}),
    "logit_bias": NotApplied({"logit_bias": {"50256": -100}}, ({},)),
    "store": NotApplied({"store": True}, (False,)),
    "prompt_cache_key": NotApplied({"prompt_cache_key": "k"}),
    "prompt_cache_retention": NotApplied({"prompt_cache_retention": "24h"}),
    "prompt_cache_options": Implied(_cached_for({"ttl": "30m"})),
    "prompt_cache_options.ttl": Implied(_cached_for({"ttl": "30m"})),
    "prompt_cache_options.mode": NotApplied({"prompt_cache_options": {"mode": "implicit"}}, ("explicit",)),
    "prediction": NotApplied({"prediction": {"type": "content", "content": "x"}}),
    "verbosity": NotApplied({"verbosity": "low"}, ("medium",)),
    "user": Applied({"user": "user-1"}),
    "safety_identifier": Applied({"safety_identifier": "user-1"}),
    "metadata": Applied({"metadata": {"team": "blue"}}),
    "service_tier": Applied({"service_tier": "priority"}),
    "reasoning_effort": Applied({"reasoning_effort": "high"}),
    "modalities": Rejected(
        {"modalities": ["text", "audio"]}, (["text"],), "Only text can be generated: 'modalities' must be [\"text\"]."
    ),
    "audio": Rejected({"audio": {"format": "wav", "voice": "alloy"}}),
    "web_search_options": Applied({"web_search_options": {}}),
    "web_search_options.search_context_size": NotApplied(
        {"web_search_options": {"search_context_size": "low"}}, ("medium",)
    ),
    "web_search_options.user_location": NotApplied({"web_search_options": {"user_location": {"type": "approximate"}}}),
    "moderation": Rejected({"moderation": {"model": "omni"}}),
    "thinking": Applied({"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    "thinking.type": Applied({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}}),
    "thinking.budget_tokens": Applied(
        {"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"thinking": {"type": "enabled"}}
    ),
    "thinking.display": Applied(
        {"thinking": {"type": "adaptive", "display": "omitted"}}, {"thinking": {"type": "adaptive"}}
    ),
    "top_k": Applied({"top_k": 5}),
    "guardrailConfig": Applied(_guardrail()),
    "guardrailConfig.guardrailIdentifier": Applied(_guardrail(guardrailIdentifier="g2"), _guardrail()),
    "guardrailConfig.guardrailVersion": Applied(_guardrail(guardrailVersion="DRAFT"), _guardrail()),
    "guardrailConfig.trace": Applied(_guardrail(trace="enabled"), _guardrail()),
    "guardrailConfig.streamProcessingMode": Applied(
        {"stream": True, **_guardrail(streamProcessingMode="async")}, {"stream": True, **_guardrail()}
    ),
    "performanceConfig": Applied({"performanceConfig": {"latency": "optimized"}}),
    "performanceConfig.latency": Applied(
        {"performanceConfig": {"latency": "optimized"}}, {"performanceConfig": {"latency": "standard"}}
    ),
    "additionalModelRequestFields": Applied({"additionalModelRequestFields": {"key": 1}}),
}

_MESSAGES: Mapping[str, Row] = {
    "messages[].content": Applied(_messages({"role": "user", "content": "Other"})),
    "messages[].name": NotApplied(_messages({**_USER, "name": "Ann"})),
    "messages[].cache_control": Applied(_messages({**_USER, "cache_control": _CACHE})),
    "messages[].cache_control.type": Constant(_messages({**_USER, "cache_control": _CACHE})),
    "messages[].cache_control.ttl": Applied(
        _messages({**_USER, "cache_control": _HOUR}), _messages({**_USER, "cache_control": _CACHE})
    ),
    "messages[].prompt_cache_breakpoint": Applied(_messages({**_USER, "prompt_cache_breakpoint": _BREAKPOINT})),
    "messages[].prompt_cache_breakpoint.mode": Constant(_messages({**_USER, "prompt_cache_breakpoint": _BREAKPOINT})),
    "messages[].prompt_cache_breakpoint.ttl": Implied(_messages({**_USER, "prompt_cache_breakpoint": _HALF_HOUR})),
    "messages[].content[].text": Applied(_part(type="text", text="More.")),
    "messages[].content[].qualifiers": Applied(
        {**_part(type="guarded_text", text="More.", qualifiers=["query"]), **_guardrail()},
        {**_part(type="guarded_text", text="More."), **_guardrail()},
    ),
    "messages[].content[].cache_control": Applied(
        _part(type="text", text="More.", cache_control=_CACHE), _part(type="text", text="More.")
    ),
    "messages[].content[].cache_control.type": Constant(_part(type="text", text="More.", cache_control=_CACHE)),
    "messages[].content[].cache_control.ttl": Applied(
        _part(type="text", text="More.", cache_control=_HOUR), _part(type="text", text="More.", cache_control=_CACHE)
    ),
    "messages[].content[].prompt_cache_breakpoint": Applied(
        _part(type="text", text="More.", prompt_cache_breakpoint=_BREAKPOINT), _part(type="text", text="More.")
    ),
    "messages[].content[].prompt_cache_breakpoint.mode": Constant(
        _part(type="text", text="More.", prompt_cache_breakpoint=_BREAKPOINT)
    ),
    "messages[].content[].prompt_cache_breakpoint.ttl": Implied(
        _part(type="text", text="More.", prompt_cache_breakpoint=_HALF_HOUR)
    ),
    "messages[].content[].image_url": Applied(_image()),
    "messages[].content[].image_url.url": Applied(_image()),
    "messages[].content[].image_url.detail": NotApplied(_image(detail="low"), ("auto",)),
    "messages[].content[].input_audio": Applied(_part(type="input_audio", input_audio={"data": _WAV, "format": "wav"})),
    "messages[].content[].input_audio.data": Applied(
        _part(type="input_audio", input_audio={"data": _WAV, "format": "wav"})
    ),
    "messages[].content[].input_audio.format": Applied(
        _part(type="input_audio", input_audio={"data": _WAV, "format": "mp3"}),
        _part(type="input_audio", input_audio={"data": _WAV, "format": "wav"}),
    ),
    "messages[].content[].file": Applied(_file(file_data=_PDF, filename="a.pdf")),
    "messages[].content[].file.file_data": Applied(_file(file_data=_PDF, filename="a.pdf")),
    "messages[].content[].file.file_id": Rejected(_file(file_id="file-1")),
    "messages[].content[].file.filename": Applied(
        _file(file_data="SGk=", filename="a.md"), _file(file_data="SGk=", filename="a.txt")
    ),
    "messages[].content[].video_url": Applied(_part(type="video_url", video_url={"url": _MP4})),
    "messages[].content[].video_url.url": Applied(_part(type="video_url", video_url={"url": _MP4})),
    "messages[].content[].refusal": Applied(_assistant(content=[{"type": "refusal", "refusal": "No."}])),
    "messages[].refusal": Applied(_assistant(refusal="No."), _assistant()),
    "messages[].audio": Rejected(_assistant(audio={"id": "audio_1"})),
    "messages[].reasoning_content": Applied(_assistant(reasoning_content="Hm."), _assistant()),
    "messages[].thinking_blocks": Applied(_thinking_block(type="redacted_thinking", data="eA=="), _assistant()),
    "messages[].thinking_blocks[].data": Applied(_thinking_block(type="redacted_thinking", data="eA=="), _assistant()),
    "messages[].thinking_blocks[].thinking": Applied(
        _thinking_block(type="thinking", thinking="Hm.", signature="c2ln"),
        _thinking_block(type="thinking", thinking="Oh.", signature="c2ln"),
    ),
    "messages[].thinking_blocks[].signature": Applied(
        _thinking_block(type="thinking", thinking="Hm.", signature="c2ln"),
        _thinking_block(type="thinking", thinking="Hm."),
    ),
    "messages[].tool_calls": Applied(_called(_CALL)),
    "messages[].tool_calls[].id": Applied(
        _called({**_CALL, "id": "call_2"}, {**_RESULT, "tool_call_id": "call_2"}), _called(_CALL)
    ),
    "messages[].tool_calls[].type": Constant(_called(_CALL)),
    "messages[].tool_calls[].function": Applied(_called(_CALL)),
    "messages[].tool_calls[].function.name": Applied(
        _called({**_CALL, "function": {"name": "time", "arguments": "{}"}}), _called(_CALL)
    ),
    "messages[].tool_calls[].function.arguments": Applied(
        _called({**_CALL, "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}), _called(_CALL)
    ),
    "messages[].tool_calls[].custom": Applied(
        _called({"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "x"}}), _called(_CALL)
    ),
    "messages[].tool_calls[].custom.name": Applied(
        _called({"id": "call_1", "type": "custom", "custom": {"name": "sh", "input": "x"}}),
        _called({"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "x"}}),
    ),
    "messages[].tool_calls[].custom.input": Applied(
        _called({"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "y"}}),
        _called({"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "x"}}),
    ),
    "messages[].tool_call_id": Applied(
        _called({**_CALL, "id": "call_2"}, {**_RESULT, "tool_call_id": "call_2"}), _called(_CALL)
    ),
    "messages[].is_error": Applied(_called(_CALL, {**_RESULT, "is_error": True}), _called(_CALL)),
    "messages[].function_call": Applied(_function_called()),
    "messages[].function_call.name": Applied(
        _function_called({**_FUNCTION_RESULT, "name": "time"}, name="time"), _function_called()
    ),
    "messages[].function_call.arguments": Applied(_function_called(arguments='{"city":"Paris"}'), _function_called()),
}

_TOOLS: Mapping[str, Row] = {
    "tools": Applied({"tools": [_TOOL]}),
    "tools[].function": Applied({"tools": [_TOOL]}),
    "tools[].function.name": Applied(_tool(function={"name": "other"}), _tool()),
    "tools[].function.description": Applied(_tool(function={"description": "Other."}), _tool()),
    "tools[].function.parameters": Applied(_tool(function={"parameters": {"type": "object"}}), _tool()),
    "tools[].function.strict": Applied(
        _tool(function={"strict": True, "parameters": {**_SCHEMA, "additionalProperties": False}}),
        _tool(function={"parameters": {**_SCHEMA, "additionalProperties": False}}),
    ),
    "tools[].function.type": NotApplied(_tool(function={"type": "function"})),
    "tools[].function.cache_control": Applied(_tool(function={"cache_control": _CACHE}), _tool()),
    "tools[].function.cache_control.type": Constant(_tool(function={"cache_control": _CACHE})),
    "tools[].function.cache_control.ttl": Applied(
        _tool(function={"cache_control": _HOUR}), _tool(function={"cache_control": _CACHE})
    ),
    "tools[].cache_control": Applied(_tool(cache_control=_CACHE), _tool()),
    "tools[].cache_control.type": Constant(_tool(cache_control=_CACHE)),
    "tools[].cache_control.ttl": Applied(_tool(cache_control=_HOUR), _tool(cache_control=_CACHE)),
    "tools[].custom": Applied({"tools": [_CUSTOM]}),
    "tools[].custom.name": Applied(_custom(name="other"), _custom()),
    "tools[].custom.description": Applied(_custom(description="Other."), _custom()),
    "tools[].custom.format": Applied(_grammar(), _custom()),
    "tools[].custom.format.grammar": Applied(_grammar(), _custom()),
    "tools[].custom.format.grammar.definition": Applied(_grammar(definition="[0-9]+"), _grammar()),
    "tools[].custom.format.grammar.syntax": Applied(_grammar(syntax="lark"), _grammar()),
    "tool_choice": Applied(_choice("required"), _choice("auto")),
    "tool_choice.function": Applied(_choice(_named("weather")), _choice("auto")),
    "tool_choice.function.name": Applied(_choice(_named("time")), _choice(_named("weather"))),
    "tool_choice.custom": Applied(_choice(_named("sql", "custom")), _choice("auto")),
    "tool_choice.custom.name": Applied(_choice(_named("sql", "custom")), _choice(_named("weather"))),
    "tool_choice.allowed_tools": Applied(_allowed("auto", _named("weather")), _choice("auto")),
    "tool_choice.allowed_tools.mode": Applied(
        _allowed("required", _named("weather")), _allowed("auto", _named("weather"))
    ),
    "tool_choice.allowed_tools.tools": Applied(_allowed("auto", _named("time")), _allowed("auto", _named("weather"))),
    "tool_choice.allowed_tools.tools[].function": Applied(_allowed("auto", _named("weather")), _choice("auto")),
    "tool_choice.allowed_tools.tools[].function.name": Applied(
        _allowed("auto", _named("time")), _allowed("auto", _named("weather"))
    ),
    "tool_choice.allowed_tools.tools[].custom": Applied(_allowed("auto", _named("sql", "custom")), _choice("auto")),
    "tool_choice.allowed_tools.tools[].custom.name": Applied(
        _allowed("auto", _named("sql", "custom")), _allowed("auto", _named("weather"))
    ),
    "functions": Applied(_function()),
    "functions[].name": Applied(_function(name="other"), _function()),
    "functions[].description": Applied(_function(description="Other."), _function()),
    "functions[].parameters": Applied(_function(parameters={"type": "object"}), _function()),
    "functions[].strict": Applied(
        _function(strict=True, parameters={**_SCHEMA, "additionalProperties": False}),
        _function(parameters={**_SCHEMA, "additionalProperties": False}),
    ),
    "functions[].cache_control": Applied(_function(cache_control=_CACHE), _function()),
    "functions[].cache_control.type": Constant(_function(cache_control=_CACHE)),
    "functions[].cache_control.ttl": Applied(_function(cache_control=_HOUR), _function(cache_control=_CACHE)),
    "functions[].type": NotApplied(_function(type="function")),
    "function_call": Applied({**_function(), "function_call": {"name": "weather"}}, _function()),
    "function_call.name": Applied({**_function(), "function_call": {"name": "weather"}}, _function()),
    "response_format": Applied({"response_format": {"type": "json_object"}}),
    "response_format.json_schema": Applied(_format(schema=_SCHEMA)),
    "response_format.json_schema.name": Applied(_format(schema=_SCHEMA, name="other"), _format(schema=_SCHEMA)),
    "response_format.json_schema.description": Applied(
        _format(schema=_SCHEMA, description="A place."), _format(schema=_SCHEMA)
    ),
    "response_format.json_schema.schema": Applied(_format(schema=_SCHEMA), _format()),
    "response_format.json_schema.strict": Implied(_format(schema=_SCHEMA, strict=True)),
}

CHAT_FIELDS: Final[Mapping[str, Row]] = {**_TOP_LEVEL, **_MESSAGES, **_TOOLS}
"""The row of every field of a chat request, by its path."""

NOT_APPLIED: Final = {
    path: row.neutral for path, row in _TOP_LEVEL.items() if isinstance(row, NotApplied) and "." not in path
}
"""The request's own fields that change nothing, with their neutral values."""

REJECTED: Final = {path: row for path, row in _TOP_LEVEL.items() if isinstance(row, Rejected)}
"""The request's own fields that are a 400 unless their value is neutral."""
