"""The form of model ids: strings of any other form name no model.

AWS's service model has a pattern for `modelId` (`model_ids.json` holds it, with its source). A string that it forbids
names no model. The pattern is wide: it lets `..` through, and any character within an ARN's partition. `is_model_id`
therefore also asks for ASCII letters, digits, `.`, `_`, `:`, `/` and `-`, one at the start and the end that is a letter
or digit, and no two dots in a row; and what begins with `arn:` has to name one of AWS's partitions and a resource.

Invariant: an id that passes has the same meaning before and after any percent-decoding, Unicode normalisation, trimming
of blanks or removal of dot segments.

Decision: docs/decisions.md, D326.
"""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Final

import msgspec
from msgspec import Struct


class _Patterns(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of model_ids.json. Each operation has its pattern; both match the same ids."""

    source: str
    max_length: int
    converse: str
    invoke: str


AWS = msgspec.json.decode((files("extproc.bedrock") / "model_ids.json").read_bytes(), type=_Patterns)

MAX_LENGTH = AWS.max_length
"""Longest id that AWS takes, in characters."""

LONGEST_REMEMBERED: Final = 128
"""Longest id that is worth caching, in characters: AWS's own have up to about 105, in the ARN of a system profile."""

PARTITIONS: Final = (
    ("us-gov-", "aws-us-gov"),
    ("cn-", "aws-cn"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
    ("", "aws"),
)
"""Start of a region's name -> its partition, the second part of the ARNs in it. The first row that matches counts."""

ANY_PARTITION: Final = "|".join(name for _, name in PARTITIONS)
"""A regular expression of the partitions."""

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_:/-]|\.(?!\.))*(?<![._:/-])")
_AWS = re.compile(AWS.converse)
_ARN = re.compile(rf"arn:(?:{ANY_PARTITION}):[^/]+/.+")


def partition(region: str) -> str:
    """Return the partition of AWS that a region belongs to."""
    return next(name for start, name in PARTITIONS if region.startswith(start))


def is_model_id(text: str) -> bool:
    """Return whether `text` has the form of a model's id or ARN, whether or not the model exists."""
    return _remembered(text) if len(text) <= LONGEST_REMEMBERED else _matches(text)


def _matches(text: str) -> bool:
    if len(text) > MAX_LENGTH or _PLAIN.fullmatch(text) is None or _AWS.fullmatch(text) is None:
        return False
    return text[:4].lower() != "arn:" or _ARN.fullmatch(text) is not None


_remembered = lru_cache(maxsize=1024)(_matches)
