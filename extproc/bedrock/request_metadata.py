"""Request metadata: pairs that AWS's invocation logs and its books of costs have of a call.

Converse takes them in its body, InvokeModel in a header, as JSON. A key has 1 to 256 characters and a value up to 256,
of letters, digits, blanks and `:_@$#=/+,.-`; there are `PAIRS` at most. Keys that begin with `OWN` are the gateway's.

Decision: docs/decisions.md, D184.

Source: botocore's service model of bedrock-runtime (RequestMetadata).
"""

import re
from typing import Final

PAIRS: Final = 16
"""Most pairs of a call."""

LONGEST: Final = 256
"""Characters of the longest key, and of the longest value."""

OWN: Final = "oai."
"""The beginning of the keys that the gateway sets, in any case."""

HEADER: Final = "x-amzn-bedrock-request-metadata"
"""InvokeModel's header."""

_PLAIN = re.compile(r"[a-zA-Z0-9 :_@$#/+,.-]*")
_CUT_ESCAPE = re.compile(r"=[0-9A-F]?\Z")


def is_own(key: str) -> bool:
    """Return whether a key is one of those that the gateway sets, or looks like one."""
    return key.lstrip()[: len(OWN)].lower() == OWN


def fitted(text: str) -> str:
    """Return a value for `text`: each byte that AWS does not take, and `=`, as in quoted-printable (`=C3=A9`), cut.

    Two texts have the same value only if their first `LONGEST` characters are the same.
    """
    if _PLAIN.fullmatch(text) is None:
        text = "".join(c if _PLAIN.fullmatch(c) else "".join(f"={byte:02X}" for byte in c.encode()) for c in text)
    return text if len(text) <= LONGEST else _CUT_ESCAPE.sub("", text[:LONGEST])
