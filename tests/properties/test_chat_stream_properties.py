"""The stream translation over generated streams: whole, cut anywhere, damaged, and against the buffered answer."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.openai.chat import Chunks
from extproc.openai.sse import DONE
from extproc.translate.chat_answer import answer
from extproc.translate.chat_stream import ChatStream, StreamError

Event = Callable[..., bytes]
Said = list[tuple[str, Any]]

# Answers, as the blocks that Converse would give at once

texts = st.text(max_size=12) | st.sampled_from(["\u2028", "\x85", "\r\n", "data: [DONE]\n\n", '"\\', "\U0001f600"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(1.0) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
text_blocks = st.builds(lambda text: {"text": text}, texts)
reasoning_blocks = st.builds(lambda text: {"reasoningContent": {"reasoningText": {"text": text}}}, texts)
tool_blocks = st.builds(
    lambda name, call_id, inputs: {"toolUse": {"toolUseId": call_id, "name": name, "input": inputs}},
    st.sampled_from(["f", "g", "report"]),
    st.from_regex(r"[a-zA-Z0-9_.:-]{1,20}", fullmatch=True),
    st.dictionaries(texts, values, max_size=2),
)
other_blocks = st.just({"hologram": {"size": 1}})
answers = st.fixed_dictionaries(
    {
        "blocks": st.lists(st.one_of(text_blocks, tool_blocks, reasoning_blocks, other_blocks), max_size=5),
        "stop": st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence", "content_filtered", "new_one"]),
        "usage": st.fixed_dictionaries(
            {"inputTokens": st.integers(0, 9), "outputTokens": st.integers(0, 9)},
            optional={"cacheReadInputTokens": st.integers(0, 9), "cacheWriteInputTokens": st.integers(0, 9)},
        ),
    }
)
answer_tools = st.sampled_from([None, None, "report"])


def cut(data: st.DataObject, whole: Any) -> list[Any]:
    """A text or bytes in pieces, some of them empty."""
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


def told(data: st.DataObject, given_answer: dict[str, Any]) -> Said:
    """The same answer as ConverseStream tells it."""
    said: Said = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(given_answer["blocks"]):
        for kind, payload in block_events(data, block):
            said.append((kind, {"contentBlockIndex": index, **payload, "p": "abc"}))
        said.append(("contentBlockStop", {"contentBlockIndex": index}))
    said.append(("messageStop", {"stopReason": given_answer["stop"]}))
    said.append(("metadata", {"usage": given_answer["usage"], "metrics": {"latencyMs": 1}}))
    return said


def block_events(data: st.DataObject, block: dict[str, Any]) -> Said:
    if "text" in block:
        return [("contentBlockDelta", {"delta": {"text": piece}}) for piece in cut(data, block["text"])]
    if "reasoningContent" in block:
        text = block["reasoningContent"]["reasoningText"]["text"]
        deltas = [{"reasoningContent": {"text": piece}} for piece in cut(data, text)]
        return [
            ("contentBlockDelta", {"delta": delta}) for delta in [*deltas, {"reasoningContent": {"signature": "s"}}]
        ]
    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
        pieces = cut(data, json.dumps(use["input"])) if use["input"] else []
        return [
            ("contentBlockStart", {"start": start}),
            *(("contentBlockDelta", {"delta": {"toolUse": {"input": piece}}}) for piece in pieces),
        ]
    return [("contentBlockDelta", {"delta": {"hologram": {"light": 1}}})]


def encode(event: Event, said: Said) -> bytes:
    return b"".join(event(kind, payload) for kind, payload in said)


def play(pieces: list[bytes], answer_tool: str | None = None) -> tuple[bytes, str | None]:
    """All that was written, and the code of the failure, if it failed; any other exception fails the test."""
    stream = ChatStream(Chunks("i", 1, "m", include_usage=True), answer_tool=answer_tool)
    written = b""
    try:
        for piece in pieces:
            written += stream.feed(piece)
        written += stream.end()
    except StreamError as failure:
        return written + failure.written, failure.error.code or "failed"
    return written, None


def completed(written: bytes) -> Any:
    """The completion that the openai package's accumulator makes of a whole stream."""
    *events, done, rest = written.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    state = ChatCompletionStreamState()
    for event in events:
        state.handle_chunk(ChatCompletionChunk.model_validate_json(event.removeprefix(b"data: "), strict=True))
    return state.current_completion_snapshot


def essence(completion: ChatCompletion) -> Any:
    choice = completion.choices[0]
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    reasoning = getattr(choice.message, "reasoning_content", None) or ""
    return choice.message.content or "", reasoning, calls, choice.finish_reason, completion.usage


@given(answers, answer_tools, st.data())
def test_a_streamed_answer_is_the_buffered_one(
    event: Event, given_answer: dict[str, Any], answer_tool: str | None, data: st.DataObject
) -> None:
    message = {"role": "assistant", "content": given_answer["blocks"]}
    body = {"output": {"message": message}, "stopReason": given_answer["stop"], "usage": given_answer["usage"]}
    buffered, _, _ = answer(json.dumps(body).encode(), completion_id="i", created=1, model="m", answer_tool=answer_tool)
    written, failure = play([encode(event, told(data, given_answer))], answer_tool)
    assert failure is None
    assert essence(completed(written)) == essence(ChatCompletion.model_validate_json(buffered))


# Any events at all

indexes = st.integers(0, 2)
deltas = st.one_of(
    texts.map(lambda text: {"text": text}),
    st.sampled_from(['{"a"', ": 1}", ""]).map(lambda piece: {"toolUse": {"input": piece}}),
    texts.map(lambda text: {"reasoningContent": {"text": text}}),
    st.sampled_from([{}, {"toolUse": {}}, {"text": None}, {"text": 5}, {"citation": {}}]),
)
starts = st.sampled_from(["f", "report"]).map(lambda name: {"toolUse": {"toolUseId": "c", "name": name}}) | st.just({})
events = st.one_of(
    st.builds(
        lambda index, delta: ("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}), indexes, deltas
    ),
    st.builds(
        lambda index, start: ("contentBlockStart", {"contentBlockIndex": index, "start": start}), indexes, starts
    ),
    st.builds(lambda index: ("contentBlockStop", {"contentBlockIndex": index}), indexes),
    st.sampled_from(["end_turn", "malformed_tool_use"]).map(lambda reason: ("messageStop", {"stopReason": reason})),
    st.sampled_from(
        [("messageStart", {"role": "assistant"}), ("metadata", {"usage": {}}), ("new", {}), ("messageStop", {})]
    ),
)
failures = st.sampled_from(["throttlingException", "newException", ""])
START: Said = [("messageStart", {"role": "assistant"})]
END: Said = [("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": {"inputTokens": 1}})]


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, Any, str]]:
    """Events, most often in an order that is nearly right, now and then with an exception among them."""
    middle = draw(st.lists(events, max_size=8))
    said = [*draw(st.sampled_from([START, START, []])), *middle, *draw(st.sampled_from([END, END, END[:1], []]))]
    found = [(kind, payload, "event") for kind, payload in said]
    if draw(st.integers(0, 4)) == 2:
        found.insert(draw(st.integers(0, len(found))), (draw(failures), {"message": "Because."}, "exception"))
    return found


@given(streams(), answer_tools, st.binary(max_size=4), st.data())
def test_any_stream_cut_anywhere_gives_the_same(
    event: Event, said: list[tuple[str, Any, str]], answer_tool: str | None, rest: bytes, data: st.DataObject
) -> None:
    whole = b"".join(event(kind, payload, message=message) for kind, payload, message in said)
    whole += data.draw(st.sampled_from([b"", b"", rest]))
    found = play([whole], answer_tool)
    assert play(cut(data, whole), answer_tool) == found
    assert play([whole[at : at + 1] for at in range(len(whole))], answer_tool) == found
    assert found[0].endswith(DONE) == (found[1] is None)
    assert found[0].count(DONE) <= 1


@given(answers, answer_tools, st.data())
def test_any_damaged_byte_is_a_failure_and_never_an_end(
    event: Event, given_answer: dict[str, Any], answer_tool: str | None, data: st.DataObject
) -> None:
    whole = encode(event, told(data, given_answer))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    written, failure = play(cut(data, damaged), answer_tool)
    assert failure is not None
    assert DONE not in written
    assert play([whole], answer_tool)[0].startswith(written)


@given(answers, st.data())
def test_a_stream_that_ends_early_is_a_failure_and_never_an_end(
    event: Event, given_answer: dict[str, Any], data: st.DataObject
) -> None:
    said = told(data, given_answer)
    short = len(encode(event, said[:-1]))
    whole = encode(event, said)
    at = data.draw(st.integers(0, len(whole) - 1).filter(lambda place: place != short))
    written, failure = play([whole[:at]])
    assert failure is not None
    assert DONE not in written


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_are_a_failure_and_nothing_else(pieces: list[bytes]) -> None:
    assert play(pieces)[1] is not None
