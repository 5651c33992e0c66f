"""The chat translation over generated requests, bodies and responses.

Whatever comes, either a Converse body that botocore and the rules of a conversation accept, or one `ApiError`.
"""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bedrock_local import models, rules, shapes
from bedrock_local.conversation import Conversation
from bedrock_local.errors import AwsError
from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.chat_request import ChatPlan, plan
from tests.properties.chat_strategies import (
    FETCHED,
    beside_messages,
    conversations,
    exchanges,
    file_part,
    image_part,
    legacy_rounds,
    message_of,
    part,
    requests,
    rounds,
    sound_part,
    text_part,
    texts,
    values,
    video_part,
    words,
)

Read = Callable[[bytes], dict[str, Any]]
Check = Callable[[dict[str, Any], Capabilities], None]
families = st.sampled_from(sorted(BUILT_IN.families)).map(lambda name: BUILT_IN.families[name])
MODELS = {
    BUILT_IN.of(model.id).family: model
    for model in models.load()[0].values()
    if model.family and model.family.converse and model.id.count(":") < 2
}
"""One of each family that converses in the local Bedrock, which has a table and rules of its own."""
TOLERATED = ("`thinking` block", "`redacted_thinking` block", "JSON schema is invalid", "exceeds the model limit")
"""Byte-for-byte signatures and schemas, and limits of single models: Bedrock's 400 reaches the client."""


def outcome(body: bytes, takes: Capabilities) -> ChatPlan | None:
    """Return the plan, or None for a well-formed error; anything else fails the test."""
    try:
        return plan(decode_request(body), takes, FETCHED)
    except ApiError as rejection:
        check_error(rejection)
        return None


def check_error(error: ApiError) -> None:
    assert error.status == 400
    error_object = json.loads(error.encode())["error"]
    assert set(error_object) == {"message", "type", "param", "code"}
    assert error_object["message"].strip()
    assert error_object["type"] == "invalid_request_error"


def check_taken(planned: ChatPlan, takes: Capabilities) -> None:
    """Check that the local Bedrock accepts the request, apart from faults that only it can know."""
    model: Any = MODELS.get(takes.family)
    if model is None:
        return
    sent = shapes.check(
        "ConverseStream" if planned.stream else "Converse", shapes.read_json(planned.body), modelId=model.id
    )
    try:
        rules.check(Conversation(sent, model, model.family, streaming=planned.stream))
    except AwsError as rejection:
        if not any(error_object in rejection.message for error_object in TOLERATED):
            raise


def check_config(config: dict[str, Any]) -> None:
    tools = [tool["toolSpec"] for tool in config["tools"]]
    assert len({tool["name"] for tool in tools}) == len(tools)
    assert all(tool["inputSchema"]["json"]["type"] == "object" for tool in tools)
    choice = config.get("toolChoice", {})
    assert "tool" not in choice or choice["tool"]["name"] in [tool["name"] for tool in tools]


@given(requests, families)
@example({"model": "m", "messages": [{"role": "user", "content": "cut \ud83d"}]}, BUILT_IN.of(None))
@example({"model": "m", "messages": [{"role": "user", "content": "\ude00 cut"}]}, BUILT_IN.of(None))
def test_any_request_becomes_a_valid_converse_body_or_a_400(
    read_converse: Read, check_conversation: Check, request: dict[str, Any], takes: Capabilities
) -> None:
    planned = outcome(json.dumps(request).encode(), takes)
    if planned is None:
        return
    sent = read_converse(planned.body)
    check_conversation(sent, takes)
    check_taken(planned, takes)
    if "toolConfig" in sent:
        check_config(sent["toolConfig"])
    if request.get("tool_choice") == "none":
        assert [tool["toolSpec"]["name"] for tool in sent.get("toolConfig", {}).get("tools", [])] in (
            [],
            [planned.shape.answer_tool],
        )


@given(requests, families)
def test_ignored_fields_are_reported_by_their_path_in_the_request(request: dict[str, Any], takes: Capabilities) -> None:
    planned = outcome(json.dumps(request).encode(), takes)
    for path in planned.ignored if planned else ():
        assert leads_somewhere([request], path), path


def leads_somewhere(values: list[Any], path: str) -> bool:
    """Return true if a value exists at this path, in the form of `Ignored`; `*` stands for any unknown member."""
    for step in path.split("."):
        name = step.removesuffix("[]")
        if name == "*":
            return any(isinstance(value, dict) for value in values)
        values = [value[name] for value in values if isinstance(value, dict) and value.get(name) is not None]
        if step != name:
            values = [element for value in values if isinstance(value, list) for element in value]
    return bool(values)


@given(st.sampled_from([name for name in sorted(BUILT_IN.families) if BUILT_IN.families[name].tools]), st.data())
def test_any_conversation_becomes_one_as_the_model_takes_it(
    read_converse: Read, check_conversation: Check, family: str, data: st.DataObject
) -> None:
    """The conversation has all media of the model, in messages and in tool results."""
    takes = BUILT_IN.families[family]
    seen: list[Any] = [image_part] * takes.images + [file_part] * bool(takes.documents)
    inside = st.lists(st.one_of(text_part, *seen), max_size=3)
    beside = data.draw(beside_messages)
    seen = [*seen, *[video_part] * bool(takes.video), *[sound_part] * bool(takes.audio)]
    seen += [part("guarded_text", text=texts)] if "guardrailConfig" in beside else []
    shown = st.lists(st.one_of(text_part, *seen), min_size=1, max_size=3)
    messages: list[Any] = []
    for _ in range(data.draw(st.integers(1, 4))):
        messages += data.draw(
            message_of("user", shown).map(lambda one: [one]) | exchanges | rounds(inside) | legacy_rounds()
        )
    request = {"model": "m", "messages": messages, **beside}
    planned = outcome(json.dumps(request).encode(), takes)
    if planned is not None:
        check_conversation(read_converse(planned.body), takes)
        check_taken(planned, takes)


@given(st.fixed_dictionaries({"model": st.just("m"), "messages": conversations}), families)
def test_the_same_history_becomes_the_same_prefix(
    read_converse: Read, request: dict[str, Any], takes: Capabilities
) -> None:
    """Otherwise every turn would miss the prompt cache. The last turn, and an instruction behind it, may change."""
    tool = {"type": "function", "function": {"name": "f"}}
    longer = {**request, "messages": [*request["messages"], {"role": "user", "content": "And then?"}]}
    planned = [
        outcome(json.dumps({**body_request, "tools": [tool]}).encode(), takes) for body_request in (request, longer)
    ]
    if planned[0] is None or planned[1] is None:
        return
    shorter, whole = (read_converse(translated.body)["messages"] for translated in planned)
    kept = len(shorter) - (2 if shorter[-1]["role"] == "system" else 1)
    assert without_points(whole[:kept]) == without_points(shorter[:kept])


@given(st.fixed_dictionaries({"model": st.just("m"), "messages": conversations}), families, words, values)
def test_unknown_fields_in_messages_change_nothing_and_are_reported(
    request: dict[str, Any], takes: Capabilities, word: str, value: Any
) -> None:
    strewn = json.loads(json.dumps(request))
    for message in strewn["messages"]:
        inner = [*(message.get("content") or ()), *(message.get("tool_calls") or ())]
        for known in (message, *(one for one in inner if isinstance(one, dict))):
            known[f"x {word}"] = value
    bare, translated = outcome(json.dumps(request).encode(), takes), outcome(json.dumps(strewn).encode(), takes)
    assert (bare is None) == (translated is None)
    if bare is not None and translated is not None:
        assert (translated.body, translated.shape) == (bare.body, bare.shape)
        assert ("messages[].*" in translated.ignored) == (value not in (None, [], {}))
        assert set(bare.ignored) <= set(translated.ignored)


def without_points(messages: list[Any]) -> list[Any]:
    """Return the cached content: the points themselves move on, and of too many the oldest go."""
    return [[block for block in message["content"] if "cachePoint" not in block] for message in messages]


@given(st.binary(max_size=60))
def test_any_bytes_become_a_request_or_a_400(body: bytes) -> None:
    outcome(body, BUILT_IN.of(None))


@given(
    requests.map(lambda request: json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    families,
    st.data(),
)
def test_damaged_requests_become_a_request_or_a_400(body: bytes, takes: Capabilities, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damage = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"null", b"1e999", b"\\ud800", b"\xff"]))
    planned = outcome(body[:at] + damage + body[at + data.draw(st.integers(0, 3)) :], takes)
    if planned is not None:
        planned.body.decode()
