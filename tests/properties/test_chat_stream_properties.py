"""The stream translation over generated streams: whole, cut anywhere, damaged, and against the buffered response."""

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
Events = list[tuple[str, Any]]

# Responses, as the blocks that Converse would return at once

texts = st.text(max_size=12) | st.sampled_from(["\u2028", "\x85", "\r\n", "data: [DONE]\n\n", '"\\', "\U0001f600"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(1.0) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
read_texts = texts | st.lists(
    st.sampled_from(["<thinking>", "</thinking>", "<thin", " ", "\n", "```json\n", "{}", "```", "\n```\n", "a"]),
    max_size=6,
).map("".join)
"""Texts in which reasoning, or a fence, is found."""
text_blocks = st.builds(lambda text: {"text": text}, read_texts)
base64s = st.binary(max_size=7).map(lambda content: base64.b64encode(content).decode())
reasoning_blocks = st.one_of(
    st.fixed_dictionaries({"text": texts}, optional={"signature": base64s}).map(
        lambda reasoning_text: {"reasoningContent": {"reasoningText": reasoning_text}}
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
    read_texts,
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
image_blocks = st.builds(
    lambda kind, source: {"image": {"format": kind, "source": source}},
    st.sampled_from(["png", "webp"]),
    base64s.map(lambda content: {"bytes": content}) | st.just({"s3Location": {"uri": "s3://bucket/image"}}),
)
other_blocks = st.just({"hologram": {"size": 1}})
responses = st.fixed_dictionaries(
    {
        "blocks": st.lists(
            st.one_of(text_blocks, tool_blocks, reasoning_blocks, cited_blocks, image_blocks, other_blocks), max_size=5
        ),
        "stop": st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence", "content_filtered", "new_one"]),
        "usage": st.fixed_dictionaries(
            {"inputTokens": st.integers(0, 9), "outputTokens": st.integers(0, 9)},
            optional={"cacheReadInputTokens": st.integers(0, 9), "cacheWriteInputTokens": st.integers(0, 9)},
        ),
        "own": st.sampled_from(
            [
                {},
                {},
                {"additionalModelResponseFields": {"usage": {"output_tokens_details": {"thinking_tokens": 3}}}},
                {"additionalModelResponseFields": {"usage": []}},
            ]
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
    inline_reasoning=st.sampled_from([None, "thinking"]),
    bare_json=st.booleans(),
)


def cut(data: st.DataObject, whole: Any) -> list[Any]:
    """Return a text or bytes in pieces, some of them empty."""
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


def events_of(data: st.DataObject, drawn_response: dict[str, Any]) -> Events:
    """Return the response as ConverseStream's events."""
    stream_events: Events = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(drawn_response["blocks"]):
        for kind, payload in block_events(data, block):
            stream_events.append((kind, {"contentBlockIndex": index, **payload, "p": "abc"}))
        stream_events.append(("contentBlockStop", {"contentBlockIndex": index}))
    stream_events.append(("messageStop", {"stopReason": drawn_response["stop"], **drawn_response["own"]}))
    stream_events.append(
        ("metadata", {"usage": drawn_response["usage"], "metrics": {"latencyMs": 1}, **drawn_response["tier"]})
    )
    return stream_events


def whole(drawn_response: dict[str, Any]) -> bytes:
    """Return the response as Converse's body."""
    message = {"role": "assistant", "content": drawn_response["blocks"]}
    body = {"output": {"message": message}, "stopReason": drawn_response["stop"], "usage": drawn_response["usage"]}
    return json.dumps({**body, **drawn_response["tier"], **drawn_response["own"]}).encode()


def block_events(data: st.DataObject, block: dict[str, Any]) -> Events:
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
    if "image" in block:
        content = base64.b64decode(block["image"]["source"].get("bytes", ""))
        sources = [{"bytes": base64.b64encode(piece).decode()} for piece in cut(data, content)]
        return [
            ("contentBlockStart", {"start": {"image": {"format": block["image"]["format"]}}}),
            *(("contentBlockDelta", {"delta": {"image": {"source": source}}}) for source in sources),
        ]
    return [("contentBlockDelta", {"delta": {"hologram": {"light": 1}}})]


def thoughts(data: st.DataObject, block: dict[str, Any]) -> list[dict[str, str]]:
    """Return a block of reasoning in pieces; bytes are cut before they become base64."""
    reasoning = block["reasoningContent"]
    if "redactedContent" in reasoning:
        content = base64.b64decode(reasoning["redactedContent"])
        return [{"redactedContent": base64.b64encode(piece).decode()} for piece in cut(data, content)]
    reasoning_text = reasoning["reasoningText"]
    pieces = [{"text": piece} for piece in cut(data, reasoning_text["text"])]
    return pieces + [{"signature": piece} for piece in cut(data, reasoning_text.get("signature", ""))]


def encode(event: Event, stream_events: Events) -> bytes:
    return b"".join(event(kind, payload) for kind, payload in stream_events)


def play(pieces: list[bytes], shape: ResponseShape = AS_IT_COMES) -> tuple[bytes, str | None]:
    """Return the output, and the code of the failure, if any; another exception fails the test."""
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
    """Return the completion that the openai package's accumulator makes of a whole stream."""
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
    """Return the client's view, without empty members, and calls without their indexes."""
    [choice] = completion["choices"]
    message = {name: value for name, value in choice["message"].items() if value}
    calls = [(call["id"], call["type"], call[call["type"]]) for call in message.pop("tool_calls", ())]
    for *_, called in calls:
        called.pop("parsed_arguments", None)  # the openai package's own
    return message, calls, choice["finish_reason"], completion["usage"], completion.get("service_tier")


def streamed_whole(drawn_response: dict[str, Any], shape: ResponseShape) -> bytes:
    return whole_stream(
        whole(drawn_response), ChatStream(shape=shape), ChunkEncoder("i", 1, "m", include_usage=True)
    ).body


@given(responses, shapes, st.data())
def test_a_response_is_the_same_whole_as_events_and_as_a_stream(
    event: Event, drawn_response: dict[str, Any], shape: ResponseShape, data: st.DataObject
) -> None:
    buffered = translate_response(whole(drawn_response), completion_id="i", created=1, model="m", shape=shape)
    ChatCompletion.model_validate_json(buffered.body, strict=True)
    expected = essence(json.loads(buffered.body))
    written, failure = play([encode(event, events_of(data, drawn_response))], shape)
    assert failure is None
    assert essence(completed(written)) == expected
    assert essence(completed(streamed_whole(drawn_response, shape))) == expected


# Any events at all

indexes = st.integers(0, 2)
deltas = st.one_of(
    read_texts.map(lambda text: {"text": text}),
    st.sampled_from(['{"a"', ": 1}", ""]).map(lambda piece: {"toolUse": {"input": piece}}),
    texts.map(lambda text: {"reasoningContent": {"text": text}}),
    st.sampled_from(["eA==", "eHk=", "e"]).map(lambda text: {"image": {"source": {"bytes": text}}}),
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
START: Events = [("messageStart", {"role": "assistant"})]
END: Events = [("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": {"inputTokens": 1}})]


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, Any, str]]:
    """Draw events, most often in a nearly valid order, now and then with an exception among them."""
    middle = draw(st.lists(events, max_size=8))
    stream_events = [
        *draw(st.sampled_from([START, START, []])),
        *middle,
        *draw(st.sampled_from([END, END, END[:1], []])),
    ]
    result = [(kind, payload, "event") for kind, payload in stream_events]
    if draw(st.integers(0, 4)) == 2:
        result.insert(draw(st.integers(0, len(result))), (draw(failures), {"message": "Because."}, "exception"))
    return result


@given(streams(), shapes, st.binary(max_size=4), st.data())
def test_any_stream_cut_anywhere_yields_the_same(
    event: Event, stream_events: list[tuple[str, Any, str]], shape: ResponseShape, rest: bytes, data: st.DataObject
) -> None:
    stream = b"".join(event(kind, payload, message=message) for kind, payload, message in stream_events)
    stream += data.draw(st.sampled_from([b"", b"", rest]))
    result = play([stream], shape)
    assert play(cut(data, stream), shape) == result
    assert play([stream[at : at + 1] for at in range(len(stream))], shape) == result
    assert result[0].endswith(DONE) == (result[1] is None)
    assert result[0].count(DONE) <= 1


@given(streams(), st.binary(max_size=4), st.data())
def test_any_stream_cut_anywhere_has_the_same_events_and_none_after_a_failure(
    event: Event, stream_events: list[tuple[str, Any, str]], rest: bytes, data: st.DataObject
) -> None:
    stream = b"".join(event(kind, payload, message=message) for kind, payload, message in stream_events)
    stream += data.draw(st.sampled_from([b"", b"", rest]))
    result = decoded([stream])
    assert decoded(cut(data, stream)) == result
    assert decoded([stream[at : at + 1] for at in range(len(stream))]) == result
    assert not any(isinstance(one, StreamException | StreamDefect) for one in result[:-1])


def decoded(pieces: list[bytes]) -> list[StreamEvent]:
    decoder = StreamDecoder()
    return [one for piece in pieces for one in decoder.feed(piece)] + decoder.close()


@given(responses, shapes, st.data())
def test_any_damaged_byte_is_a_failure_and_never_an_end(
    event: Event, drawn_response: dict[str, Any], shape: ResponseShape, data: st.DataObject
) -> None:
    stream = encode(event, events_of(data, drawn_response))
    at = data.draw(st.integers(0, len(stream) - 1))
    damaged = stream[:at] + bytes([stream[at] ^ data.draw(st.integers(1, 255))]) + stream[at + 1 :]
    written, failure = play(cut(data, damaged), shape)
    assert failure is not None
    assert DONE not in written
    assert play([stream], shape)[0].startswith(written)


@given(responses, st.data())
def test_a_stream_that_ends_early_is_a_failure_and_never_an_end(
    event: Event, drawn_response: dict[str, Any], data: st.DataObject
) -> None:
    stream = encode(event, events_of(data, drawn_response))
    at = data.draw(st.integers(0, len(stream) - 1))
    written, failure = play([stream[:at]])
    assert failure is not None
    assert DONE not in written


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"{", b'{"__type":"x"}', b"}"]), max_size=4))
def test_any_bytes_are_a_failure_and_nothing_else(pieces: list[bytes]) -> None:
    assert play(pieces)[1] is not None
