"""Seals, by which a model recognises its own reasoning in the history.

A seal is 48 bytes: a digest of the reasoning, a digest of the conversation before it (the prefix), and a code over both
and the shown text. Seals are not stored: the key is enough to verify that one was made here, for this text. The key is
no secret; it only keeps a test from passing with an invented signature.

The `signature` of a reasoningText is a seal in base64; a redactedContent is a seal.
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

_KEY = b"bedrock_local"
_SIZE = 16

#: The shown text of a redacted block.
_REDACTED = "\0redacted"


def signature(shown: str, reasoning: str, prefix: bytes) -> str:
    """Return the signature of reasoning of which `shown` is shown (they differ if the model hides its reasoning)."""
    return base64.b64encode(_seal(shown, reasoning, prefix)).decode()


def redacted(reasoning: str, prefix: bytes) -> bytes:
    """Return the redactedContent of a reasoning."""
    return _seal(_REDACTED, reasoning, prefix)


def signed_after(shown: str, sealed: str) -> bytes | None:
    """Return the prefix that a signature was made for, or None if it was not made here for this text."""
    try:
        return _opened(shown, base64.b64decode(sealed, validate=True))
    except (binascii.Error, ValueError):
        return None


def redacted_after(sealed: bytes) -> bytes | None:
    """Return the prefix that a redactedContent was made for, or None if it was not made here."""
    return _opened(_REDACTED, sealed)


def prefix(request: dict[str, Any], turns: int) -> bytes:
    """Return a digest of the conversation before a reasoning block: system, tools and `turns`, without cache points."""
    tools = request.get("toolConfig", {}).get("tools", [])
    whole = _uncached([request.get("system", []), tools, request["messages"][:turns]])
    return _digest(json.dumps(whole, sort_keys=True, default=bytes.hex).encode())


def _seal(shown: str, reasoning: str, prefix: bytes) -> bytes:
    body = _digest(reasoning.encode()) + prefix
    return body + _code(body, shown)


def _opened(shown: str, seal: bytes) -> bytes | None:
    body, code = seal[: 2 * _SIZE], seal[2 * _SIZE :]
    return body[_SIZE:] if hmac.compare_digest(_code(body, shown), code) else None


def _code(body: bytes, shown: str) -> bytes:
    return hmac.digest(_KEY, body + shown.encode(), "sha256")[:_SIZE]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_SIZE]


def _uncached(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _uncached(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_uncached(item) for item in value if not (isinstance(item, dict) and "cachePoint" in item)]
    return value
