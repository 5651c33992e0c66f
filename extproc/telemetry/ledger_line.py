"""Decode a line of the ledger as Envoy writes it: numbers have the shortest form of a double, 100000 is `1e+05`."""

from typing import Final, Generic, TypeVar

import msgspec

Line = TypeVar("Line")


def _whole(literal: str) -> int | float:
    number = float(literal)
    return int(number) if number.is_integer() else number


BEGINNING: Final = b'{"bedrock_model":'
"""The beginning of each line. No value contains it, because quotes are escaped in values."""

_UNTYPED: Final = msgspec.json.Decoder(float_hook=_whole)


class LineDecoder(Generic[Line]):
    """A decoder of lines of JSON to a struct, whose integers may stand as `1e+05` or `2.0`."""

    def __init__(self, line: type[Line]) -> None:
        self._line = line
        self._decoder = msgspec.json.Decoder(line)

    def decode(self, text: bytes) -> Line:
        """Return the struct. Raises `msgspec.DecodeError` and `UnicodeDecodeError` for what is no such line."""
        try:
            return self._typed(text)
        except RecursionError:
            raise msgspec.DecodeError("nested too deeply") from None

    def _typed(self, text: bytes) -> Line:
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError:  # few lines have such a number, and without the struct's types it takes longer
            return msgspec.convert(_UNTYPED.decode(text), self._line)

    def rest(self, text: bytes) -> Line | None:
        """Return the record at the end of a line that is none, if there is one.

        Of a line that finds no room on the disk, a part may be written, and the next one then follows that.
        """
        at = text.rfind(BEGINNING)
        if at <= 0:
            return None
        try:
            return self.decode(text[at:])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
