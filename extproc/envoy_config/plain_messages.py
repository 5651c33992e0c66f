"""envoy-data-plane's messages, imported as plain dataclasses.

Its modules define pydantic's dataclasses: to build their validators is most of their import, and to build them again,
at a message's first use, half of a rendering. What they check is checked without them: the names and types of fields
by mypy, values where gateway.yaml is read, and all of it by Envoy. The tests render with the validators, too.

No other dataclasses become plain: only those of modules that this thread imports inside of the block.

Decision: docs/decisions.md, D274.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from betterproto2 import Message

_turn = threading.Lock()


@contextmanager
def plain_messages() -> Iterator[None]:
    """Have modules of messages that are imported in the block define plain dataclasses."""
    with _turn:
        _remember_types()
        try:
            from pydantic import dataclasses as validating
        except ImportError:  # then there are no validators
            yield
            return
        define = validating.dataclass
        _replace(validating, "dataclass", _plain)
        try:
            yield
        finally:
            _replace(validating, "dataclass", define)


def _plain(*, config: object = None, **options: bool) -> Callable[[type], type]:
    """Return a decorator as pydantic's, without its validators."""
    return dataclasses.dataclass(**options)


def _remember_types() -> None:
    """Look up the types of a message's fields once; betterproto2 evaluates all of them again for each of the fields."""
    with suppress(AttributeError, KeyError):  # a later version has other means
        look_up = vars(Message)["_type_hints"].__func__
        if not hasattr(look_up, "cache_info"):
            remembered = functools.lru_cache(4096)(look_up)
            _replace(Message, "_type_hints", classmethod(cast(Any, remembered)))


def _replace(owner: Any, name: str, value: object) -> None:
    setattr(owner, name, value)
