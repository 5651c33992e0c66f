"""The parts of a streamed message that clients read from one chunk only: `thinking_blocks` and `images`."""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from typing import Any

from extproc.bedrock.converse_response import (
    ConverseResponseError,
    ImageBlockDelta,
    ImageBlockStart,
    ReasoningContentBlockDelta,
)
from extproc.openai.completion import image
from extproc.translate.errors import bad_response
from extproc.translate.response_fields import thinking_block
from extproc.translate.response_limits import MAX_RESPONSE_BYTES


@dataclass(slots=True)
class _Reasoning:
    """The pieces of a block of reasoning."""

    text: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    redacted: list[str] = field(default_factory=list)

    def block(self) -> dict[str, Any] | None:
        return thinking_block("".join(self.text), "".join(self.signature), _one_base64(self.redacted))


@dataclass(slots=True)
class _Image:
    """The pieces of an image."""

    format: str = "png"
    pieces: list[str] = field(default_factory=list)


class StreamDetails:
    """The details of one stream, by the indexes of their blocks."""

    def __init__(self) -> None:
        self._reasoning: dict[int, _Reasoning] = {}
        self._images: dict[int, _Image] = {}
        self._image_size = 0

    def reason(self, block: int, piece: ReasoningContentBlockDelta) -> None:
        """Keep a part of reasoning."""
        reasoning = self._reasoning.get(block)
        if reasoning is None:
            reasoning = self._reasoning[block] = _Reasoning()
        if piece.signature:
            reasoning.signature.append(piece.signature)
        if piece.redacted_content:
            reasoning.redacted.append(piece.redacted_content)
        if piece.text:
            reasoning.text.append(piece.text)

    def start_image(self, block: int, start: ImageBlockStart) -> None:
        """Begin an image."""
        self._images[block] = _Image(start.format)

    def draw(self, block: int, piece: ImageBlockDelta) -> None:
        """Keep a part of an image. Raises a 502 `ApiError` if a message's images are too long."""
        if piece.source is None or not piece.source.bytes:
            return
        self._image_size += len(piece.source.bytes)
        if self._image_size > MAX_RESPONSE_BYTES:
            raise bad_response(f"images of more than {MAX_RESPONSE_BYTES:,} bytes")
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
