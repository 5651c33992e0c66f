"""An aiohttp connector whose connections limit what a server may send around a response's body.

aiohttp limits a header and a number of headers, and nothing else: it parses and queues informational (1xx) responses
without end, skips them in a loop that never yields, and takes a body of any framing. Its timeouts do not help where the
event loop does not run.

Invariant: whatever a server sends, the bytes of one response that are no body (status lines, headers, informational
responses, chunk sizes and extensions, trailers) are at most `OVERHEAD` and `1 / SHARE` of its body, its segments at
most `SEGMENTS` and one for every `SEGMENT_BYTES`, and its informational responses at most `INFORMATIONAL`. Beyond any
of these, or if it sends anything after its response, the connection is aborted, and who reads the response gets an
`OverheadError`. No more than `STEP` bytes, or `PLAIN_STEP` of a body without chunks, are parsed between two checks.

Decision: docs/decisions.md, D92.
"""

import functools
import ssl
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

INFORMATIONAL = 4
"""Informational responses that a server may send before a response. None is expected; 103 is common."""

OVERHEAD = 32 * 1024
"""Bytes beside the body that every response may have."""

SHARE = 16
"""One more byte beside the body for so many of the body: enough for chunks of about 100 bytes."""

SEGMENTS = 1024
SEGMENT_BYTES = 256
"""Reads from the socket that every response may take, and bytes for which it may take one more."""

STEP = 16 * 1024
"""Bytes of headers or chunks that are parsed at once: at most about a thousand responses, or three thousand chunks."""

PLAIN_STEP = 64 * 1024
"""Bytes of a body without chunks that are parsed at once. Small steps would cost a large image a quarter more CPU."""


class OverheadError(aiohttp.ClientPayloadError):
    """A response has too many bytes beside its body, or arrives in too small pieces."""


def media_type(response: aiohttp.ClientResponse) -> str:
    """Return the media type that a server claims, of 80 characters at most.

    `response.content_type` takes time with the square of the quotes in the header, and the header has kilobytes.
    """
    claimed: str = response.headers.get("content-type", "application/octet-stream")
    return claimed[:80].partition(";")[0].strip().lower()


class BoundedConnector(aiohttp.TCPConnector):
    """A `TCPConnector` that reads responses with a `BoundedResponseHandler`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        protocol: type[ResponseHandler] = BoundedResponseHandler
        self._factory = functools.partial(protocol, loop=self._loop)


class BoundedResponseHandler(ResponseHandler):
    """The protocol of one connection. It counts anew for each request (`set_response_params`)."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self._received = self._segments = self._informational = 0
        self._body: StreamReader | None = None
        self._step = STEP

    def set_response_params(self, **params: Any) -> None:
        """Get ready for a request's response."""
        self._received = self._segments = self._informational = 0
        self._body, self._step = None, STEP
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, in steps; nothing means that a paused parser goes on."""
        self._segments += bool(data)
        length = self._step
        for start in range(0, len(data) or 1, length):
            if self.transport is None or self._exception is not None:
                return  # closed, by either side; what still arrives is dropped
            if self._parser is None:
                super().data_received(data)  # it keeps some, and stops reading until a request is sent
                return
            if data and self._body is not None and self._body.is_eof():
                self._cut(OverheadError("The server sent more than its response."))
                return
            step = data[start : start + length]
            self._received += len(step)
            super().data_received(step)
            if self._is_excessive():
                self._buffer.clear()
                self._cut(OverheadError("The server sent too much beside the body of its response."))
                return
            if self._exception is not None and self.transport is not None:
                self.transport.abort()  # what is no HTTP: aiohttp only closes

    def close(self) -> None:
        """Close at once. To end TLS in order, it would have to read on what the server sends."""
        self.abort()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Queue a parsed response. Informational ones are counted and dropped: nobody waits for them."""
        message, body = data
        if 100 <= message.code < 200 and message.code != 101:
            self._informational += 1
            return
        if self._body is None:
            self._body, self._step = body, STEP if message.chunked else PLAIN_STEP
        super().feed_data(data, size)

    def _is_excessive(self) -> bool:
        """Return whether a limit is exceeded. While parsing is paused, bytes of the body count as not parsed."""
        if self._informational > INFORMATIONAL or self._segments > SEGMENTS + self._received // SEGMENT_BYTES:
            return True
        body = 0 if self._body is None else self._body.total_bytes
        return not self._reading_paused and self._received - body > OVERHEAD + body // SHARE

    def _cut(self, error: OverheadError) -> None:
        """Abort the connection. A response that is queued and complete stays readable; any other fails with `error`."""
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(error)
        self.set_exception(error)
        transport, self._parser, self._payload = self.transport, None, None
        if transport is not None:
            transport.abort()


class BoundedTls(ssl.SSLObject):
    """TLS of a connection for one response, whose records are counted (`SSLContext.sslobject_class`).

    A read returns at most one record. An event loop reads all that have arrived, and hands them over as one segment.
    """

    _records = _bytes = 0

    def read(self, length: int = 1024, buffer: Any = None, /) -> Any:
        """Read from a record. Raises `ssl.SSLError` as well if there are too many of them for their bytes."""
        data = super().read(length, buffer)
        self._records += 1
        self._bytes += data if isinstance(data, int) else len(data)
        if self._records > SEGMENTS + self._bytes // SEGMENT_BYTES:
            raise ssl.SSLError("too many small TLS records")
        return data
