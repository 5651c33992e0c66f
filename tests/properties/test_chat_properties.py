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

from extproc.bedrock.capabilities import BUILT_IN, Capabilities
from extproc.bedrock.converse import BadAnswerError
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_answer import answer
from extproc.translate.chat_request import ChatPlan, plan
from extproc.translate.shape import Shape

Read = Callable[[bytes], dict[str, Any]]
families = st.sampled_from(sorted(BUILT_IN.families)).map(lambda name: BUILT_IN.families[name])
FETCHED = {"https://x/fetched.png": b"\x89PNG\r\n\x1a\n.", "http://x/b.gif": b"GIF89a"}

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
remote_images = rarely(st.sampled_from(sorted(FETCHED)), st.just("s3://bucket/a.png"))
bad_images = st.sampled_from(["https://x/a.png", "data:,", "data:image/png;base64,%", "data:image/png;base64,aGk=", ""])
urls = rarely(images | remote_images, bad_images | texts)
marks = st.sampled_from(
    [
        *[{}] * 4,
        {"cache_control": {"type": "ephemeral"}},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        {"cache_control": None},
    ]
)


def part(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A content part, now and then marked for the prompt cache."""
    return st.builds(lambda mark, found: {"type": kind, **found, **mark}, marks, st.fixed_dictionaries(fields))


text_part = part("text", text=texts)
image_part = part("image_url", image_url=urls.map(lambda url: {"url": url, "detail": "auto"}))
files = st.fixed_dictionaries(
    {
        "file_data": rarely(
            st.sampled_from(["JVBERi0xLjc=", "data:text/plain;base64,aGk=", "data:;base64,JVBERi0xLjc="]),
            texts | st.sampled_from(["s3://bucket/a.pdf", "YSxi"]),
        )
    },
    optional={"filename": st.sampled_from(["a.pdf", "b.csv", "c", None]), "file_id": rarely(st.none(), texts)},
)
file_part = part("file", file=files)
sound_part = part(
    "input_audio",
    input_audio=st.fixed_dictionaries(
        {"data": rarely(st.just("aGk="), texts), "format": st.sampled_from(["wav", "mp3"])}
    ),
)
video_part = part(
    "video_url",
    video_url=st.sampled_from(["data:video/mp4;base64,aGk=", "data:,", "s3://bucket/a.mov"]).map(
        lambda url: {"url": url}
    ),
)
media_part = image_part | file_part | sound_part | video_part
other_part = st.sampled_from([{"type": "refusal", "refusal": "No."}, {"type": "file", "file": {}}, {"type": "other"}])
plain = texts | st.lists(text_part, max_size=3)
names = rarely(
    st.sampled_from(["f", "g", "get_weather", "x" * 64, "mcp.a/b", "x" * 65, "f\n"]),
    st.sampled_from(["", "x" * 513]),
)
ids = st.sampled_from(["c1", "c2", "c3", "id/1", "x" * 65, ""]) | words
arguments = rarely(objects.map(json.dumps), blank | st.sampled_from(["null", "[]", "{", '{"a":1.0}{}']) | texts)


def said(role: str, content: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    message = st.fixed_dictionaries({"role": st.just(role), "content": content}, optional={"name": texts, **fields})
    return st.builds(lambda found, mark: {**found, **mark}, message, marks)


instructions = st.sampled_from(["system", "developer"]).flatmap(lambda role: said(role, plain))
users = said("user", texts | st.lists(text_part | text_part | rarely(media_part, other_part), max_size=3))
refusal_part = st.builds(lambda text: {"type": "refusal", "refusal": text}, texts)
thoughts = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("thinking"), "thinking": texts}, optional={"signature": st.none() | st.just("sig") | blank}
    )
    | st.builds(lambda data: {"type": "redacted_thinking", "data": data}, rarely(st.just("eHk="), texts)),
    max_size=2,
)
assistants = said(
    "assistant",
    st.none() | plain | st.lists(text_part | refusal_part, max_size=2),
    refusal=st.none() | texts,
    thinking_blocks=st.none() | thoughts,
    reasoning_content=st.none() | texts,
)


asked_for = st.builds(
    lambda name, given: {"type": "function", "function": {"name": name, "arguments": given}}, names, arguments
) | st.builds(lambda name, given: {"type": "custom", "custom": {"name": name, "input": given}}, names, texts)


@st.composite
def legacy_rounds(draw: st.DrawFn) -> list[Any]:
    """A call and a result in the shape from before tools, or one without the other."""
    name = draw(names)
    asked = {**draw(assistants), "function_call": {"name": name, "arguments": draw(arguments)}}
    result = {"role": "function", "name": draw(rarely(st.just(name), names)), "content": draw(st.none() | texts)}
    return draw(rarely(st.just([asked, result]), st.sampled_from([[asked], [result]])))


in_results = rarely(plain | st.lists(text_part | image_part, max_size=2), st.lists(text_part | file_part, max_size=2))


@st.composite
def rounds(draw: st.DrawFn, given: st.SearchStrategy[Any] = in_results) -> list[Any]:
    """An assistant's tool calls and their results, in any order, now and then one too few or many."""
    asked = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    calls = [{"id": call_id, **draw(asked_for)} for call_id in asked]
    results = [{"role": "tool", "tool_call_id": call_id, "content": draw(given), **draw(marks)} for call_id in asked]
    results = draw(st.permutations(results))
    results = draw(rarely(st.just(results), st.sampled_from([results[1:], [*results, results[0]]])))
    between = draw(st.lists(instructions, max_size=1))
    return [{**draw(assistants), "tool_calls": calls}, *results[:1], *between, *results[1:]]


exchanges = st.one_of(
    users.map(lambda one: [one]), assistants.map(lambda one: [one]), instructions.map(lambda one: [one])
)
conversations = st.lists(st.one_of(exchanges, exchanges, rounds(), legacy_rounds()), min_size=1, max_size=6).map(
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
        st.just({"type": "custom", "custom": {"name": "shell"}}),
    ),
    max_size=3,
    unique_by=lambda tool: json.dumps(tool.get("function", {}).get("name")),
)
choices = st.one_of(
    st.sampled_from([None, "none", "auto", "auto"]),
    rarely(st.just("required"), names.map(lambda name: {"type": "function", "function": {"name": name}})),
    rarely(
        st.just("auto"),
        st.builds(
            lambda mode, name: {
                "type": "allowed_tools",
                "allowed_tools": {"mode": mode, "tools": [{"type": "function", "function": {"name": name}}]},
            },
            st.sampled_from(["auto", "required"]),
            names,
        ),
    ),
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
        "functions": rarely(st.none(), st.lists(functions, max_size=2)),
        "response_format": formats,
        "seed": rarely(st.none() | st.integers()),
        "logit_bias": rarely(st.none() | st.dictionaries(words, st.integers(-100, 100), max_size=2)),
        "metadata": rarely(st.none() | st.dictionaries(words, words, max_size=2)),
        "reasoning_effort": rarely(st.none(), st.just("high")),
        "parallel_tool_calls": rarely(st.none() | st.booleans()),
    },
)


def outcome(body: bytes, takes: Capabilities) -> ChatPlan | None:
    """The plan, or None for a refusal in good form; anything else fails the test."""
    try:
        return plan(decode_request(body), takes, FETCHED)
    except ApiError as refusal:
        check_refusal(refusal)
        return None


def check_refusal(error: ApiError) -> None:
    assert error.status == 400
    told = json.loads(error.encode())["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["message"].strip()
    assert told["type"] == "invalid_request_error"


def check_turns(request: dict[str, Any], takes: Capabilities) -> None:
    """The rules of a conversation that the service model does not know."""
    messages = request["messages"]
    assert messages[0]["role"] == "user" or takes.opens_with_assistant
    assert all(one["role"] != other["role"] for one, other in pairwise(messages))
    assert all(message["content"] for message in messages)
    assert takes.system or "system" not in request
    blocks = [block for message in messages for block in message["content"]]
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    every_text = [*request.get("system", []), *blocks, *(part for result in results for part in result["content"])]
    assert all(block["text"].strip() for block in every_text if "text" in block)
    last = blocks[-1]
    if messages[-1]["role"] == "assistant":
        assert takes.prefill
        assert "toolConfig" not in request
        assert "text" not in last or last["text"] == last["text"].rstrip()


def check_blocks(request: dict[str, Any], takes: Capabilities) -> None:
    """Media, and what stands beside them and beside results, by what the model takes."""
    taken = {"image": takes.images, "document": takes.documents, "video": takes.video, "audio": takes.audio}
    names: list[str] = []
    for message in request["messages"]:
        kinds = [next(iter(block)) for block in message["content"]]
        inside = [part for block in message["content"] for part in block.get("toolResult", {}).get("content", [])]
        assert all(taken.get(kind, True) for kind in kinds)
        assert "toolResult" not in kinds or set(kinds) <= {"toolResult", "cachePoint", *takes.beside_tool_results}
        assert takes.tool_result_images or not any("image" in part for part in inside)
        assert takes.tool_result_format == "json" or not any("json" in part for part in inside)
        for part in inside:
            assert part.get("document", {}).get("format") in (None, *takes.tool_result_documents)
        assert "document" not in kinds or "text" in kinds
        names += [part["document"]["name"] for part in (*message["content"], *inside) if "document" in part]
    assert len(set(names)) == len(names)
    assert "s3Location" not in str(request["messages"]) or takes.s3_sources


def check_reasoning(request: dict[str, Any], takes: Capabilities) -> None:
    """Only what the model takes back, before what it said in that message."""
    for message in request["messages"]:
        for block in message["content"]:
            thought = block.get("reasoningContent", {})
            signed = thought.get("reasoningText", {}).get("signature")
            kind = "signed" if signed else "unsigned" if "reasoningText" in thought else "redacted"
            assert (
                not thought
                or kind == takes.reasoning_history
                or (kind, takes.reasoning_history) == ("redacted", "signed")
            )
        assert "reasoningContent" not in message["content"][-1]


def check_cache(request: dict[str, Any], takes: Capabilities) -> None:
    """Cache points only where there may be some, not too many, never first, nor behind a document."""
    tools = request.get("toolConfig", {}).get("tools", [])
    places = {
        "system": [request.get("system", [])],
        "tools": [tools],
        "messages": [m["content"] for m in request["messages"]],
    }
    points = 0
    for place, lists in places.items():
        for blocks in lists:
            found = [at for at, block in enumerate(blocks) if "cachePoint" in block]
            points += len(found)
            assert not found or place in takes.cache
            assert all(at and not {"document", "video", "audio", "cachePoint"} & set(blocks[at - 1]) for at in found)
            assert all(blocks[at]["cachePoint"].get("ttl") in (None, *takes.cache_ttls) for at in found)
    assert points <= takes.cache_points


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


def check_conversation(request: dict[str, Any], takes: Capabilities) -> None:
    check_turns(request, takes)
    check_tools(request)
    check_blocks(request, takes)
    check_reasoning(request, takes)
    check_cache(request, takes)


def check_config(config: dict[str, Any]) -> None:
    offered = [tool["toolSpec"] for tool in config["tools"]]
    assert len({tool["name"] for tool in offered}) == len(offered)
    assert all(tool["inputSchema"]["json"]["type"] == "object" for tool in offered)
    choice = config.get("toolChoice", {})
    assert "tool" not in choice or choice["tool"]["name"] in [tool["name"] for tool in offered]


@given(requests, families)
@example({"model": "m", "messages": [{"role": "user", "content": "cut \ud83d"}]}, BUILT_IN.of(None))
@example({"model": "m", "messages": [{"role": "user", "content": "\ude00 cut"}]}, BUILT_IN.of(None))
def test_any_request_gives_a_valid_converse_body_or_a_400(
    read_converse: Read, request: dict[str, Any], takes: Capabilities
) -> None:
    planned = outcome(json.dumps(request).encode(), takes)
    if planned is None:
        return
    sent = read_converse(planned.body)
    check_conversation(sent, takes)
    if "toolConfig" in sent:
        check_config(sent["toolConfig"])
    if request.get("tool_choice") == "none":
        assert [tool["toolSpec"]["name"] for tool in sent.get("toolConfig", {}).get("tools", [])] in (
            [],
            [planned.shape.answer_tool],
        )


@given(st.sampled_from([name for name in sorted(BUILT_IN.families) if BUILT_IN.families[name].tools]), st.data())
def test_any_conversation_becomes_one_as_the_model_takes_it(
    read_converse: Read, family: str, data: st.DataObject
) -> None:
    """The same, with all the media that there are for the model, in messages and in tool results."""
    takes = BUILT_IN.families[family]
    seen = [image_part] * takes.images + [file_part] * bool(takes.documents) + [video_part] * bool(takes.video)
    shown = st.lists(st.one_of(text_part, *seen, *[sound_part] * bool(takes.audio)), min_size=1, max_size=3)
    inside = st.lists(st.one_of(text_part, *seen[: takes.images + bool(takes.documents)]), max_size=3)
    messages: list[Any] = []
    for _ in range(data.draw(st.integers(1, 4))):
        messages += data.draw(said("user", shown).map(lambda one: [one]) | exchanges | rounds(inside) | legacy_rounds())
    offered = data.draw(st.sampled_from([[], [{"type": "function", "function": {"name": "f"}}]]))
    planned = outcome(json.dumps({"model": "m", "messages": messages, "tools": offered}).encode(), takes)
    if planned is not None:
        check_conversation(read_converse(planned.body), takes)


@given(st.fixed_dictionaries({"model": st.just("m"), "messages": conversations}), families)
def test_the_same_history_gives_the_same_beginning(
    read_converse: Read, request: dict[str, Any], takes: Capabilities
) -> None:
    """Or every turn would miss the prompt cache."""
    tool = {"type": "function", "function": {"name": "f"}}
    longer = {**request, "messages": [*request["messages"], {"role": "user", "content": "And then?"}]}
    planned = [outcome(json.dumps({**asked, "tools": [tool]}).encode(), takes) for asked in (request, longer)]
    if planned[0] is None or planned[1] is None:
        return
    shorter, whole = (without_points(read_converse(found.body)["messages"]) for found in planned)
    assert whole[: len(shorter) - 1] == shorter[:-1]


def without_points(messages: list[Any]) -> list[Any]:
    """What is cached: the points themselves move on, of too many the oldest go."""
    return [[block for block in message["content"] if "cachePoint" not in block] for message in messages]


@given(st.binary(max_size=60))
def test_any_bytes_give_a_request_or_a_400(body: bytes) -> None:
    outcome(body, BUILT_IN.of(None))


@given(
    requests.map(lambda request: json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    families,
    st.data(),
)
def test_damaged_requests_give_a_request_or_a_400(body: bytes, takes: Capabilities, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damage = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"null", b"1e999", b"\\ud800", b"\xff"]))
    planned = outcome(body[:at] + damage + body[at + data.draw(st.integers(0, 3)) :], takes)
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
        found = answer(encoded, completion_id="i", created=1, model="m", shape=Shape(answer_tool=answer_tool))
    except (BadAnswerError, ApiError):
        return
    completion = ChatCompletion.model_validate_json(found.body, strict=True)
    assert completion.choices[0].finish_reason == found.finish
    assert found.finish != "tool_calls" or completion.choices[0].message.tool_calls
