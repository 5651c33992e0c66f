"""Field sections: HPACK in, with what HTTP/2 forbids rejected; and the few that a gRPC server sends, as bytes.

Our SETTINGS tell the peer not to compress with a dynamic table (SETTINGS_HEADER_TABLE_SIZE 0). Once it has agreed, a
block means the same whenever it comes, and Envoy sends nearly the same block for every stream: it is decoded once and
then cached by its bytes. Until then, and for every peer that has not agreed, a real decoder keeps the table.

Blocks that we send are written without any table, so that a block can be a constant.
"""

import re
from typing import NamedTuple

from hpack import Decoder, HPACKError, OversizedHeaderListError

from extproc.transport.http2.frames import ErrorCode, Http2ConnectionError

MAX_LIST_BYTES = 65_536
"""Largest list of fields, counted as SETTINGS_MAX_HEADER_LIST_SIZE does."""

MAX_KNOWN = 256
"""Number of different blocks that are cached; with more, the peer sends none twice and a cache is no use."""

MAX_KNOWN_BYTES = 1024
"""Longest block that is cached: Envoy's own have some hundred bytes, without what a caller put into its headers."""

_NAME = re.compile(rb"[\x21-\x39\x3b-\x40\x5b-\x7e]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_OF_THE_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_REQUIRED = (b":method", b":scheme", b":path")


class MalformedError(Exception):
    """A field section that HTTP/2 forbids (RFC 9113, section 8.1.1): a stream error."""


class RequestFields(NamedTuple):
    """The fields of a request that a gRPC server needs; empty where there was no such field."""

    method: bytes
    path: bytes
    content_type: bytes
    encoding: bytes
    length: int | None
    """`content-length`, None if the request has none."""


class Reader:
    """A decoder of the blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_LIST_BYTES)
        self._known: dict[bytes, RequestFields] = {}
        self._tableless = False

    def forbid_table(self) -> None:
        """Limit the dynamic table to size 0: the peer has agreed."""
        self._decoder.max_allowed_table_size = 0

    def request(self, block: bytes) -> RequestFields:
        """Return the fields that open a stream. Raises `MalformedError`, or `Http2ConnectionError` on bad HPACK."""
        known = self._known.get(block)
        if known is not None:
            return known
        request = _request(self._decode(block))
        if self._tableless and len(self._known) < MAX_KNOWN and len(block) <= MAX_KNOWN_BYTES:
            self._known[block] = request
        return request

    def trailers(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Return the fields that end a stream, for `check_trailers`. Raises `Http2ConnectionError` on bad HPACK."""
        return self._decode(block)

    def _decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        decoder = self._decoder
        try:
            fields = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
        except OversizedHeaderListError as excess:
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many header fields") from excess
        except HPACKError as error:
            raise Http2ConnectionError(ErrorCode.COMPRESSION_ERROR, "not HPACK") from error
        self._tableless = decoder.max_allowed_table_size == decoder.header_table_size == 0
        return fields


def _request(fields: list[tuple[bytes, bytes]]) -> RequestFields:
    """Check the pseudo-headers: each once and before all other fields (RFC 9113, section 8.3.1)."""
    pseudo: dict[bytes, bytes] = {}
    plain: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            _check(name, value)
            plain[name] = value
        elif plain or name in pseudo or name not in _PSEUDO or _BAD_VALUE.search(value):
            raise MalformedError(f"the pseudo-header {name!r} is unknown, repeated, or after other fields")
        else:
            pseudo[name] = value
    if not all(pseudo.get(name) for name in _REQUIRED):
        raise MalformedError("a pseudo-header is missing")
    length = plain.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 20):
        raise MalformedError("content-length is no number")
    return RequestFields(
        pseudo[b":method"],
        pseudo[b":path"],
        plain.get(b"content-type", b""),
        plain.get(b"grpc-encoding", b""),
        None if length is None else int(length),
    )


def check_trailers(fields: list[tuple[bytes, bytes]]) -> None:
    """Reject what may not be in trailers: pseudo-headers (section 8.1), and fields that section 8.2 forbids."""
    for name, value in fields:
        _check(name, value)


def _check(name: bytes, value: bytes) -> None:
    """Check the characters of a name and value (section 8.2.1), and reject fields of HTTP/1.1 (8.2.2)."""
    if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
        raise MalformedError(f"the field {name!r} has a character that is not allowed")
    if name in _OF_THE_CONNECTION or (name == b"te" and value != b"trailers"):
        raise MalformedError(f"the field {name!r} belongs to HTTP/1.1")


def block(*fields: tuple[str, str]) -> bytes:
    """Encode a header block, each field a literal with a literal name (RFC 7541, section 6.2.2)."""
    return b"".join(b"\0" + _string(name.encode()) + _string(value.encode("latin-1")) for name, value in fields)


def _string(text: bytes) -> bytes:
    """Encode a string without Huffman's code (section 5.2); the length has a prefix of 7 bits (section 5.1)."""
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    size -= 127
    length = [127]
    while size >= 128:
        length.append(size % 128 + 128)
        size //= 128
    return bytes([*length, size]) + text
