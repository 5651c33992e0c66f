"""Envoy's messages with headers, read without protobuf: of a request and of a response.

Envoy writes such a `ProcessingRequest` in one form: first the headers, each a name and a value, and whether they are
all; behind them what other filters wrote, attributes, and the modes of the filter. To read a header by protobuf takes
four times as many instructions as by hand. What is behind the headers is read by protobuf, and kept by its bytes,
because it is the same for nearly all requests. Whatever has another form is left to protobuf, also what is no message.

Invariant: what is read is what protobuf would have read.

Decision: docs/decisions.md, D320.
"""

from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from extproc.transport import ext_proc_pb2 as pb
from extproc.transport import messages
from extproc.transport.encoding import VARINT, read_varint, tag

_REQUEST_HEADERS: Final = tag(2)[0]
_RESPONSE_HEADERS: Final = tag(3)[0]
_NO_METADATA: Final = tag(8) + b"\0"
_HEADERS: Final = tag(1)[0]
_ENDED: Final = tag(3, VARINT) + b"\1"
_HEADER: Final = tag(1)[0]
_KEY: Final = tag(1)[0]
_RAW_VALUE: Final = tag(3)[0]
"""Tags in `ProcessingRequest`, in `HttpHeaders`, in `HeaderMap` and in `HeaderValue`."""

_LONGEST_REST: Final = 512
"""Bytes behind the headers that are worth keeping: the modes take 6, the reason of a response about 80."""


class Rest:
    """The fields of a message beside its headers. `metadata_context` is a Metadata, encoded."""

    def __init__(self, request: pb.ProcessingRequest) -> None:
        self.details: str = messages.code_details(request)
        self.metadata_context: bytes = request.metadata_context
        self.fault = modes_fault(request)
        """Why the modes of the filter, which a stream's first message has, are others than ours; else empty."""


class HeadersMessage:
    """The headers of a request, or of a response, by lower-case names; `end_of_stream` when no body follows."""

    __slots__ = ("end_of_stream", "headers", "is_response", "rest")

    def __init__(self, is_response: bool, headers: dict[str, str], end_of_stream: bool, rest: Rest) -> None:
        self.is_response = is_response
        self.headers = headers
        self.end_of_stream = end_of_stream
        self.rest = rest


def headers_message(message: bytes) -> HeadersMessage | None:
    """Return what Envoy's message has; None where it has another form than the usual one of messages with headers."""
    try:
        kind = message[0]
        if kind != _REQUEST_HEADERS and kind != _RESPONSE_HEADERS:
            return None
        length, at = read_varint(message, 1)
        end = at + length
        if message[at] != _HEADERS:
            return None
        length, at = read_varint(message, at + 1)
        stop = at + length
        if not stop <= end <= len(message):  # before any slice: compiled, one that ends before it begins is an error
            return None
        headers, ended = _headers(message, at, stop), message[stop:end]
        if headers is None or (ended and ended != _ENDED):
            return None
        rest = _rest_of(message[end:])
    except (IndexError, UnicodeDecodeError, DecodeError):
        return None
    return None if rest is None else HeadersMessage(kind == _RESPONSE_HEADERS, headers, bool(ended), rest)


def message_of(request: pb.ProcessingRequest, headers: pb.HttpHeaders, is_response: bool) -> HeadersMessage:
    """Return the same of a message that protobuf has read."""
    return HeadersMessage(is_response, messages.parse_headers(headers.headers), headers.end_of_stream, Rest(request))


def _headers(message: bytes, at: int, end: int) -> dict[str, str] | None:
    """Return the headers between `at` and `end`, the values of a repeated one joined with a comma (RFC 9110, 5.3)."""
    by_name: dict[str, str] = {}
    while at < end:
        if message[at] != _HEADER:
            return None
        length, at = read_varint(message, at + 1)
        stop = at + length
        if message[at] != _KEY:
            return None
        length, at = read_varint(message, at + 1)
        name = message[at : at + length].decode()
        at += length
        value = ""
        if at < stop:
            if message[at] != _RAW_VALUE:
                return None
            length, at = read_varint(message, at + 1)
            value = message[at : at + length].decode("latin-1")
            at += length
        if at != stop:
            return None
        by_name[name] = f"{by_name[name]},{value}" if name in by_name else value
    return by_name if at == end else None


def _rest_of(data: bytes) -> Rest | None:
    """Return what is behind the headers; None where there is a second event. What callers bring is not kept."""
    if len(data) <= _LONGEST_REST and data.startswith(_NO_METADATA):
        return _usual_rest(data)
    return _parsed_rest(data)


def _parsed_rest(data: bytes) -> Rest | None:
    request = pb.ProcessingRequest.FromString(data)
    return None if request.WhichOneof("request") else Rest(request)


_usual_rest = lru_cache(maxsize=64)(_parsed_rest)


def modes_fault(request: pb.ProcessingRequest) -> str:
    """Return why responses would be misread: the filter has other modes than ours."""
    if request.observability_mode:
        return "the filter has observability_mode set: Envoy reads no responses; remove it"
    if not request.HasField("protocol_config"):
        return ""
    config = request.protocol_config
    if (config.request_body_mode, config.response_body_mode) == (pb.BUFFERED, pb.FULL_DUPLEX_STREAMED):
        return ""
    return (
        f"the filter's request_body_mode is {_mode(config.request_body_mode)}, set it to BUFFERED; "
        f"its response_body_mode is {_mode(config.response_body_mode)}, set it to FULL_DUPLEX_STREAMED"
    )


def _mode(number: int) -> str:
    """Return a mode's name; its number where it is newer than our definition."""
    return next((name for name, known in pb.BodySendMode.items() if known == number), str(number))
