"""What a value is made of: fields that never change, at the least cost.

A `msgspec.Struct` is made ten times faster than a frozen dataclass. This one is the base for those in rooms that
are compiled (setup.py): mypyc drops the options of a class, and then `frozen=True` has to come from its base.
"""

import msgspec


class Value(msgspec.Struct, frozen=True):
    """Fields that are set once; equal to another of the same kind and content."""
