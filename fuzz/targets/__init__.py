"""The targets, by name. Each module has `check` (raises where its invariant does not hold), `seeds` and `WORDS`."""

import importlib
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

NAMES = ("eventstream", "http2", "requests", "schemas", "media", "ext_proc")


class Target(Protocol):
    """A module of this package."""

    WORDS: Sequence[bytes]
    """Tokens of the input's language, which mutation puts in."""

    def check(self, data: bytes) -> None:
        """Raise if the module under test breaks its invariant on this input."""

    def seeds(self) -> Iterator[bytes]:
        """Yield small inputs that reach far, the same on each run."""


def load(name: str) -> Target:
    """Return the target of this name, importing what it tests."""
    return cast(Target, importlib.import_module(f"fuzz.targets.{name}"))
