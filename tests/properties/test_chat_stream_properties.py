"""The stream translation over generated streams: whole, cut anywhere, damaged, and against the buffered answer."""

import base64
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.bedrock.converse_stream import Event as StreamEvent
from extproc.bedrock.converse_stream import StreamDecoder, StreamDefect, StreamException
from extproc.openai.chunks import ChunkEncoder
from extproc.openai.sse import DONE
from extproc.translate.chat_completion import translate_response
from extproc.translate.chat_sse import ChatSse, StreamError, whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.response_shape import ResponseShape

AS_IT_COMES = ResponseShape()

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
base64s = st.binary(max_size=7).map(lambda content: base64.b64encode(content).decode())
reasoning_blocks = st.one_of(
    st.fixed_dictionaries({"text": texts}, optional={"signature": base64s}).map(
        lambda thought: {"reasoningContent": {"reasoningText": thought}}
    ),
    base64s.map(lambda redacted: {"reasoningContent": {"redactedContent": redacted}}),
)
urls = st.sampled_from(["https://x.org/a", "https://x.org/b", ""])
citations = st.fixed_dictionaries(
    {},
    optional={
        "title": texts,
        "location": st.one_of(
            urls.map(lambda url: {"web": {"url": url, "domain": "x.org"}}),
            st.just({"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}),
        ),
    },
)
cited_blocks = st.builds(
    lambda text, cited: {"citationsContent": {"content": [{"text": text}], "citations": cited}},
    texts,
    st.lists(citations, max_size=2),
)
tool_blocks = st.builds(
    lambda name, call_id, inputs, more: {
        "toolUse": {"toolUseId": call_id, "name": name, "input": inputs, **more},
    },
    st.sampled_from(["f", "g", "report", "shell_1", "read_1"]),
    st.from_regex(r"[a-zA-Z0-9_.:-]{1,20}", fullmatch=True),
    st.one_of(st.dictionaries(texts, values, max_size=2), st.fixed_dictionaries({"input": texts})),
    st.sampled_from([{}, {}, {}, {"type": "server_tool_use"}]),
)
other_blocks = st.just({"hologram": {"size": 1}})
answers = st.fixed_dictionaries(
    {
        "blocks": st.lists(
            st.one_of(text_blocks, tool_blocks, reasoning_blocks, cited_blocks, other_blocks), max_size=5
        ),
        "stop": st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence", "content_filtered", "new_one"]),
        "usage": st.fixed_dictionaries(
            {"inputTokens": st.integers(0, 9), "outputTokens": st.integers(0, 9)},
            optional={"cacheReadInputTokens": st.integers(0, 9), "cacheWriteInputTokens": st.integers(0, 9)},
        ),
        "tier": st.sampled_from([{}, {"serviceTier": {"type": "flex"}}, {"serviceTier": {"type": "reserved"}}]),
    }
)
shapes = st.builds(
    ResponseShape,
    answer_tool=st.sampled_from([None, None, "report"]),
    names=st.sampled_from([{}, {"shell_1": "my shell", "read_1": "files/read.txt"}]),
    custom=st.sampled_from([frozenset(), frozenset({"my shell", "g"})]),
    legacy=st.sampled_from([False, False, True]),
)


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
    said.append(("metadata", {"usage": given_answer["usage"], "metrics": {"latencyMs": 1}, **given_answer["tier"]}))
    return said


def whole(given_answer: dict[str, Any]) -> bytes:
    """The same answer as Converse tells it."""
    message = {"role": "assistant", "content": given_answer["blocks"]}
    body = {"output": {"message": message}, "stopReason": given_answer["stop"], "usage": given_answer["usage"]}
    return json.dumps({**body, **given_answer["tier"]}).encode()


def block_events(data: st.DataObject, block: dict[str, Any]) -> Said:
    if "text" in block:
        return [("contentBlockDelta", {"delta": {"text": piece}}) for piece in cut(data, block["text"])]
    if "reasoningContent" in block:
        return [("contentBlockDelta", {"delta": {"reasoningContent": piece}}) for piece in thoughts(data, block)]
    if "citationsContent" in block:
        [content] = block["citationsContent"]["content"]
        pieces = [{"text": piece} for piece in cut(data, content["text"])]
        for citation in block["citationsContent"]["citations"]:
            pieces.insert(data.draw(st.integers(0, len(pieces))), {"citation": citation})
        order = iter(block["citationsContent"]["citations"])
        pieces = [{"citation": next(order)} if "citation" in piece else piece for piece in pieces]
        return [("contentBlockDelta", {"delta": piece}) for piece in pieces]
    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {name: value for name, value in use.items() if name != "input"}}
        pieces = cut(data, json.dumps(use["input"])) if use["input"] else []
        return [
            ("contentBlockStart", {"start": start}),
            *(("contentBlockDelta", {"delta": {"toolUse": {"input": piece}}}) for piece in pieces),
        ]
    return [("contentBlockDelta", {"delta": {"hologram": {"light": 1}}})]


def thoughts(data: st.DataObject, block: dict[str, Any]) -> list[dict[str, str]]:
    """A block of reasoning in pieces; bytes are cut before they become base64."""
    reasoning = block["reasoningContent"]
    if "redactedContent" in reasoning:
        content = base64.b64decode(reasoning["redactedContent"])
        return [{"redactedContent": base64.b64encode(piece).decode()} for piece in cut(data, content)]
    thought = reasoning["reasoningText"]
    pieces = [{"text": piece} for piece in cut(data, thought["text"])]
    return pieces + [{"signature": piece} for piece in cut(data, thought.get("signature", ""))]


def encode(event: Event, said: Said) -> bytes:
    return b"".join(event(kind, payload) for kind, payload in said)


def play(pieces: list[bytes], shape: ResponseShape = AS_IT_COMES) -> tuple[bytes, str | None]:
    """All that was written, and the code of the failure, if it failed; any other exception fails the test."""
    stream = ChatSse(ChatStream(shape=shape), ChunkEncoder("i", 1, "m", include_usage=True))
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
        chunk = json.loads(event.removeprefix(b"data: "))
        if b'"custom"' not in event:  # the openai package reads custom calls in streams, but has no type for them yet
            ChatCompletionChunk.model_validate(chunk, strict=True)
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    completion = state.current_completion_snapshot.to_dict()
    completion["service_tier"] = json.loads(events[-1].removeprefix(b"data: ")).get("service_tier")
    return completion


def essence(completion: dict[str, Any]) -> Any:
    """What a client sees, with what is empty left out, and calls without their places."""
    [choice] = completion["choices"]
    message = {name: value for name, value in choice["message"].items() if value}
    calls = [(call["id"], call["type"], call[call["type"]]) for call in message.pop("tool_calls", ())]
    for *_, called in calls:
        called.pop("parsed_arguments", None)  # the openai package's own
    return message, calls, choice["finish_reason"], completion["usage"], completion.get("service_tier")


def streamed_whole(given_answer: dict[str, Any], shape: ResponseShape) -> bytes:
    return whole_stream(
        whole(given_answer), ChatStream(shape=shape), ChunkEncoder("i", 1, "m", include_usage=True)
    ).body


@given(answers, shapes, st.data())
def test_an_answer_is_the_same_whole_in_events_and_whole_as_a_stream(
    event: Event, given_answer: dict[str, Any], shape: ResponseShape, data: st.DataObject
) -> None:
    buffered = translate_response(whole(given_answer), completion_id="i", created=1, model="m", shape=shape)
    ChatCompletion.model_validate_json(buffered.body, strict=True)
    expected = essence(json.loads(buffered.body))
    written, failure = play([encode(event, told(data, given_answer))], shape)
    assert failure is None
    assert essence(completed(written)) == expected
    assert essence(completed(streamed_whole(given_answer, shape))) == expected


# Any events at all

indexes = st.integers(0, 2)
deltas = st.one_of(
    texts.map(lambda text: {"text": text}),
    st.sampled_from(['{"a"', ": 1}", ""]).map(lambda piece: {"toolUse": {"input": piece}}),
    texts.map(lambda text: {"reasoningContent": {"text": text}}),
    st.sampled_from(["eA==", "eHk=", "e", "é"]).map(lambda text: {"reasoningContent": {"redactedContent": text}}),
    st.sampled_from([{}, {"toolUse": {}}, {"text": None}, {"text": 5}, {"citation": {}}]),
    citations.map(lambda citation: {"citation": citation}),
)
starts = st.sampled_from(["f", "report", "shell_1"]).map(
    lambda name: {"toolUse": {"toolUseId": "c", "name": name}}
) | st.just({})
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


@given(streams(), shapes, st.binary(max_size=4), st.data())
def test_any_stream_cut_anywhere_gives_the_same(
    event: Event, said: list[tuple[str, Any, str]], shape: ResponseShape, rest: bytes, data: st.DataObject
) -> None:
    stream = b"".join(event(kind, payload, message=message) for kind, payload, message in said)
    stream += data.draw(st.sampled_from([b"", b"", rest]))
    found = play([stream], shape)
    assert play(cut(data, stream), shape) == found
    assert play([stream[at : at + 1] for at in range(len(stream))], shape) == found
    assert found[0].endswith(DONE) == (found[1] is None)
    assert found[0].count(DONE) <= 1


@given(streams(), st.binary(max_size=4), st.data())
def test_any_stream_cut_anywhere_has_the_same_events_and_none_after_a_failure(
    event: Event, said: list[tuple[str, Any, str]], rest: bytes, data: st.DataObject
) -> None:
    stream = b"".join(event(kind, payload, message=message) for kind, payload, message in said)
    stream += data.draw(st.sampled_from([b"", b"", rest]))
    found = decoded([stream])
    assert decoded(cut(data, stream)) == found
    assert decoded([stream[at : at + 1] for at in range(len(stream))]) == found
    assert not any(isinstance(one, StreamException | StreamDefect) for one in found[:-1])


def decoded(pieces: list[bytes]) -> list[StreamEvent]:
    decoder = StreamDecoder()
    return [one for piece in pieces for one in decoder.feed(piece)] + decoder.close()


@given(answers, shapes, st.data())
def test_any_damaged_byte_is_a_failure_and_never_an_end(
    event: Event, given_answer: dict[str, Any], shape: ResponseShape, data: st.DataObject
) -> None:
    stream = encode(event, told(data, given_answer))
    at = data.draw(st.integers(0, len(stream) - 1))
    damaged = stream[:at] + bytes([stream[at] ^ data.draw(st.integers(1, 255))]) + stream[at + 1 :]
    written, failure = play(cut(data, damaged), shape)
    assert failure is not None
    assert DONE not in written
    assert play([stream], shape)[0].startswith(written)


@given(answers, st.data())
def test_a_stream_that_ends_early_is_a_failure_and_never_an_end(
    event: Event, given_answer: dict[str, Any], data: st.DataObject
) -> None:
    said = told(data, given_answer)
    short = len(encode(event, said[:-1]))
    stream = encode(event, said)
    at = data.draw(st.integers(0, len(stream) - 1).filter(lambda place: place != short))
    written, failure = play([stream[:at]])
    assert failure is not None
    assert DONE not in written


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"{", b'{"__type":"x"}', b"}"]), max_size=4))
def test_any_bytes_are_a_failure_and_nothing_else(pieces: list[bytes]) -> None:
    assert play(pieces)[1] is not None
