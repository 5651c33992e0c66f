"""A conversation is the same Converse request, whether it is sent to chat completions or to Responses."""

import base64
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.exchange import chat_endpoint, responses_endpoint
from extproc.exchange.endpoint import AskContext, DecodedRequest
from extproc.openai.errors import ApiError
from extproc.payload import segments
from extproc.translate.sealed_reasoning import ReasoningSeal

Data = dict[str, Any]

MODELS = (
    "anthropic.claude-sonnet-4-6",
    "amazon.nova-micro-v1:0",
    "meta.llama3-3-70b-instruct-v1:0",
    "mistral.mistral-large-2407-v1:0",
)
KEYS = (b"k" * 32,)
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n.").decode()
SCHEMA = {"type": "object", "properties": {"a b": {"type": "string"}}, "required": ["a b"]}

texts = st.sampled_from(["Hello", "a\n\U0001f600", " ", "x" * 100])
names = st.sampled_from(["look", "files/read.txt", "sh"])

parts = st.one_of(texts.map(lambda text: ("text", text)), st.just(("image", PNG)))
users = st.one_of(texts, st.lists(parts, min_size=1, max_size=3)).map(lambda content: ("user", content))
instructions = st.tuples(st.sampled_from(["system", "developer"]), texts)
calls = st.tuples(
    names, st.sampled_from(["{}", '{"a b":"c"}', "{", ""]), texts, st.sampled_from(["function", "custom"])
)
thoughts = st.lists(st.sampled_from(["Hm.", "Oh."]), max_size=2)
assistants = st.tuples(st.just("assistant"), st.none() | texts, thoughts, st.lists(calls, max_size=3)).filter(
    lambda turn: turn[1] is not None or turn[3]
)
conversations = st.lists(st.one_of(users, instructions, assistants), max_size=5).map(
    lambda turns: [("user", "Begin"), *turns]
)
options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5]),
        "top_p": st.just(0.5),
        "stream": st.booleans(),
        "user": st.just("u"),
        "metadata": st.just({"team": "blue"}),
        "service_tier": st.sampled_from(["auto", "priority"]),
        "parallel_tool_calls": st.booleans(),
    },
)
choices = st.sampled_from(["none", "auto", "required", ("function", "look"), ("custom", "sh"), ("some", "look")])
formats = st.sampled_from([None, "json_object", "json_schema"])
efforts = st.sampled_from([None, "none", "low", "high"])


def chat_messages(conversation: list[Any]) -> list[Data]:
    messages: list[Data] = []
    number = 0
    for turn in conversation:
        match turn:
            case ("assistant", text, thinking, called):
                message: Data = {"role": "assistant", "content": text}
                if thinking:
                    message["thinking_blocks"] = [thinking_block(thought) for thought in thinking]
                results = []
                for name, arguments, result, kind in called:
                    number += 1
                    body = {"function": {"name": name, "arguments": arguments}}
                    if kind == "custom":
                        body = {"custom": {"name": name, "input": arguments}}
                    message.setdefault("tool_calls", []).append({"id": f"c{number}", "type": kind, **body})
                    results.append({"role": "tool", "tool_call_id": f"c{number}", "content": result})
                messages += [message, *results]
            case (role, content):
                messages.append({"role": role, "content": chat_content(content)})
    return messages


def thinking_block(thought: str) -> Data:
    return {"type": "thinking", "thinking": thought, "signature": "c2ln"}


def chat_content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": value} if kind == "text" else {"type": "image_url", "image_url": {"url": value}}
        for kind, value in content
    ]


def items(conversation: list[Any], model: str) -> list[Data]:
    found: list[Data] = []
    number = 0
    for turn in conversation:
        match turn:
            case ("assistant", text, thinking, called):
                for thought in thinking:
                    sealed = ReasoningSeal(KEYS).seal(thinking_block(thought), model)
                    found.append({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": sealed})
                if text is not None:
                    content = [{"type": "output_text", "text": text, "annotations": []}]
                    found.append({"type": "message", "id": "msg", "role": "assistant", "content": content})
                results = []
                for name, arguments, result, kind in called:
                    number += 1
                    body = {"arguments": arguments} if kind == "function" else {"input": arguments}
                    call = "function_call" if kind == "function" else "custom_tool_call"
                    found.append({"type": call, "call_id": f"c{number}", "name": name, "status": "completed", **body})
                    results.append({"type": f"{call}_output", "call_id": f"c{number}", "output": result})
                found += results
            case (role, content):
                found.append({"role": role, "content": item_content(content)})
    return found


def item_content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [
        {"type": "input_text", "text": value} if kind == "text" else {"type": "input_image", "image_url": value}
        for kind, value in content
    ]


def chat_tools() -> list[Data]:
    return [
        {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "files/read.txt", "parameters": SCHEMA, "strict": False}},
        {"type": "custom", "custom": {"name": "sh", "description": "A shell."}},
    ]


def responses_tools() -> list[Data]:
    return [{"type": tool["type"], **tool[tool["type"]]} for tool in chat_tools()]


def chat_choice(choice: Any) -> Any:
    match choice:
        case ("some", name):
            tools = [{"type": "function", "function": {"name": name}}]
            return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}
        case (kind, name):
            return {"type": kind, kind: {"name": name}}
    return choice


def responses_choice(choice: Any) -> Any:
    match choice:
        case ("some", name):
            return {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": name}]}
        case (kind, name):
            return {"type": kind, "name": name}
    return choice


def outcome(decode: Callable[[bytes], DecodedRequest], body: Data, model: str) -> Any:
    """Return the path and the body of the call, and how many fields were ignored; or the error."""
    try:
        context = AskContext({}, lambda _: "", KEYS)
        translated = decode(json.dumps(body).encode()).ask(Target(model, model), BUILT_IN.of(model), context)
    except ApiError as error:
        return error.status, error.code
    [call] = translated.calls
    return call.path, json.loads(b"".join(map(bytes, segments(call.body)))), len(translated.pending.ignored)


@given(
    st.sampled_from(MODELS),
    conversations,
    options,
    st.booleans(),
    choices,
    formats,
    efforts,
    st.none() | st.integers(1, 100),
)
def test_a_conversation_is_the_same_request_by_chat_and_by_responses(
    model: str,
    conversation: list[Any],
    fields: Data,
    tools: bool,
    choice: Any,
    form: str | None,
    effort: str | None,
    most: int | None,
) -> None:
    chat: Data = {"model": model, "messages": chat_messages(conversation), **fields}
    other: Data = {"model": model, "input": items(conversation, model), **fields}
    if tools:
        chat |= {"tools": chat_tools(), "tool_choice": chat_choice(choice)}
        other |= {"tools": responses_tools(), "tool_choice": responses_choice(choice)}
    else:
        chat.pop("parallel_tool_calls", None)
    if form == "json_object":
        chat["response_format"], other["text"] = {"type": form}, {"format": {"type": form}}
    if form == "json_schema":
        chat["response_format"] = {"type": form, "json_schema": {"name": "s", "schema": SCHEMA}}
        other["text"] = {"format": {"type": form, "name": "s", "schema": SCHEMA}}
    if effort is not None:
        chat["reasoning_effort"], other["reasoning"] = effort, {"effort": effort}
    if most is not None:
        chat["max_completion_tokens"], other["max_output_tokens"] = most, most
    expected = outcome(chat_endpoint.decode, chat, model)
    assert outcome(responses_endpoint.decode, other, model) == expected
