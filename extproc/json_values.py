"""The structure of a JSON text, without decoding it: a bound on how many values it holds.

The text need not be JSON. All work is linear, done in C, and holds a part of the text at a time.
"""

from collections.abc import Iterator

_WINDOW = 1 << 18
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}:,")


def count_values(text: bytes | bytearray, most: int, counted: int = 0) -> int:
    """Return the number of values in a JSON text, and those `counted` before; some number above `most` beyond it."""
    values = counted + 1
    for structure in map(structure_of, outside_strings(text)):
        values += structure.count(b",") + structure.count(b"[") + structure.count(b"{")
        if values > most:
            break
    return values


def structure_of(outside: bytes) -> bytes:
    """Return the brackets, colons and commas of a text."""
    return outside.translate(None, _OTHERS)


def outside_strings(text: bytes | bytearray) -> Iterator[bytes]:
    """Yield what is outside of the strings of a JSON text.

    The text is split at its quotes in windows: the parts of all of it would take many times its memory.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    inside = 0
    for start in range(0, len(text), _WINDOW):
        parts = text[start : start + _WINDOW].split(b'"')
        yield b" ".join(parts[inside::2])
        inside = (inside + len(parts) - 1) % 2
