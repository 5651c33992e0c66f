"""Encode a completion for the wire: as one JSON body, or as the events of a stream.

These oddities of Bedrock's streams are reproduced: no contentBlockStart for text and reasoning, no input delta for a
tool without arguments, `metadata` after `messageStop`, a padding key `p` of random length, headers in no fixed order.
Hidden reasoning is a signature without text.
"""

import base64
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bedrock_local import eventstream
from bedrock_local.completions import Citation, Completion, Image, Part, SystemToolUse, Text, ToolUse
from bedrock_local.reasoning import Reasoning, Redacted

_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

#: Characters of tool input, and at most of a text, and bytes of an image, in one delta.
_INPUT_DELTA, _TEXT_DELTA, _IMAGE_DELTA = 11, 24, 40

_WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of the stream before it is encoded: `kind` is event, exception or error.

    A `corrupt` one gets a wrong checksum.
    """

    kind: str
    name: str
    payload: dict[str, Any]
    corrupt: bool = False


def body(
    completion: Completion, latency: int, extra: dict[str, Any] | None, *, unknown: bool = False
) -> dict[str, Any]:
    """Return the body of Converse; `latency` in milliseconds, `extra` is additionalModelResponseFields.

    `unknown` puts a block of an unknown kind at its beginning.
    """
    content = [{"blockOfTheFuture": {"of": "blocks"}}] if unknown else []
    content += [block for part in completion.parts for block in _blocks(part)]
    members = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": completion.stop_reason,
        "usage": completion.usage,
        "metrics": {"latencyMs": latency},
    }
    return members if extra is None else {**members, "additionalModelResponseFields": extra}


def events(
    completion: Completion, latency: int, extra: dict[str, Any] | None, served: dict[str, Any]
) -> Iterator[Frame]:
    """Yield the events of ConverseStream, in order; `served` goes into the metadata."""
    yield Frame("event", "messageStart", {"role": "assistant"})
    index = 0
    for part in completion.parts:
        if isinstance(part, SystemToolUse):
            yield from _system_tool_events(index, part)
            index += 2
        else:
            yield from _part_events(index, part)
            index += 1
    stop: dict[str, Any] = {"stopReason": completion.stop_reason}
    yield Frame("event", "messageStop", stop if extra is None else {**stop, "additionalModelResponseFields": extra})
    yield Frame("event", "metadata", {"usage": completion.usage, "metrics": {"latencyMs": latency}, **served})


def _part_events(index: int, part: Part) -> Iterator[Frame]:
    place = {"contentBlockIndex": index}
    if isinstance(part, ToolUse):
        start = {"toolUse": {"toolUseId": part.id, "name": part.name}}
        yield Frame("event", "contentBlockStart", {**place, "start": start})
    if isinstance(part, Image):
        yield Frame("event", "contentBlockStart", {**place, "start": {"image": {"format": part.format}}})
    for delta in _deltas(part):
        yield Frame("event", "contentBlockDelta", {**place, "delta": delta})
    yield Frame("event", "contentBlockStop", place)


def _system_tool_events(index: int, part: SystemToolUse) -> Iterator[Frame]:
    """Yield the events of the call and of its result."""
    call, result = (block for block in _blocks(part))
    for place, kind, delta in (
        ({"contentBlockIndex": index}, call, {"toolUse": {"input": json.dumps(call["toolUse"].pop("input"))}}),
        ({"contentBlockIndex": index + 1}, result, {"toolResult": result["toolResult"].pop("content")}),
    ):
        yield Frame("event", "contentBlockStart", {**place, "start": kind})
        yield Frame("event", "contentBlockDelta", {**place, "delta": delta})
        yield Frame("event", "contentBlockStop", place)


def _deltas(part: Part) -> Iterator[dict[str, Any]]:
    if isinstance(part, ToolUse):
        for start in range(0, len(part.arguments), _INPUT_DELTA):
            yield {"toolUse": {"input": part.arguments[start : start + _INPUT_DELTA]}}
        return
    if isinstance(part, Redacted):
        yield {"reasoningContent": {"redactedContent": _base64(part.data)}}
        return
    if isinstance(part, Image):
        for start in range(0, len(part.data), _IMAGE_DELTA):
            yield {"image": {"source": {"bytes": _base64(part.data[start : start + _IMAGE_DELTA])}}}
        return
    if isinstance(part, Citation):
        yield {"citation": _citation(part.text, part.source)}
        return
    assert not isinstance(part, SystemToolUse)
    for text in _words(part.text):
        yield {"text": text} if isinstance(part, Text) else {"reasoningContent": {"text": text}}
    if isinstance(part, Text) and part.source is not None:
        yield {"citation": _citation(part.text, part.source)}
    if isinstance(part, Reasoning) and part.signature is not None:
        yield {"reasoningContent": {"signature": part.signature}}


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text with the blanks before them; a very long word in several parts."""
    for word in _WORD.findall(text):
        for start in range(0, len(word), _TEXT_DELTA):
            yield word[start : start + _TEXT_DELTA]


def _blocks(part: Part) -> list[dict[str, Any]]:
    """Return the block of a part, or the two of a search."""
    if not isinstance(part, SystemToolUse):
        return [_block(part)]
    call = {"toolUseId": part.id, "name": part.name, "type": "server_tool_use", "input": {"query": part.query}}
    found = {"toolUseId": part.id, "type": f"{part.name}_result", "status": "success", "content": [{"text": "1 page"}]}
    return [{"toolUse": call}, {"toolResult": found}]


def _block(part: Part) -> dict[str, Any]:
    assert not isinstance(part, SystemToolUse)
    if isinstance(part, Citation):
        return {"citationsContent": {"citations": [_citation(part.text, part.source)]}}
    if isinstance(part, Text):
        if part.source is None:
            return {"text": part.text}
        return {
            "citationsContent": {"content": [{"text": part.text}], "citations": [_citation(part.text, part.source)]}
        }
    if isinstance(part, Reasoning):
        signed = {} if part.signature is None else {"signature": part.signature}
        return {"reasoningContent": {"reasoningText": {"text": part.text, **signed}}}
    if isinstance(part, Redacted):
        return {"reasoningContent": {"redactedContent": _base64(part.data)}}
    if isinstance(part, Image):
        return {"image": {"format": part.format, "source": {"bytes": _base64(part.data)}}}
    return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": part.input}}


def _citation(text: str, source: str) -> dict[str, Any]:
    """Return the citation of a web page, which is the same in a block and in a stream."""
    domain = urlsplit(source).netloc
    return {
        "title": f"A page of {domain}",
        "sourceContent": [{"text": text[:_TEXT_DELTA]}],
        "location": {"web": {"url": source, "domain": domain}},
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Encoder:
    """An encoder of frames, with padding and header order from its own random generator."""

    def __init__(self, seed: bytes) -> None:
        self._random = random.Random(seed)

    def encode(self, frame: Frame) -> bytes:
        """Return the bytes of one frame."""
        if frame.kind == "error":
            return eventstream.encode(self._shuffled(_error_headers(frame)), b"")
        payload = dict(frame.payload)
        if frame.kind == "event":
            payload["p"] = _PADDING[: self._random.randint(1, len(_PADDING))]
        headers = [
            (f":{frame.kind}-type", frame.name),
            (":content-type", "application/json"),
            (":message-type", frame.kind),
        ]
        written = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        return eventstream.encode(self._shuffled(headers), written.encode())

    def _shuffled(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        self._random.shuffle(headers)
        return headers


def _error_headers(frame: Frame) -> list[tuple[str, str]]:
    return [
        (":message-type", "error"),
        (":error-code", frame.name),
        (":error-message", str(frame.payload.get("message", ""))),
    ]
