"""The calls of a row, whole or streamed, and their completion as the openai package reads it."""

import json
from collections.abc import Mapping
from typing import Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.bedrock.capability_table import BUILT_IN
from tests.envoy.gateway.fidelity.row import Row, result, user

STREAM_ONLY = "stream_options"
BESIDE = ("service_tier", "trace")
"""Members of chunks that the package does not put together."""
FORCING = ("tool_choice", "function_call", "max_tokens")
"""Fields that would keep a conversation from its end."""

Answer = tuple[dict[str, Any], set[str]]
"""A completion, and the fields that its response names as ignored."""


def ask(client: Any, row: Row, fields: Mapping[str, Any], *, stream: bool) -> Answer:
    """Return the completion of a row's request with these fields."""
    return _streamed(client, row, fields) if stream else _whole(client, row, fields)


def _whole(client: Any, row: Row, fields: Mapping[str, Any]) -> Answer:
    response = client.chat(row.prompt, model=row.model, token=row.token, **_without(fields, STREAM_ONLY))
    if response.status != 200:
        raise AssertionError(f"{response.status}: {response.body.decode()}")
    completion = response.json()
    ChatCompletion.model_validate(completion)
    return completion, named(response.headers)


def _streamed(client: Any, row: Row, fields: Mapping[str, Any]) -> Answer:
    """Return what the openai package puts together of the chunks."""
    options = {"include_usage": True, **fields.get(STREAM_ONLY, {})}
    state, beside = ChatCompletionStreamState(), dict[str, Any]()
    with client.stream(row.prompt, model=row.model, token=row.token, **{**fields, STREAM_ONLY: options}) as events:
        *data, last = events.rest()
        if last != "[DONE]":
            raise AssertionError(last)
        for chunk in map(json.loads, data):
            state.handle_chunk(_chunk(chunk))
            beside |= {name: chunk[name] for name in BESIDE if name in chunk}
        completion = state.current_completion_snapshot.model_dump(mode="json", exclude_none=True)
        return {**completion, **beside}, named(events.headers)


def _chunk(chunk: Any) -> ChatCompletionChunk:
    """Read a chunk; the package has no type for a custom tool's call in one."""
    if '"custom"' in json.dumps(chunk):
        return ChatCompletionChunk.construct(**chunk)
    return ChatCompletionChunk.model_validate(chunk)


def rejected(client: Any, row: Row, *, stream: bool) -> Any:
    """Return the error response to a row's request."""
    fields = row.fields if stream else _without(row.fields, STREAM_ONLY)
    return client.chat(row.prompt, model=row.model, token=row.token, **fields, **({"stream": True} if stream else {}))


def named(headers: Mapping[str, str]) -> set[str]:
    """Return the fields that a response names as ignored."""
    return set(filter(None, headers.get("x-oai-ignored-params", "").split(", ")))


def expected(row: Row, *, stream: bool, before: Mapping[str, Any] | None = None) -> set[str]:
    """Return the fields that a response to a row must name; `before` is the completion that it has in its history."""
    fields = {*row.ignored}
    if before is not None:
        fields |= {*row.again}
        if BUILT_IN.of(row.model).reasoning_history == "none" and "thinking_blocks" in message_of(before):
            fields.add("messages[].thinking_blocks")
    return fields if stream else {field for field in fields if not field.startswith(STREAM_ONLY)}


def history(row: Row, completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of the next request: the response as it came, then its calls' results or another text."""
    message = message_of(completion)
    results = [result(identifier=call["id"]) for call in message.get("tool_calls", ())]
    if "function_call" in message:
        results = [{"role": "function", "name": message["function_call"]["name"], "content": "18 degrees"}]
    before = row.fields.get("messages") or [user(row.prompt)]
    return [*before, message, *(results or [user("Thanks!")])]


def continued(row: Row, completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the request that follows a completion."""
    return {**_without(row.fields, *FORCING), "messages": history(row, completion)}


def message_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message without what is empty, and without what only the openai package adds."""
    message = {key: value for key, value in completion["choices"][0]["message"].items() if value not in (None, "", [])}
    if "tool_calls" in message:
        message["tool_calls"] = [
            {key: call[key] for key in ("id", "type", call["type"])} for call in message["tool_calls"]
        ]
        for call in message["tool_calls"]:
            call[call["type"]].pop("parsed_arguments", None)
    return message


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    kind = call["type"]
    return {**{key: call[key] for key in ("id", "type")}, kind: _without(call[kind], "parsed_arguments")}


def view(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return a completion with its first choice's members, its `calls`, and its content as `json`, on top."""
    choice, message = completion["choices"][0], message_of(completion)
    calls = [call[call["type"]] for call in message.get("tool_calls", ())]
    return {
        **completion,
        **choice,
        "message": message,
        "calls": [{"name": call["name"], "arguments": _parsed(call.get("arguments", ""))} for call in calls],
        "json": _parsed(message.get("content", "")),
    }


def meaning(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a completion says: JSON in it is parsed, since white space differs between streams and responses."""
    seen = view(completion)
    message = {**seen["message"], **({"content": seen["json"]} if seen["json"] is not None else {})}
    identifiers = [(call["id"], call["type"]) for call in message.pop("tool_calls", ())]
    legacy = message.pop("function_call", {"name": None, "arguments": ""})
    called = {"name": legacy["name"], "arguments": _parsed(legacy["arguments"])}
    others = {key: seen.get(key) for key in ("model", "finish_reason", "usage", "calls", *BESIDE)}
    return {"message": message, "ids": identifiers, "function_call": called, **others}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
