"""What requests may use, as `features` of an organisation and of a token name it.

A request is compared with the features that its caller may not use, one bit each: where nobody has written `features`,
there is none of these, and nothing is compared.

Invariant: a token's features never add to its organisation's.

Decision: docs/decisions.md, D222.
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from msgspec import Meta

FeatureName = Literal[
    "tools",
    "web_search",
    "images",
    "documents",
    "audio",
    "video",
    "fetch",
    "s3",
    "reasoning",
    "structured_output",
    "model_fields",
    "responses",
]

NAMES: tuple[str, ...] = get_args(FeatureName)

Feature = Annotated[FeatureName, Meta(description=f"{', '.join(f'`{name}`' for name in NAMES[:-1])} or `{NAMES[-1]}`")]

BITS = MappingProxyType({name: 1 << position for position, name in enumerate(NAMES)})
"""The bit of each feature."""

EVERY = (1 << len(NAMES)) - 1
"""The bits of all features."""


def denied(*permitted: Sequence[str] | None) -> int:
    """Return the bits of the features that any of the lists leaves out; None leaves out nothing."""
    bits = 0
    for names in permitted:
        if names is not None:
            left_out = EVERY
            for name in names:
                left_out &= ~BITS[name]
            bits |= left_out
    return bits
