"""The limits of a request, and their error responses."""

import json
import sys
from typing import Any

import pytest
from msgspec import Raw

from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai import embeddings, limits
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import plan

FUNCTION = {"name": "look"}
TOOL = {"type": "function", "function": FUNCTION}
TEXT = {"type": "text", "text": "a"}
USER = {"role": "user", "content": "a"}
CALL = {"id": "a", "type": "function", "function": FUNCTION}
THINKING = {"type": "thinking", "thinking": "a"}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **fields}).encode()


def choice(tools: list[Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}


LISTS = {
    "tools": (lambda n: {"tools": [TOOL] * n}, limits.MAX_TOOLS),
    "functions": (lambda n: {"functions": [FUNCTION] * n}, limits.MAX_TOOLS),
    "tool_choice.allowed_tools.tools": (lambda n: {"tool_choice": choice([TOOL] * n)}, limits.MAX_TOOLS),
    "messages": (lambda n: {"messages": [USER] * n}, limits.MAX_MESSAGES),
    "messages[0].content": (lambda n: {"messages": [{"role": "user", "content": [TEXT] * n}]}, limits.MAX_PARTS),
    "messages[0].tool_calls": (
        lambda n: {"messages": [{"role": "assistant", "tool_calls": [CALL] * n}]},
        limits.MAX_TOOL_CALLS,
    ),
    "messages[0].thinking_blocks": (
        lambda n: {"messages": [{"role": "assistant", "thinking_blocks": [THINKING] * n}]},
        limits.MAX_THINKING_BLOCKS,
    ),
    "stop": (lambda n: {"stop": ["a"] * n}, limits.MAX_STOP_SEQUENCES),
    "logit_bias": (lambda n: {"logit_bias": {str(at): 1 for at in range(n)}}, limits.MAX_LOGIT_BIASES),
}


@pytest.mark.parametrize("path", LISTS)
def test_a_value_over_a_limit_is_named_with_the_limit(path: str) -> None:
    fields, most = LISTS[path]
    assert decode_request(chat(**fields(most)))
    with pytest.raises(ApiError, match=f"Send at most {most:,}") as caught:
        decode_request(chat(**fields(most + 1)))
    assert (caught.value.status, caught.value.param) == (400, path)
    assert caught.value.code in ("array_above_max_length", "object_above_max_properties")


def test_token_ids_of_all_inputs_together_have_a_limit() -> None:
    for ids in ([1] * limits_of_tokens(1), [[1] * 300] * 1001):
        with pytest.raises(ApiError, match="send at most 300,000") as caught:
            embeddings.decode(json.dumps({"model": "m", "input": ids}).encode())
        assert (caught.value.param, caught.value.code) == ("input", "array_above_max_length")
    assert embeddings.decode(json.dumps({"model": "m", "input": [1] * limits_of_tokens(0)}).encode())


def limits_of_tokens(more: int) -> int:
    return embeddings.MAX_TOKENS + more


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * limits.MAX_VALUES + b"1]",
        b'["a' + b'","b' * limits.MAX_VALUES + b'"]',
        b'["\\"' + b'","\\\\' * limits.MAX_VALUES + b'"]',
        b"[" * (limits.MAX_VALUES + 1),
        b'{"a":' * (limits.MAX_VALUES + 1),
    ],
)
def test_more_json_values_than_the_limit_are_too_many(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        limits.check_values(body)
    assert (caught.value.status, caught.value.code) == (400, "request_too_complex")


@pytest.mark.parametrize(
    "text", [",[{" * limits.MAX_VALUES, '\\",' * limits.MAX_VALUES, "\\\\" * 300_001 + '\\",' * limits.MAX_VALUES]
)
def test_brackets_in_a_string_are_no_values(text: str) -> None:
    limits.check_values(b'{"a":"' + text.encode() + b'","b":[1,2]}')


def schema(**properties: Any) -> Raw:
    return Raw(json.dumps({"type": "object", "properties": properties}).encode())


def nested(depth: int) -> Any:
    return {"items": nested(depth - 1)} if depth else {"description": "a" * 5000}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (schema(a={"description": "a" * limits.MAX_SCHEMA_BYTES}), "bytes"),
        (schema(**{f"p{at}": {"type": "string"} for at in range(limits.MAX_SCHEMA_MEMBERS // 2)}), "members"),
        (schema(a=nested(limits.MAX_SCHEMA_DEPTH)), "levels"),
        (schema(a={"enum": [1, 10**limits.MAX_SCHEMA_DIGITS]}), "128 digits"),
        (schema(a={"description": 'A "quoted" \\ text', "maximum": 10**limits.MAX_SCHEMA_DIGITS}), "128 digits"),
    ],
)
def test_a_schema_over_a_limit_is_rejected_with_its_path(value: Raw, why: str) -> None:
    tool = {"type": "function", "function": {"name": "a", "parameters": json.loads(bytes(value))}}
    with pytest.raises(ApiError, match=why) as caught:
        plan(decode_request(chat(tools=[tool])), BUILT_IN.of("anthropic.claude-sonnet-4-6"))
    assert (caught.value.status, caught.value.param) == (400, "tools[0].function.parameters")


def test_a_schema_within_the_limits_is_accepted() -> None:
    limits.check_schema(schema(a=nested(limits.MAX_SCHEMA_DEPTH - 3)), "a")
    limits.check_schema(schema(**{f"p{at}": {"type": "string"} for at in range(5000)}), "a")
    limits.check_schema(schema(a={"description": '[{"' * 100_000}), "a")
    limits.check_schema(schema(a={"enum": ["[]" * 3_000, [[[]] * 3_000, {}] * 2]}), "a")
    limits.check_schema(schema(a={"const": 10 ** (limits.MAX_SCHEMA_DIGITS - 1)}), "a")


@pytest.mark.parametrize("text", ["1" * 1_000, '"' + "1" * 1_000, "\\" * 3 + "1" * 1_000, "1" * 300_000])
def test_digits_in_a_string_of_a_schema_are_no_number(text: str) -> None:
    limits.check_schema(schema(a={"pattern": text}, **{text: {"maximum": 10}}), "a")


def test_the_depth_of_a_schema_takes_no_step_for_each_bracket() -> None:
    """Each level is one step, however many brackets it has."""
    wide, deep = schema(a={"enum": [[[]] * 50_000]}), schema(a=nested(limits.MAX_SCHEMA_DEPTH - 3))
    assert calls(wide) <= calls(deep)


def calls(text: Raw) -> int:
    """Return how many functions are called to check a schema."""
    called = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal called
        called += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        limits.check_schema(text, "a")
    finally:
        sys.setprofile(None)
    return called


def test_long_numbers_where_nothing_reads_them_are_not_decoded() -> None:
    request = decode_request(chat(prediction={"x": "HERE"}).replace(b'"HERE"', b"9" * 100_000))
    assert request.prediction
    assert bytes(request.prediction["x"]) == b"9" * 100_000


def test_the_objects_that_one_call_may_hold_have_a_limit() -> None:
    def request(count: int) -> bytes:
        call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}" * count}}
        result = {"role": "tool", "tool_call_id": "a", "content": "b"}
        return chat(messages=[{"role": "assistant", "tool_calls": [call]}, result], tools=[TOOL])

    capabilities = BUILT_IN.of("anthropic.claude-sonnet-4-6")
    assert plan(decode_request(request(limits.MAX_TOOL_CALLS)), capabilities)
    with pytest.raises(ApiError, match="1,024") as caught:
        plan(decode_request(request(limits.MAX_TOOL_CALLS + 1)), capabilities)
    assert caught.value.param == "messages[0].tool_calls[0].function.arguments"


def conversation(*values: int, result: int = 0) -> bytes:
    """Calls whose arguments hold so many JSON values each, and results whose texts do."""
    texts = [json.dumps({"a": [0] * (count - 2)}) for count in (*values, result or 2)]
    calls = [
        {"id": str(at), "type": "function", "function": {"name": "look", "arguments": text}}
        for at, text in enumerate(texts[:-1])
    ]
    results = [{"role": "tool", "tool_call_id": str(at), "content": texts[-1]} for at in range(len(calls))]
    return chat(messages=[{"role": "assistant", "tool_calls": calls}, *results], tools=[TOOL])


def test_the_values_inside_of_texts_that_are_decoded_have_a_limit_in_all() -> None:
    """In a string of the request they are not counted before: one with 30 MB of brackets took gigabytes."""
    with_tools = [family for family in BUILT_IN.families.values() if family.tools]
    text, by_json = [next(each for each in with_tools if each.tool_result_format == form) for form in ("text", "json")]
    half = limits.MAX_VALUES // 2
    assert plan(decode_request(conversation(half, half)), text)
    assert plan(decode_request(conversation(2, 2, result=limits.MAX_VALUES)), text), "it is sent as it is"
    for request, capabilities in (
        (conversation(2 * half + 1), text),
        (conversation(half, half + 1), text),
        (conversation(2, 2, result=half + 1), by_json),
    ):
        with pytest.raises(ApiError, match="500,000 JSON values") as caught:
            plan(decode_request(request), capabilities)
        assert (caught.value.status, caught.value.code) == (400, "request_too_complex")
