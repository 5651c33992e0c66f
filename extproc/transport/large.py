"""A large body, cut out of Envoy's message in place: protobuf would copy it, and its reader again.

Invariant: the body and what protobuf makes of the rest are what protobuf would have made of the whole; where that is
not certain, nothing is cut out.

Decision: docs/decisions.md, D47.
"""

from collections.abc import Iterator

from extproc.transport import encoding
from extproc.transport.encoding import field, tag

Message = bytes | bytearray
"""A message of Envoy's. One that came in pieces is a bytearray, which the receiver owns and may cut in place."""

REQUEST_BODY, BODY = tag(4), tag(1)
"""`ProcessingRequest.request_body`, `HttpBody.body`."""

Place = tuple[int, int, int]
"""A field's place: the index of its tag, of its content, and of its end."""


def take_body(message: bytearray) -> tuple[bytes, bytearray | None]:
    """Return the message without the content of its request body, and that content.

    Return the whole message and None unless there is just one body. The message becomes the body, and is not to be
    used any more.
    """
    try:
        [(outer, inner, end)] = _places(message, REQUEST_BODY[0], 0, len(message))
        [(before, start, stop)] = _places(message, BODY[0], inner, end)
    except ValueError:
        return bytes(message), None
    left = field(REQUEST_BODY, bytes(message[inner:before] + message[stop:end]))
    rest = bytes(message[:outer] + left + message[end:])
    del message[stop:], message[:start]  # moves nothing: the ends of a bytearray are cut off in place
    return rest, message


def _places(message: bytearray, wanted: int, start: int, end: int) -> Iterator[Place]:
    """Yield the fields with this tag among those from `start` to `end`. Raises `ValueError` on what is no message."""
    while start < end:
        number, at = _varint(message, start, end)
        match number & 7:
            case encoding.VARINT:
                _, stop = _varint(message, at, end)
            case encoding.FIXED64:
                stop = at + 8
            case encoding.BYTES:
                size, at = _varint(message, at, end)
                stop = at + size
            case encoding.FIXED32:
                stop = at + 4
            case _:
                raise ValueError("an unknown wire type")
        if stop > end:
            raise ValueError("a field is longer than its message")
        if number == wanted:
            yield start, at, stop
        start = stop


def _varint(message: bytearray, at: int, end: int) -> tuple[int, int]:
    """Return the number at `at`, and the index after it. Raises `ValueError` on one that no encoder writes."""
    number = shift = 0
    for position in range(at, min(end, at + 10)):
        byte = message[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte and shift:
                raise ValueError("a number longer than its shortest encoding")
            return number, position + 1
        shift += 7
    raise ValueError("a number without its end")
