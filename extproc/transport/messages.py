"""Envoy's ext_proc messages: reading what it sends, building what it is told. Functions without state.

Invariants: header values travel as `raw_value` (a plain `value` reaches the client empty) and as latin-1, so
that every byte a client can send has a character and comes back as the same byte; every header that is set
overwrites; an answer whose body we write has its own `content-length` or none, never the upstream's, because
the filter runs with `allow_content_length_header` and a length left over cuts the body off.
"""

import math
from collections.abc import Iterable, Mapping

from extproc.exchange.directives import Forward, Head, Headers, Metadata, Reply
from extproc.transport import ext_proc_pb2 as pb

NAMESPACE = "oai"
"""The dynamic metadata namespace; the filter's `receiving_namespaces` must list it."""

FILTER = "envoy.filters.http.ext_proc"
"""The key under which Envoy sends the attributes that the filter asks for."""

OVERWRITE = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
CONTENT_LENGTH = "content-length"


def headers_of(headers: pb.HeaderMap) -> dict[str, str]:
    """The headers by lower-case name, the values of a repeated one joined with a comma (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for header in headers.headers:
        value = header.raw_value.decode("latin-1") or header.value
        name = header.key
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def details_of(request: pb.ProcessingRequest) -> str:
    """Envoy's word for why this answer is what it is (`response.code_details`), empty where it sent none."""
    if FILTER not in request.attributes:
        return ""
    fields = request.attributes[FILTER].fields
    return fields["response.code_details"].string_value if "response.code_details" in fields else ""


def passed(phase: str, metadata: Metadata | None = None) -> bytes:
    """`phase` (`request_headers`, `response_headers`, `request_trailers`, `response_trailers`) as it is."""
    response = pb.ProcessingResponse()
    getattr(response, phase).SetInParent()
    return _finished(response, metadata)


def forwarded(forward: Forward) -> bytes:
    """The answer to a buffered request body: this request instead of the client's."""
    response = pb.ProcessingResponse()
    common = response.request_body.response
    own = [(":path", forward.path), (":authority", forward.authority)]
    length = (CONTENT_LENGTH, str(len(forward.body)))
    _mutate(common.header_mutation, [*own, length, *_without_length(forward.headers)], forward.remove)
    common.body_mutation.body = forward.body
    return _finished(response, forward.metadata)


def immediate(reply: Reply) -> bytes:
    """The answer that ends a request phase. Envoy writes the content-length itself."""
    response = pb.ProcessingResponse()
    answer = response.immediate_response
    answer.status.code = reply.status
    _mutate(answer.headers, _without_length(reply.headers), ())
    answer.body = reply.body
    answer.details = reply.details
    return _finished(response, reply.metadata)


def head(said: Head) -> bytes:
    """Status and headers of an answer whose body streams; it has a `content-length` only if `said` has."""
    response = pb.ProcessingResponse()
    mutation = response.response_headers.response.header_mutation
    _mutate(mutation, [(":status", str(said.status)), *said.headers], (*said.remove, CONTENT_LENGTH))
    return _finished(response, said.metadata)


def replaced_head(reply: Reply) -> bytes:
    """Status and headers of a whole answer; its body follows in one streamed piece."""
    return _finished(_replacement(reply), reply.metadata)


def replaced_whole(reply: Reply) -> bytes:
    """A whole answer in place of one that has headers only (`CONTINUE_AND_REPLACE`)."""
    response = _replacement(reply)
    common = response.response_headers.response
    common.status = pb.CommonResponse.CONTINUE_AND_REPLACE
    common.body_mutation.body = reply.body
    return _finished(response, reply.metadata)


def streamed(data: bytes, end_of_stream: bool, metadata: Metadata | None = None) -> bytes:
    """A piece of the body of an answer."""
    response = pb.ProcessingResponse()
    piece = response.response_body.response.body_mutation.streamed_response
    piece.body = data
    piece.end_of_stream = end_of_stream
    return _finished(response, metadata)


def more_time(seconds: float) -> bytes:
    """The answer that is due will take up to `seconds`, counted from now (whole milliseconds, rounded up)."""
    response = pb.ProcessingResponse()
    response.override_message_timeout.FromMilliseconds(math.ceil(seconds * 1000))
    return response.SerializeToString()


def _replacement(reply: Reply) -> pb.ProcessingResponse:
    response = pb.ProcessingResponse()
    own = [(":status", str(reply.status)), (CONTENT_LENGTH, str(len(reply.body)))]
    mutation = response.response_headers.response.header_mutation
    _mutate(mutation, [*own, *_without_length(reply.headers)], reply.remove)
    return response


def _without_length(headers: Headers) -> Headers:
    """The length of a whole body is counted here, whatever the exchange may have said."""
    return tuple(item for item in headers if item[0] != CONTENT_LENGTH)


def _mutate(mutation: pb.HeaderMutation, headers: Iterable[tuple[str, str]], remove: Iterable[str]) -> None:
    """Set `headers` and remove the rest of `remove`: Envoy removes first, other data planes may not."""
    names = set()
    for name, value in headers:
        names.add(name)
        raw = value.encode("latin-1", "replace")
        mutation.set_headers.add(append_action=OVERWRITE, header=pb.HeaderValue(key=name, raw_value=raw))
    mutation.remove_headers.extend(dict.fromkeys(name for name in remove if name not in names))


def _finished(response: pb.ProcessingResponse, metadata: Metadata | None) -> bytes:
    if metadata:
        _remember(response, metadata)
    return response.SerializeToString()


def _remember(response: pb.ProcessingResponse, metadata: Mapping[str, str | int | bool]) -> None:
    """Numbers become doubles (Struct has no other): whole up to 2**53."""
    fields = response.dynamic_metadata.fields[NAMESPACE].struct_value.fields
    for name, value in metadata.items():
        if isinstance(value, bool):
            fields[name].bool_value = value
        elif isinstance(value, int):
            fields[name].number_value = value
        else:
            fields[name].string_value = value
