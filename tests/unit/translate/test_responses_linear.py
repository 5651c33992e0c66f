"""A Responses request of twice the size takes about twice as long, whatever its items and tools are."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bench.bodies import Shape
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.exchange.endpoint import AskContext
from extproc.exchange.responses_endpoint import decode
from extproc.openai.errors import ApiError
from extproc.openai.limits import MAX_MESSAGES
from extproc.translate.sealed_reasoning import ReasoningSeal
from tests.unit.translate.test_linear import GROWTH, growth, without_garbage_collection

__all__ = ["without_garbage_collection"]

MODEL = "anthropic.claude-sonnet-4-6"
KEYS = (b"k" * 32,)
USER = {"role": "user", "content": "Hello"}
TEXT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]}
SEALED = ReasoningSeal(KEYS).seal({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, MODEL)
REASONING = {"type": "reasoning", "summary": [], "encrypted_content": SEALED}


def call(number: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}", "namespace": "n"}


def output(number: int) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"c{number}", "output": "x"}


def shape(write: Callable[[int], list[dict[str, Any]]], items: int = 1) -> Shape:
    """Return a shape of which so many `items` are written for each that is counted."""

    def body(count: int) -> bytes:
        return json.dumps({"model": MODEL, "input": [USER, *write(count), USER]}).encode()

    return Shape(body, MAX_MESSAGES // items - 4)


ITEMS = {
    "messages": shape(lambda n: [USER, TEXT] * n, 2),
    "texts after a call": shape(lambda n: [call(0), *[TEXT] * n, output(0)]),
    "messages before a result": shape(lambda n: [call(0), *[USER] * n, output(0)]),
    "calls of one turn": shape(lambda n: [*map(call, range(n)), *map(output, range(n))], 2),
    "calls and results": shape(lambda n: [item for at in range(n) for item in (call(at), output(at))], 2),
    "reasoning": shape(lambda n: [REASONING, TEXT] * n, 2),
    "reasoning of one message": shape(lambda n: [*[REASONING] * n, TEXT]),
    "outputs of no call": shape(lambda n: [{"type": "function_call_output", "output": "x"}] * n),
    "unknown types": shape(lambda n: [{"type": f"type_{at}"} for at in range(n)]),
    "unknown members": shape(lambda n: [{**USER, f"member_{at}": 1} for at in range(n)]),
}


def renamed(count: int) -> bytes:
    """Write as many calls as their tool has properties whose names do not fit."""
    properties = {f"p {at}": 0 for at in range(count)}
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": properties}}
    calls = [item for at in range(count) for item in ({**call(at), "namespace": None}, output(at))]
    return json.dumps({"model": MODEL, "input": [USER, *calls, USER], "tools": [tool]}).encode()


ITEMS["calls with renamed properties"] = Shape(renamed, 9_900)


def translate(body: bytes) -> str:
    try:
        decode(body).ask(Target(MODEL, MODEL), BUILT_IN.of(MODEL), AskContext({}, lambda _: "", KEYS))
    except ApiError as error:
        return str(error.code)
    return "accepted"


@pytest.mark.parametrize("name", ITEMS)
def test_a_responses_request_takes_time_in_proportion_to_its_size(name: str) -> None:
    assert growth(translate, ITEMS[name], 200_000) <= GROWTH
