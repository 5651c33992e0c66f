"""ConverseStream's bytes as events, and a whole response as the events that a stream of it has."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from extproc.bedrock.converse_response import (
    ContentBlockStopEvent,
    ConverseStreamMetadataEvent,
    MessageStartEvent,
    decode_response,
)
from extproc.bedrock.converse_stream import (
    MAX_DOCUMENT,
    Event,
    StreamDecoder,
    StreamDefect,
    StreamException,
    response_events,
)
from extproc.bedrock.errors import BedrockError

Encode = Callable[..., bytes]


def decoded(*pieces: bytes) -> list[Event]:
    decoder = StreamDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def test_events_are_decoded_and_unknown_ones_passed_over(event: Encode) -> None:
    data = event("messageStart", {"role": "assistant"}) + event("new", {}) + event("metadata", {"usage": {}})
    assert decoded(data) == [MessageStartEvent(), ConverseStreamMetadataEvent()]


def test_an_exception_is_an_event(event: Encode) -> None:
    data = event("throttlingException", {"message": "Slow down."}, message="exception")
    assert decoded(event("messageStart", {}) + data) == [
        MessageStartEvent(),
        StreamException(BedrockError("ThrottlingException", "Slow down.")),
    ]


def test_the_events_before_damaged_bytes_are_kept(event: Encode) -> None:
    start, defect, *_ = decoded(event("messageStart", {}), b"\xff" * 12)
    assert (start, type(defect)) == (MessageStartEvent(), StreamDefect)


def test_a_stream_that_ends_within_a_message_is_a_defect(event: Encode) -> None:
    data = event("messageStart", {})
    assert decoded(data[:-1]) == [StreamDefect(f"the stream ended within a message, after {len(data) - 1} bytes of it")]


def test_an_undecodable_event_is_a_defect(event: Encode) -> None:
    [defect] = decoded(event("messageStop", {"stopReason": 5}))
    assert isinstance(defect, StreamDefect)
    assert defect.reason.startswith("messageStop event: ")


def test_a_json_document_is_an_exception_if_it_names_one() -> None:
    document = b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}'
    assert decoded(*[bytes([byte]) for byte in document]) == [
        StreamException(BedrockError("UnknownOperationException", "", 200))
    ]
    assert decoded(b"{}") == [StreamDefect("a JSON document, not an event stream")]


def test_a_document_is_kept_up_to_its_limit_only() -> None:
    decoder = StreamDecoder()
    assert decoder.feed(b"{" + b" " * (MAX_DOCUMENT - 1)) == []
    [defect] = decoder.feed(b" " * 1_000_000)
    assert defect == StreamDefect("it is a JSON document of more than 64 KiB, not an event stream")


def test_started_and_pending_count_bytes(event: Encode) -> None:
    decoder = StreamDecoder()
    assert not decoder.started
    decoder.feed(event("messageStart", {}) + b"\0\0")
    assert (decoder.started, decoder.pending) == (True, 2)


# A whole response

BLOCKS: list[dict[str, Any]] = [
    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
    {"reasoningContent": {"redactedContent": "d2l0aGhlbGQ="}},
    {"text": "a"},
    {"citationsContent": {"content": [{"text": "b"}, {"text": "c"}], "citations": [{"title": "t"}]}},
    {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"x": 1}}},
    {"toolUse": {"toolUseId": "c2", "name": "web", "type": "server_tool_use"}},
    {"hologram": {}},
]
DELTAS: list[list[tuple[str, dict[str, Any]]]] = [
    [("contentBlockDelta", {"delta": {"reasoningContent": {"text": "Hm.", "signature": "c2ln"}}})],
    [("contentBlockDelta", {"delta": {"reasoningContent": {"text": "", "redactedContent": "d2l0aGhlbGQ="}}})],
    [("contentBlockDelta", {"delta": {"text": "a"}})],
    [
        ("contentBlockDelta", {"delta": {"text": "bc"}}),
        ("contentBlockDelta", {"delta": {"citation": {"title": "t"}}}),
    ],
    [
        ("contentBlockStart", {"start": {"toolUse": {"toolUseId": "c1", "name": "f"}}}),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": '{"x": 1}'}}}),
    ],
    [
        ("contentBlockStart", {"start": {"toolUse": {"toolUseId": "c2", "name": "web", "type": "server_tool_use"}}}),
        ("contentBlockDelta", {"delta": {"toolUse": {"input": "{}"}}}),
    ],
    [],
]


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_a_whole_response_has_the_events_of_its_stream(index: int, event: Encode) -> None:
    """Both are decoded from JSON: the events of `ConverseStream` are the oracle."""
    body = {"output": {"message": {"content": [BLOCKS[index]]}}, "stopReason": "end_turn", "usage": {"inputTokens": 3}}
    stream = [
        event("messageStart", {"role": "assistant"}),
        *[event(kind, {"contentBlockIndex": 0, **payload}) for kind, payload in DELTAS[index]],
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": {"inputTokens": 3}}),
    ]
    assert response_events(decode_response(json.dumps(body).encode())) == decoded(*stream)


def test_the_blocks_keep_their_order() -> None:
    body = {"output": {"message": {"content": BLOCKS}}, "stopReason": "end_turn"}
    events = response_events(decode_response(json.dumps(body).encode()))
    assert [event.content_block_index for event in events if isinstance(event, ContentBlockStopEvent)] == list(range(7))
