"""Limits of a chat response of Bedrock's, whole or streamed, and the length that they count.

Decisions: docs/decisions.md, D310, D322.
"""

from typing import Final

from extproc.translate.errors import bad_response

MAX_RESPONSE_BYTES: Final = 8 << 20
"""Bytes of a Converse response: a model's longest text is below one MiB, its images may have some."""
MAX_WHOLE_TEXT: Final = 4 << 20
"""Bytes of text in a Converse response: 32 for each token of the longest output. Of one, a client may get ten."""
MAX_RESPONSE_BLOCKS: Final = 4_096
"""Content blocks of a Converse response: a block takes the event loop up to 4 µs."""

MAX_RESPONSE_CITATIONS: Final = 8_192
"""Citations of a Converse response: one takes the event loop up to 4 µs, and as little as 30 bytes."""

MAX_STREAM_BYTES: Final = 64 << 20
"""Bytes of a stream's events, texts or not: a token of the longest output takes some 300, with their padding."""

_BYTES_PER_TOKEN: Final = 128
"""Bytes of the longest token of the tokenisers that are public: blanks in a row."""

_MORE_TEXT: Final = 64 * 1024
"""Bytes of text that a stream may have beside those of its tokens: signatures, and what a guardrail writes."""


def longest_text(most_output: int) -> int:
    """Return how many bytes a model may write to a stream; `most_output` is its limit in tokens, 0 for none."""
    if not most_output:
        return MAX_RESPONSE_BYTES
    return min(_BYTES_PER_TOKEN * most_output + _MORE_TEXT, MAX_RESPONSE_BYTES)


def utf8_length(text: str) -> int:
    """Return the length of a text in UTF-8, where most scripts have about as many bytes for a token."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Kept:
    """A counter of what the translator of a stream keeps for a later chunk: no more than a whole response may have.

    Each method raises a 502 `ApiError` beyond that.
    """

    def __init__(self) -> None:
        self._size = 0
        self._blocks: set[int] = set()
        self._citations = 0

    def add(self, size: int) -> None:
        """Count `size` more bytes."""
        self._size += size
        if self._size > MAX_RESPONSE_BYTES:
            raise bad_response(f"more than {MAX_RESPONSE_BYTES:,} bytes before the end of the message")

    def citation(self, size: int) -> None:
        """Count one more citation, with texts of `size` bytes."""
        self._citations += 1
        if self._citations > MAX_RESPONSE_CITATIONS:
            raise bad_response(f"more than {MAX_RESPONSE_CITATIONS:,} citations")
        self.add(size)

    def block(self, index: int) -> None:
        """Count the block with this index, once."""
        self._blocks.add(index)
        if len(self._blocks) > MAX_RESPONSE_BLOCKS:
            raise bad_response(f"more than {MAX_RESPONSE_BLOCKS:,} content blocks")
