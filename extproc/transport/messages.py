"""Envoy's ext_proc messages: parsing requests, building responses. Functions without state.

Invariants: header values travel as `raw_value` (a plain `value` reaches the client empty) and as latin-1, so
that every byte a client can send has a character and comes back as the same byte; every header that is set
overwrites; a response whose body we write has its own `content-length` or none, never the upstream's, because
the filter runs with `allow_content_length_header` and a length left over cuts the body off.

Decision: docs/decisions.md, D294.
"""

import math
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from extproc.bedrock.sigv4 import Headers
from extproc.exchange.directives import Forward, Head, Metadata, Reply
from extproc.payload import LARGE, Payload, Segments, segments
from extproc.shared_names import AI_USAGE_NAMESPACE, MARK_HEADER, METADATA_NAMESPACE, SIGNED
from extproc.telemetry.token_usage import EnvoyTokenUsage
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.encoding import FIXED64, VARINT, field, heads, names, nested, own_name, tag, varint

FILTER = "envoy.filters.http.ext_proc"
"""The key under which Envoy sends the attributes that the filter asks for."""

CONTENT_LENGTH = "content-length"

# Fields of ProcessingResponse and of what is in it, by their numbers in proto/ext_proc.proto.
_PHASES = {
    "request_headers": tag(1),
    "response_headers": tag(2),
    "request_body": tag(3),
    "response_body": tag(4),
    "response_trailers": tag(6),
}
_IMMEDIATE, _DYNAMIC_METADATA = tag(7), tag(8)
_COMMON = tag(1)
_STATUS, _HEADER_MUTATION, _BODY_MUTATION = tag(1, VARINT), tag(2), tag(3)
_SET, _REMOVE = tag(1), tag(2)
_HEADER, _KEY, _RAW_VALUE = tag(1), tag(1), tag(3)
_OVERWRITE = tag(3, VARINT) + varint(pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
_CLEAR_ROUTE = tag(5, VARINT) + varint(True)
_REPLACE = _STATUS + varint(pb.CommonResponse.CONTINUE_AND_REPLACE)
_WHOLE_BODY = (_BODY_MUTATION, tag(1))
_STREAMED = (_PHASES["response_body"], _COMMON, _BODY_MUTATION, tag(3))
_PIECE, _PIECE_END = tag(1), tag(2, VARINT) + varint(True)
_HTTP_STATUS, _CODE = tag(1), tag(1, VARINT)
_IMMEDIATE_HEADERS, _IMMEDIATE_BODY, _DETAILS = tag(2), tag(3), tag(5)
_ENTRY, _NAME, _VALUE = tag(1), tag(1), tag(2)
_NUMBER, _STRING, _BOOL, _STRUCT = tag(2, FIXED64), tag(3), tag(4, VARINT), tag(5)
_OUR_NAMESPACE = field(_NAME, METADATA_NAMESPACE.encode())
_USAGE_NAMESPACE = field(_NAME, AI_USAGE_NAMESPACE.encode())

_VARYING = frozenset(
    {
        "authorization",
        CONTENT_LENGTH,
        "x-amz-date",
        "x-amz-security-token",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
        "x-request-id",
    }
)
"""Headers that are never cached: their values hardly ever come twice, or are secret."""

_SHORT = 32
"""Longest metadata value that is worth caching, in characters."""

_pack_double: Final = struct.Struct("<d").pack

_before_numbers: Final[dict[str, bytes]] = {}
"""What comes before the eight bytes of a number, by the field's name. Dicts, here and below: `lru_cache` costs five
times as much, and fields have names of the gateway's own, of which there are dozens."""
_before_values: Final[dict[str, list[bytes]]] = {}
"""What comes before a header's value, by the header's name and the length of the value, below `_USUAL_LENGTH`."""
_empty: Final[dict[str, bytes]] = {}
_zero: Final[dict[str, bytes]] = {}
_false: Final[dict[str, bytes]] = {}

_USUAL_LENGTH: Final = 64
"""Length of a header's value below which what comes before it is kept."""

_USUAL_SIZE: Final = 1024
"""Longest piece of a stream, and longest metadata, in bytes, whose beginnings are kept."""
_before_pieces: Final[dict[int, bytes]] = {}
"""What comes before a piece that is not the last, by its length."""
_before_structs: Final[dict[int, bytes]] = {}
"""What comes before the entries in our namespace, by their length: numbers have eight bytes each, so that the running
usage of a stream has the same beginning again and again."""

MAX_CACHED_VALUE: Final = 512
"""Longest header value that is worth caching, in characters."""

MAX_CACHED_NAMES: Final = 64
MAX_CACHED_CHARACTERS: Final = 2048
"""Largest list of header names that is worth caching: how many, and how many characters together."""


def parse_headers(headers: pb.HeaderMap) -> dict[str, str]:
    """Return the headers by lower-case name, the values of a repeated one joined with a comma (RFC 9110, 5.3)."""
    by_name: dict[str, str] = {}
    for header in headers.headers:
        value = header.raw_value.decode("latin-1") or header.value
        name = header.key
        by_name[name] = f"{by_name[name]},{value}" if name in by_name else value
    return by_name


def code_details(request: pb.ProcessingRequest) -> str:
    """Return `response.code_details`: why this response has its status; empty where Envoy sent none."""
    if FILTER not in request.attributes:
        return ""
    fields = request.attributes[FILTER].fields
    return fields["response.code_details"].string_value if "response.code_details" in fields else ""


def passed(phase: str, metadata: Metadata | None = None) -> bytes:
    """Build the response that leaves `phase` (`response_headers`, `response_trailers`) as it is."""
    return field(_PHASES[phase], b"") + _dynamic_metadata(metadata)


def stripped(remove: tuple[str, ...]) -> bytes:
    """Build the response to `request_headers` that removes some. A client sends the same ones with each request."""
    return _usually_stripped(remove) if _are_few(remove) else _stripped(remove)


def _stripped(remove: tuple[str, ...]) -> bytes:
    return nested((_PHASES["request_headers"], _COMMON), _mutation((), remove))


_usually_stripped = lru_cache(maxsize=256)(_stripped)


def forwarded(forward: Forward) -> Payload:
    """Build the response to a buffered request body: this request instead of the client's.

    It alone carries `signed: true` in the dynamic metadata, without which no route of Envoy's leads to Bedrock; and
    the header that stands for it where routes cannot match metadata. A request for another region carries that
    region's name instead, so that it matches the route to that region alone.
    """
    own = ((":path", forward.path), (":authority", forward.authority), (CONTENT_LENGTH, str(len(forward.body))))
    mark = ((MARK_HEADER, forward.region or SIGNED),) if forward.mark_by_header else ()
    mutation = _mutation((*own, *_without_length(forward.headers), *mark), ())
    if mark:
        mutation += _CLEAR_ROUTE
    before = mutation + heads(_WHOLE_BODY, len(forward.body))
    before = heads((_PHASES["request_body"], _COMMON), len(before) + len(forward.body)) + before
    signed = _entry(SIGNED, forward.region) if forward.region else _SIGNED
    return _around(before, forward.body, _dynamic_metadata(forward.metadata, signed))


def immediate(reply: Reply) -> Payload:
    """Build the `immediate_response` that ends a request phase. Envoy writes the content-length itself."""
    size = len(reply.body)
    status = nested((_HTTP_STATUS,), _CODE, varint(reply.status))
    headers = field(_IMMEDIATE_HEADERS, _mutations(_without_length(reply.headers), ()))
    before = b"".join((status, headers, _IMMEDIATE_BODY, varint(size)))
    details = field(_DETAILS, reply.details.encode())
    before = heads((_IMMEDIATE,), len(before) + size + len(details)) + before
    after = details + _told(reply)
    return _around(before, reply.body, after)


def head(head: Head) -> bytes:
    """Build status and headers of a response whose body streams; it has a `content-length` only if `head` has one."""
    mutation = _mutation(((":status", str(head.status)), *head.headers), (*head.remove, CONTENT_LENGTH))
    return nested((_PHASES["response_headers"], _COMMON), mutation) + _dynamic_metadata(head.metadata)


def replaced_head(reply: Reply) -> bytes:
    """Build status and headers of a whole response; its body follows in one streamed piece."""
    return nested((_PHASES["response_headers"], _COMMON), _replacement(reply)) + _told(reply)


def replaced_whole(reply: Reply) -> Payload:
    """Build a whole response in place of one that has headers only (`CONTINUE_AND_REPLACE`)."""
    body = heads(_WHOLE_BODY, len(reply.body))
    before = b"".join((_REPLACE, _replacement(reply), body))
    before = heads((_PHASES["response_headers"], _COMMON), len(before) + len(reply.body)) + before
    return _around(before, reply.body, _told(reply))


def streamed(
    data: Payload, end_of_stream: bool, metadata: Metadata | None = None, usage: EnvoyTokenUsage | None = None
) -> Payload:
    """Build a piece of a response's body."""
    after = _dynamic_metadata(metadata) if usage is None else _dynamic_metadata(metadata) + _token_usage(usage)
    if not end_of_stream:
        return _around(_before_piece(len(data)), data, after)
    piece = _PIECE + varint(len(data))
    before = heads(_STREAMED, len(piece) + len(data) + len(_PIECE_END)) + piece
    return _around(before, data, _PIECE_END + after)


def more_time(seconds: float) -> bytes:
    """Build the response that extends Envoy's timeout to `seconds` from now (whole milliseconds, rounded up)."""
    response = pb.ProcessingResponse()
    response.override_message_timeout.FromMilliseconds(math.ceil(seconds * 1000))
    return response.SerializeToString()


def _around(before: bytes, body: Payload, after: bytes) -> Payload:
    """Return a message around a body, which is copied only if it is small."""
    if type(body) is bytes and len(body) < LARGE:
        return b"".join((before, body, after))
    return Segments((before, *segments(body), after))


def _before_piece(size: int) -> bytes:
    """Encode what comes before a piece of this size: pieces of one stream are about equally long."""
    before = _before_pieces.get(size)
    if before is None:
        before = heads((*_STREAMED, _PIECE), size)
        if size <= _USUAL_SIZE:
            _before_pieces[size] = before
    return before


def _replacement(reply: Reply) -> bytes:
    own = ((":status", str(reply.status)), (CONTENT_LENGTH, str(len(reply.body))))
    return _mutation((*own, *_without_length(reply.headers)), reply.remove)


def _without_length(headers: Headers) -> Headers:
    """Drop `content-length`: the length of a whole body is counted here."""
    return tuple(item for item in headers if item[0] != CONTENT_LENGTH)


def _mutation(headers: Headers, remove: Iterable[str]) -> bytes:
    """Encode `CommonResponse.header_mutation`."""
    return field(_HEADER_MUTATION, _mutations(headers, remove))


def _mutations(headers: Headers, remove: Iterable[str]) -> bytes:
    """Set `headers` and remove the rest of `remove`: Envoy removes first, other data planes may not."""
    options = [
        _option(name, value) if name in _VARYING or len(value) > MAX_CACHED_VALUE else _usual(name, value)
        for name, value in headers
    ]
    listed = tuple(remove)
    if listed:
        removed = _usually_removed if _are_few(listed) else _removed
        options.append(removed(listed, tuple([name for name, _ in headers])))
    return b"".join(options)


def _removed(remove: tuple[str, ...], kept: tuple[str, ...]) -> bytes:
    """Encode `remove_headers`. Envoy never removes `host`: an upstream's is overwritten with an empty one."""
    removed = [name for name in dict.fromkeys(remove) if name not in kept]
    if "host" not in removed:
        return names(_REMOVE, tuple(removed))
    removed.remove("host")
    return _option("host", "") + names(_REMOVE, tuple(removed))


def _are_few(names_of_headers: tuple[str, ...]) -> bool:
    """Return whether these names are few and short: what is cached is bounded in bytes, too."""
    return len(names_of_headers) <= MAX_CACHED_NAMES and len("".join(names_of_headers)) <= MAX_CACHED_CHARACTERS


_usually_removed = lru_cache(maxsize=256)(_removed)


def _option(name: str, value: str) -> bytes:
    """Encode one of `set_headers`."""
    raw = value.encode("latin-1", "replace")
    length = len(raw)
    if length >= _USUAL_LENGTH:
        return _before_value(name, length) + raw + _OVERWRITE
    before = _before_values.get(name)
    if before is None:
        before = _before_values[name] = [_before_value(name, each) for each in range(_USUAL_LENGTH)]
    return before[length] + raw + _OVERWRITE


def _before_value(name: str, length: int) -> bytes:
    """Encode what comes before a value of this length."""
    key = own_name(_KEY, name) + _RAW_VALUE + varint(length)
    header = varint(len(key) + length)
    option = varint(1 + len(header) + len(key) + length + len(_OVERWRITE))
    return b"".join((_SET, option, _HEADER, header, key))


_usual = lru_cache(maxsize=1024)(_option)


def _dynamic_metadata(metadata: Metadata | None, first: bytes = b"") -> bytes:
    """Encode `dynamic_metadata`, a Struct in a Struct (or nothing); `first` are entries before those of `metadata`."""
    if not metadata and not first:
        return b""
    entries = first + _entries(metadata or {})
    return _before_struct(len(entries)) + entries


def _before_struct(size: int) -> bytes:
    """Encode what comes before entries of this size in our namespace."""
    before = _before_structs.get(size)
    if before is None:
        inner = _OUR_NAMESPACE + heads((_VALUE, _STRUCT), size)
        before = heads((_DYNAMIC_METADATA, _ENTRY), len(inner) + size) + inner
        if size <= _USUAL_SIZE:
            _before_structs[size] = before
    return before


def _told(reply: Reply) -> bytes:
    """Encode what a reply tells Envoy of its call. A repeated `dynamic_metadata` adds to the first."""
    metadata = _dynamic_metadata(reply.metadata)
    return metadata if reply.usage is None else metadata + _token_usage(reply.usage)


def _token_usage(usage: EnvoyTokenUsage) -> bytes:
    """Encode one more `dynamic_metadata`, with the tokens in Envoy's own namespace."""
    entries = _entries(usage.fields)
    for name, details in (("input_token_details", usage.input_details), ("output_token_details", usage.output_details)):
        inner = _entries(details)
        entries += nested((_ENTRY,), own_name(_NAME, name), heads((_VALUE, _STRUCT), len(inner)), inner)
    return nested((_DYNAMIC_METADATA, _ENTRY), _USAGE_NAMESPACE, heads((_VALUE, _STRUCT), len(entries)), entries)


def _entries(values: Metadata) -> bytes:
    return b"".join([_any_entry(name, value) for name, value in values.items()])


def _any_entry(name: str, value: str | int | bool) -> bytes:
    """Encode one field of a Struct, from a cache where it may well come again: a count of tokens does not."""
    if not value:
        return _unset(name, value)
    if type(value) is int:
        before = _before_numbers.get(name)
        if before is None:
            before = _before_numbers[name] = _entry(name, 1)[:-8]
        return before + _pack_double(value)
    return _entry(name, value) if type(value) is str and len(value) > _SHORT else _usual_entry(name, value)


def _unset(name: str, value: str | int | bool) -> bytes:
    """Encode a field that is empty, 0 or false, as half of those are that Envoy is told of first."""
    known = _empty if type(value) is str else _zero if type(value) is int else _false
    encoded = known.get(name)
    if encoded is None:
        encoded = known[name] = _entry(name, value)
    return encoded


def _entry(name: str, value: str | int | bool) -> bytes:
    """Encode one field of a Struct. Numbers become doubles (it has no other): whole up to 2**53."""
    if isinstance(value, bool):
        encoded = _BOOL + varint(value)
    elif isinstance(value, int):
        encoded = _NUMBER + _pack_double(value)
    else:
        encoded = field(_STRING, value.encode("utf-8", "replace"))
    key = own_name(_NAME, name)
    length = varint(len(encoded))
    return b"".join((_ENTRY, varint(len(key) + 1 + len(length) + len(encoded)), key, _VALUE, length, encoded))


_usual_entry = lru_cache(maxsize=1024, typed=True)(_entry)

_SIGNED: Final = _entry(SIGNED, True)
