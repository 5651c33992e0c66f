"""A piece of a response's body, found in Envoy's message without protobuf: nearly all messages are one.

Envoy writes a `ProcessingRequest` with a `response_body` in one form: that field, in it the body and whether it is the
end, and behind it the metadata that it repeats in every message, which nobody reads there. Compiled, this takes a tenth
of protobuf's instructions. Whatever has another form is left to protobuf, also what is no message at all.

Invariant: what is found is what protobuf would have found.

Decision: docs/decisions.md, D320.
"""

from typing import Final

from extproc.transport.encoding import VARINT, read_varint, tag

_RESPONSE_BODY: Final = tag(5)[0]
_METADATA_CONTEXT: Final = tag(8)[0]
_BODY: Final = tag(1)[0]
_END_OF_STREAM: Final = tag(2, VARINT)[0]
"""Tags in `ProcessingRequest` and in `HttpBody`."""

_OTHER: Final = (0, 0, False)


def response_piece(message: bytes) -> tuple[int, int, bool]:
    """Return where the body begins and ends, and whether it is the last piece; zeros for a message of another form."""
    try:
        if message[0] != _RESPONSE_BODY:
            return _OTHER
        length, at = read_varint(message, 1)
        start = stop = at
        end = at + length
        if length and message[at] == _BODY:
            length, start = read_varint(message, at + 1)
            stop = start + length
        ended = stop + 2 == end and message[stop] == _END_OF_STREAM and message[stop + 1] == 1
        if not ended and stop != end:
            return _OTHER
        if end != len(message):
            if message[end] != _METADATA_CONTEXT:
                return _OTHER
            length, at = read_varint(message, end + 1)
            if at + length != len(message):
                return _OTHER
    except IndexError:
        return _OTHER
    return start, stop, ended
