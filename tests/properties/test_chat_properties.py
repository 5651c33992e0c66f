"""The chat translation over generated requests, bodies and answers.

Whatever comes, either a Converse body that botocore and the rules of a conversation accept, or one `ApiError`.
"""

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from extproc.bedrock.capabilities import BUILT_IN
from extproc.bedrock.converse import BadAnswerError
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_answer import answer
from extproc.translate.chat_request import ChatPlan, plan

Read = Callable[[bytes], dict[str, Any]]
CAPABILITIES = BUILT_IN.families["claude-3-7"]

# JSON of any kind

characters = st.characters(codec="utf-8") | st.sampled_from(["\u00a0", "\u2028", "\ufeff", "\U0001f600", "\x00", "`"])
words = st.text(characters, max_size=12)
blank = st.sampled_from(["", " ", "\n\t", "\u2003"])
texts = st.one_of(st.text(characters, min_size=1, max_size=12), st.sampled_from(["Hi", "Go on."]), words, blank)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**40), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
objects = st.dictionaries(texts, values, max_size=3)


def rarely(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = values) -> st.SearchStrategy[Any]:
    """`usual`, one time in about a hundred something else."""
    return st.integers(0, 99).flatmap(lambda dice: odd if dice == 31 else usual)


# Messages

images = st.sampled_from([b"\x89PNG\r\n\x1a\n.", b"GIF89a", b"\xff\xd8\xff", b"RIFF....WEBP"]).map(
    lambda content: "data:image/png;base64," + base64.b64encode(content).decode()
)
bad_images = st.sampled_from(["https://x/a.png", "data:,", "data:image/png;base64,%", "data:image/png;base64,aGk=", ""])
urls = rarely(images, bad_images | texts)
text_part = st.builds(lambda text: {"type": "text", "text": text}, texts)
image_part = st.builds(lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}, urls)
other_part = st.sampled_from(
    [{"type": "refusal", "refusal": "No."}, {"type": "file", "file": {}}, {"type": "input_audio", "input_audio": 1}]
)
plain = texts | st.lists(text_part, max_size=3)
names = rarely(st.sampled_from(["f", "g", "get_weather", "x" * 64]), st.sampled_from(["", "a.b", "x" * 65, "f\n"]))
ids = st.sampled_from(["c1", "c2", "c3", "id/1", "x" * 65, ""]) | words
arguments = rarely(objects.map(json.dumps), blank | st.sampled_from(["null", "[]", "{", '{"a":1.0}{}']) | texts)


def said(role: str, content: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"role": st.just(role), "content": content}, optional={"name": texts, **fields})


instructions = st.sampled_from(["system", "developer"]).flatmap(lambda role: said(role, plain))
users = said("user", texts | st.lists(text_part | image_part | rarely(image_part, other_part), max_size=3))
refusal_part = st.builds(lambda text: {"type": "refusal", "refusal": text}, texts)
assistants = said(
    "assistant", st.none() | plain | st.lists(text_part | refusal_part, max_size=2), refusal=st.none() | texts
)


@st.composite
def rounds(draw: st.DrawFn) -> list[Any]:
    """An assistant's tool calls and their results, in any order, now and then one too few or many."""
    asked = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    calls = [
        {"id": call_id, "type": "function", "function": {"name": draw(names), "arguments": draw(arguments)}}
        for call_id in asked
    ]
    results = [{"role": "tool", "tool_call_id": call_id, "content": draw(plain)} for call_id in asked]
    results = draw(st.permutations(results))
    results = draw(rarely(st.just(results), st.sampled_from([results[1:], [*results, results[0]]])))
    between = draw(st.lists(instructions, max_size=1))
    return [{**draw(assistants), "tool_calls": calls}, *results[:1], *between, *results[1:]]


exchanges = st.one_of(
    users.map(lambda one: [one]), assistants.map(lambda one: [one]), instructions.map(lambda one: [one])
)
conversations = st.lists(st.one_of(exchanges, exchanges, rounds()), min_size=1, max_size=6).map(
    lambda parts: [message for part in parts for message in part]
)

# Requests

recursive = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}}
schemas = rarely(
    st.one_of(
        st.sampled_from([None, {}, recursive]),
        rarely(objects.map(lambda schema: {**schema, "type": "object"}), objects),
    )
)
functions = st.fixed_dictionaries(
    {"name": names},
    optional={"description": st.none() | texts, "parameters": schemas, "strict": st.none() | st.booleans()},
)
tools = st.lists(
    rarely(
        functions.map(lambda function: {"type": "function", "function": function}),
        st.just({"type": "custom", "custom": {"name": "f"}}),
    ),
    max_size=3,
    unique_by=lambda tool: json.dumps(tool.get("function", {}).get("name")),
)
choices = st.one_of(
    st.sampled_from([None, "none", "auto", "auto"]),
    rarely(st.just("required"), names.map(lambda name: {"type": "function", "function": {"name": name}})),
    rarely(st.just("auto"), st.just({"type": "allowed_tools", "allowed_tools": {}})),
)
formats = st.one_of(
    st.sampled_from([None, {"type": "text"}, {"type": "json_object"}]),
    st.builds(
        lambda name, schema, about: {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "description": about},
        },
        names,
        schemas,
        st.none() | texts,
    ),
)
requests = st.fixed_dictionaries(
    {"model": rarely(st.just("m")), "messages": rarely(conversations)},
    optional={
        "stream": st.none() | st.booleans(),
        "stream_options": rarely(st.none(), st.just({"include_usage": True})),
        "max_tokens": st.none() | rarely(st.integers(1, 4096), st.integers()),
        "max_completion_tokens": rarely(st.none(), st.integers()),
        "temperature": st.none() | rarely(st.floats(0, 1), st.floats(allow_nan=False, allow_infinity=False)),
        "top_p": st.none() | rarely(st.floats(0, 1) | st.integers(0, 1)),
        "stop": st.none() | texts | st.lists(texts, max_size=3),
        "n": rarely(st.sampled_from([None, 1])),
        "tools": rarely(tools, st.none()),
        "tool_choice": choices,
        "response_format": formats,
        "seed": rarely(st.none() | st.integers()),
        "logit_bias": rarely(st.none() | st.dictionaries(words, st.integers(-100, 100), max_size=2)),
        "metadata": rarely(st.none() | st.dictionaries(words, words, max_size=2)),
        "reasoning_effort": rarely(st.none(), st.just("high")),
        "parallel_tool_calls": rarely(st.none() | st.booleans()),
    },
)


def outcome(body: bytes) -> ChatPlan | None:
    """The plan, or None for a refusal in good form; anything else fails the test."""
    try:
        return plan(decode_request(body), CAPABILITIES)
    except ApiError as refusal:
        check_refusal(refusal)
        return None


def check_refusal(error: ApiError) -> None:
    assert error.status == 400
    told = json.loads(error.encode())["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["message"].strip()
    assert told["type"] == "invalid_request_error"


def check_turns(request: dict[str, Any]) -> None:
    """The rules of a conversation that the service model does not know."""
    messages = request["messages"]
    assert messages[0]["role"] == "user"
    assert all(one["role"] != other["role"] for one, other in pairwise(messages))
    assert all(message["content"] for message in messages)
    blocks = [block for message in messages for block in message["content"]]
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    every_text = [*request.get("system", []), *blocks, *(part for result in results for part in result["content"])]
    assert all(block["text"].strip() for block in every_text if "text" in block)
    last = blocks[-1]
    assert messages[-1]["role"] == "user" or last["text"] == last["text"].rstrip()


def check_tools(request: dict[str, Any]) -> None:
    """Every call answered in the next turn, first thing, once; blocks only beside tools; ids never twice."""
    asked: list[str] = []
    every_id: list[str] = []
    for message in request["messages"]:
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        assert sorted(results) == sorted(asked)
        assert all("toolResult" in block for block in message["content"][: len(results)])
        asked = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        assert all(isinstance(block["toolUse"]["input"], dict) for block in message["content"] if "toolUse" in block)
        every_id += asked
    assert asked == []
    assert len(set(every_id)) == len(every_id)
    assert "toolConfig" in request or not every_id


def check_config(config: dict[str, Any]) -> None:
    offered = [tool["toolSpec"] for tool in config["tools"]]
    assert len({tool["name"] for tool in offered}) == len(offered)
    assert all(tool["inputSchema"]["json"]["type"] == "object" for tool in offered)
    choice = config.get("toolChoice", {})
    assert "tool" not in choice or choice["tool"]["name"] in [tool["name"] for tool in offered]


@given(requests)
@example({"model": "m", "messages": [{"role": "user", "content": "cut \ud83d"}]})
@example({"model": "m", "messages": [{"role": "user", "content": "\ude00 cut"}]})
def test_any_request_gives_a_valid_converse_body_or_a_400(read_converse: Read, request: dict[str, Any]) -> None:
    planned = outcome(json.dumps(request).encode())
    if planned is None:
        return
    sent = read_converse(planned.body)
    check_turns(sent)
    check_tools(sent)
    if "toolConfig" in sent:
        check_config(sent["toolConfig"])
    if request.get("tool_choice") == "none":
        assert [tool["toolSpec"]["name"] for tool in sent.get("toolConfig", {}).get("tools", [])] in (
            [],
            [planned.answer_tool],
        )


@given(st.fixed_dictionaries({"model": st.just("m"), "messages": conversations}))
def test_the_same_history_gives_the_same_beginning(read_converse: Read, request: dict[str, Any]) -> None:
    """Or every turn would miss the prompt cache."""
    tool = {"type": "function", "function": {"name": "f"}}
    longer = {**request, "messages": [*request["messages"], {"role": "user", "content": "And then?"}]}
    planned = [outcome(json.dumps({**asked, "tools": [tool]}).encode()) for asked in (request, longer)]
    if planned[0] is None or planned[1] is None:
        return
    shorter, whole = (read_converse(found.body)["messages"] for found in planned)
    assert whole[: len(shorter) - 1] == shorter[:-1]


@given(st.binary(max_size=60))
def test_any_bytes_give_a_request_or_a_400(body: bytes) -> None:
    outcome(body)


@given(
    requests.map(lambda request: json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass")), st.data()
)
def test_damaged_requests_give_a_request_or_a_400(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damage = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"null", b"1e999", b"\\ud800", b"\xff"]))
    planned = outcome(body[:at] + damage + body[at + data.draw(st.integers(0, 3)) :])
    if planned is not None:
        planned.body.decode()


# Answers

answered = st.fixed_dictionaries(
    {},
    optional={
        "text": rarely(texts),
        "toolUse": rarely(
            st.fixed_dictionaries({"toolUseId": words, "name": names}, optional={"input": rarely(objects)})
        ),
        "reasoningContent": rarely(st.just({"reasoningText": {"text": "Hm."}}) | st.just({"redactedContent": "eA=="})),
        "citationsContent": rarely(st.just({"content": [{"text": "cited"}]})),
        "p": words,
    },
)
answers = st.fixed_dictionaries(
    {
        "output": rarely(
            st.lists(answered, max_size=4).map(lambda blocks: {"message": {"role": "assistant", "content": blocks}})
        ),
        "stopReason": rarely(st.sampled_from(["end_turn", "tool_use", "max_tokens", "malformed_tool_use", "new"])),
    },
    optional={"usage": rarely(st.just({"inputTokens": 1, "outputTokens": 2, "totalTokens": 3})), "metrics": values},
)


@given(answers | values, st.sampled_from([None, "f"]))
def test_any_json_is_a_completion_or_a_bad_answer(body: Any, answer_tool: str | None) -> None:
    encoded = json.dumps(body).encode()
    try:
        found, _, reason = answer(encoded, completion_id="i", created=1, model="m", answer_tool=answer_tool)
    except (BadAnswerError, ApiError):
        return
    completion = ChatCompletion.model_validate_json(found, strict=True)
    assert completion.choices[0].finish_reason == reason
    assert reason != "tool_calls" or completion.choices[0].message.tool_calls
