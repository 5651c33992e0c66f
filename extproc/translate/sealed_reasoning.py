"""A reasoning item's `encrypted_content`: a block of the model's reasoning, which only this deployment can have made.

Claude knows its own reasoning by a signature, and Bedrock rejects a request with another's. So a block travels to the
client and back inside of an authenticated text: `v1.` and, in base64, HMAC-SHA256 over the rest, and the rest, JSON
with the model's id and the block. What was changed, made with another key, or by another model is not opened. It is
not encrypted: the client may read its model's reasoning, of which it also gets the summary.

Several keys allow for rotation: the first seals, all of them open.

Decision: docs/decisions.md, D168.
"""

import hmac
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from extproc.openai.messages import RedactedThinkingBlock, ThinkingBlock

_VERSION = "v1."
_TAG = 32
"""Bytes of HMAC-SHA256."""


class _Sealed(msgspec.Struct):
    """The content of a sealed text."""

    model: str
    block: ThinkingBlock | RedactedThinkingBlock


_DECODER = msgspec.json.Decoder(_Sealed)


class ReasoningSeal:
    """Seals and opens blocks of reasoning."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys`: at least one; the first seals."""
        self._keys = keys

    def seal(self, block: Mapping[str, Any], model: str) -> str:
        """Return the text for a block, in the form of a chat message's `thinking_blocks`."""
        content = msgspec.json.encode({"model": model, "block": block})
        tag = hmac.digest(self._keys[0], content, sha256)
        return _VERSION + b2a_base64(tag + content, newline=False).decode()

    def open(self, text: str, model: str) -> ThinkingBlock | RedactedThinkingBlock | None:
        """Return the block, or None if it is not from this deployment and this model."""
        if not text.startswith(_VERSION):
            return None
        try:
            data = a2b_base64(text[len(_VERSION) :].encode("ascii"), strict_mode=True)
        except (Base64Error, UnicodeEncodeError):
            return None
        tag, content = data[:_TAG], data[_TAG:]
        if not any(hmac.compare_digest(hmac.digest(key, content, sha256), tag) for key in self._keys):
            return None
        try:
            sealed = _DECODER.decode(content)
        except (msgspec.MsgspecError, RecursionError):  # from another version, or from somebody who has the key
            return None
        return sealed.block if sealed.model == model else None
