"""The base of values: fields that never change, at the least cost.

A `msgspec.Struct` is made ten times faster than a frozen dataclass. This one is the base for those in packages that
are compiled (setup.py): mypyc drops the options of a class, and then `frozen=True` has to come from its base.
"""

import msgspec


class Value(msgspec.Struct, frozen=True):
    """A struct whose fields are set once; equal to another of the same kind and content."""
