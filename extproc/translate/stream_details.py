"""The parts of a streamed message that clients read from one chunk only: `thinking_blocks` and `images`."""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from extproc.bedrock.converse_response import (
    ConverseResponseError,
    ImageBlockDelta,
    ImageBlockStart,
    ReasoningContentBlockDelta,
)
from extproc.openai.completion import image
from extproc.translate.response_fields import thinking_block
from extproc.translate.response_limits import Kept

_PIECE = 64
"""Bytes that a piece of base64 counts beside its characters."""


@dataclass(slots=True)
class _Reasoning:
    """The pieces of a block of reasoning."""

    text: StringIO = field(default_factory=StringIO)
    signature: StringIO = field(default_factory=StringIO)
    redacted: list[str] = field(default_factory=list)

    def block(self) -> dict[str, Any] | None:
        return thinking_block(self.text.getvalue(), self.signature.getvalue(), _one_base64(self.redacted))


@dataclass(slots=True)
class _Image:
    """The pieces of an image."""

    format: str = "png"
    pieces: list[str] = field(default_factory=list)


class StreamDetails:
    """The details of one stream, by the indexes of their blocks; `kept` limits them."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._reasoning: dict[int, _Reasoning] = {}
        self._images: dict[int, _Image] = {}

    def reason(self, block: int, piece: ReasoningContentBlockDelta) -> None:
        """Keep a part of reasoning. Raises a 502 `ApiError` if the stream is too long."""
        reasoning = self._reasoning.get(block)
        if reasoning is None:
            reasoning = self._reasoning[block] = _Reasoning()
        if piece.signature:
            self._kept.add(len(piece.signature))
            reasoning.signature.write(piece.signature)
        if piece.redacted_content:
            self._kept.add(len(piece.redacted_content) + _PIECE)
            reasoning.redacted.append(piece.redacted_content)
        if piece.text:
            self._kept.add(len(piece.text))
            reasoning.text.write(piece.text)

    def end_reasoning(self, block: int) -> dict[str, Any] | None:
        """Return a block of reasoning, which is no detail any more. Raises `ConverseResponseError`."""
        reasoning = self._reasoning.pop(block, None)
        return None if reasoning is None else reasoning.block()

    def start_image(self, block: int, start: ImageBlockStart) -> None:
        """Begin an image. Raises a 502 `ApiError` if the stream is too long."""
        self._kept.add(len(start.format))
        self._images[block] = _Image(start.format)

    def draw(self, block: int, piece: ImageBlockDelta) -> None:
        """Keep a part of an image. Raises a 502 `ApiError` if the stream is too long."""
        if piece.source is None or not piece.source.bytes:
            return
        self._kept.add(len(piece.source.bytes) + _PIECE)
        self._images.setdefault(block, _Image()).pieces.append(piece.source.bytes)

    def members(self) -> dict[str, Any]:
        """Return the members of the message. Raises `ConverseResponseError` for pieces that are not base64."""
        details: dict[str, Any] = {}
        if blocks := [block for reasoning in self._reasoning.values() if (block := reasoning.block())]:
            details["thinking_blocks"] = blocks
        drawn = [(drawn.format, _one_base64(drawn.pieces)) for drawn in self._images.values()]
        if images := [image(kind, content) for kind, content in drawn if content]:
            details["images"] = images
        return details


def _one_base64(pieces: list[str]) -> str:
    """Join pieces of base64, each of which is complete by itself. Raises `ConverseResponseError`."""
    if len(pieces) < 2:
        return "".join(pieces)
    try:
        return b2a_base64(b"".join(map(a2b_base64, pieces)), newline=False).decode()
    except (Base64Error, ValueError) as error:
        raise ConverseResponseError(f"base64 in pieces: {error}") from error
