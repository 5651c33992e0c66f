"""The kinds of treatment that a request's field gets: the rows of `chat_fields`, and some of `responses_fields`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from extproc.value import Value

Fields = Mapping[str, Any]
"""Fields of a request, as JSON."""


class Applied(Value, frozen=True):
    """A field that changes what is sent to Bedrock or what comes back, for one family at least."""

    sample: Fields
    without: Fields = MappingProxyType({})


class NotApplied(Value, frozen=True):
    """A field that changes nothing, and is named in `x-oai-ignored-params` unless its value is neutral."""

    sample: Fields
    neutral: tuple[Any, ...] = ()
    """Values that would change nothing anywhere; null is one for every field."""


class Rejected(Value, frozen=True):
    """A field whose loss would change the result: a 400, unless its value is neutral."""

    sample: Fields
    neutral: tuple[Any, ...] = ()
    message: str = ""
    """The error's message, where it is not only that the field is not supported."""


class Constant(Value, frozen=True):
    """A field that has one possible value, the kind of its object."""

    sample: Fields


class Implied(Value, frozen=True):
    """A field that asks for the default behaviour; it is reported as ignored where that is not possible."""

    sample: Fields
