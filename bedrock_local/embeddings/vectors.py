"""Vectors that depend on the text alone: equal texts have equal vectors, different texts practically never.

SHAKE-256 of the text gives four bytes per dimension, so a shorter vector is the beginning of a longer one, scaled to
unit length again. They do not depend on a text's meaning.
"""

import hashlib
import math
import struct


def unit(text: str, dimensions: int) -> list[float]:
    """Return a vector of unit length with this number of dimensions."""
    raw = _raw(text, dimensions)
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def unscaled(text: str, dimensions: int) -> list[float]:
    """Return the same direction without normalisation."""
    return _raw(text, dimensions)


def quantised(vector: list[float], kind: str) -> list[float] | list[int]:
    """Return a vector as `float`, `int8`, `uint8`, `binary` or `ubinary` (eight signs packed into a byte)."""
    if kind == "float":
        return vector
    if kind in ("int8", "uint8"):
        shift = 128 if kind == "uint8" else 0
        return [round(value * 127) + shift for value in vector]
    packed = [_byte(vector[start : start + 8]) for start in range(0, len(vector), 8)]
    return packed if kind == "ubinary" else [byte - 128 for byte in packed]


def signs(vector: list[float]) -> list[int]:
    """Return one bit per dimension, as Titan's `binary`."""
    return [int(value > 0) for value in vector]


def _raw(text: str, dimensions: int) -> list[float]:
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    return [number / 2**31 for number in struct.unpack(f"!{dimensions}i", digest)]


def _byte(values: list[float]) -> int:
    return sum((value > 0) << (7 - place) for place, value in enumerate(values))
