"""The response side of an exchange: Bedrock's bytes in, the client's response out.

Three classes with the same methods. `CollectedResponse` withholds all bytes and sends one `Reply` at the end, with the
right content-length; `CollectedError` does so for an error, whose beginning is enough. `StreamedResponse` withholds the
headers until the first bytes, because a Bedrock 200 whose first event is an exception must still become a real 4xx or
5xx; after that a failure can only be an SSE error object and the end of the stream, without `[DONE]`.

All raise `ApiError` only before they have sent anything; the exchange turns it into its `Reply`.

Idle time: either ends after `idle_seconds` without a byte from Bedrock, a stream after as long without a whole event of
a known type. Keep-alives count from the last byte to the client: a custom tool's input, or text that is withheld beside
an answer tool, may take a model minutes during which nothing else is sent. Envoy 1.40 accepts no piece of a body before
it has sent one (it calls that spurious and cuts the stream, also behind a `Head` of its own), so a `StreamedResponse`
sends its first comment only after Bedrock's first byte; an error before that is a `Reply`, which Envoy accepts at any
time. After the metadata event only the end of the bytes is missing, which is awaited for `END_SECONDS` at most.

Length: a stream that does not end by itself ends with an error, once the model has written more than its limit of
tokens can be, or there are more bytes than any valid stream has, or shortly before Envoy would cut it.

A caller that stops reading looks the same from here: Envoy stops reading Bedrock once its buffer for the caller is
full, without a sign to the worker. Up to `READ_AHEAD` bytes of a response, Bedrock is certainly the idle side;
beyond, the error names both.

Decisions: docs/decisions.md, D21, D56, D69, D70, D71, D173, D310.
"""

from collections.abc import Callable
from typing import Final, Protocol

from extproc.bedrock import errors
from extproc.config import StreamingSettings
from extproc.exchange.directives import Body, Directive, Head, Metadata
from extproc.exchange.local_replies import bedrock_idle, response_too_large, stalled, stream_too_long
from extproc.exchange.meter import Meter
from extproc.openai import sse
from extproc.openai.errors import ApiError
from extproc.payload import Payload, joined
from extproc.shared_names import LONGEST_CALL_SECONDS
from extproc.telemetry.record import Record
from extproc.translate.chat_sse import ChatSse, StreamError
from extproc.translate.response_limits import MAX_STREAM_BYTES
from extproc.value import Value

END_SECONDS: Final = 1.0
"""Longest wait for the end of the bytes after the metadata event; it normally follows within milliseconds."""

STREAM_SECONDS: Final = LONGEST_CALL_SECONDS - 30
"""Longest time of a stream from its request on, in seconds."""

TELL_EVERY: Final = 32
"""Characters of the model's, about eight tokens, after which Envoy is told how much there is."""

READ_AHEAD: Final = 32 * 1024
"""Bytes of a response that fit into Envoy's smallest buffer for a caller (Envoy Gateway's default; ours is larger)."""


class ResponseRelay(Protocol):
    """A response in progress, from Bedrock to the client."""

    def body(self, data: bytes) -> list[Directive]:
        """Return the directives for the next bytes from Bedrock."""

    def end(self) -> list[Directive]:
        """Return the directives for the end of Bedrock's bytes."""

    def idle(self, seconds: float) -> list[Directive]:
        """Return the directives after `seconds` without a byte from Bedrock."""

    def idle_timeout(self, written: float) -> float:
        """Return the idle seconds after which to call `idle`; the client was last written to at `written` of them."""

    @property
    def progressed(self) -> bool:
        """Whether the last bytes brought the response on."""


class CollectedResponse:
    """A response that `complete` makes of all bytes at once; it has `longest` of them at most."""

    def __init__(self, complete: Callable[[bytes], Directive], longest: int, longest_idle: float) -> None:
        self._complete = complete
        self._longest = longest
        self._longest_idle = longest_idle
        self._data = bytearray()
        """Not a list of the pieces: Bedrock may send them of one byte."""

    def body(self, data: bytes) -> list[Directive]:
        """Keep the bytes. Raises a 502 `ApiError` for too many."""
        if len(self._data) + len(data) > self._longest:
            return self._beyond(data)
        self._data += data
        return []

    def _beyond(self, data: bytes) -> list[Directive]:
        raise response_too_large()

    def end(self) -> list[Directive]:
        """Return the response."""
        return [self._complete(bytes(self._data))]

    def idle(self, seconds: float) -> list[Directive]:
        """Raise the 504 `ApiError` that ends the call."""
        raise bedrock_idle(seconds)

    def idle_timeout(self, written: float) -> float:
        """Return the longest idle time: no keep-alives are sent."""
        return self._longest_idle

    @property
    def progressed(self) -> bool:
        """Return True: any byte is one of the response."""
        return True


class CollectedError(CollectedResponse):
    """An error response: where it is longer than any of AWS's, its beginning is enough."""

    def __init__(self, complete: Callable[[bytes], Directive], longest_idle: float) -> None:
        super().__init__(complete, errors.LONGEST, longest_idle)

    def _beyond(self, data: bytes) -> list[Directive]:
        self._data += data
        return self.end()


class StreamLimits(Value, frozen=True):
    """The limits of one stream: bytes that the model may write, and the time of its end in unix seconds."""

    text: int
    ends: float


class StreamedResponse:
    """A response that is translated as its bytes arrive."""

    def __init__(
        self,
        stream: ChatSse,
        record: Record,
        meter: Meter,
        clock: Callable[[], float],
        head: Head,
        timers: StreamingSettings,
        limits: StreamLimits,
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._received = 0
        self._record = record
        self._meter = meter
        self._clock = clock
        self._head = head
        self._head_sent = False
        self._accounted = False
        self._told = False
        """Whether Envoy has the usage that is accounted, and the reason of the end."""
        self._sent = 0
        self._next = 1
        """Characters of the model's with which Envoy is told again how much there is."""
        self._timers = timers
        self._progressed = True
        """Set by the headers, which come before any bytes."""

    def body(self, data: bytes) -> list[Directive]:
        """Return the chunks that `data` completes."""
        started, events = self._stream.started, self._stream.events
        try:
            written = self._stream.feed(data)
        except StreamError as failure:
            return self._fail(failure)
        self._progressed = not started or self._stream.events > events
        if self._stream.counted:
            self._account()  # at once: a client that disconnects now is still billed
            return self._write(written)
        self._received += len(data)
        if self._stream.text_bytes > self._limits.text or self._received > MAX_STREAM_BYTES or self._is_late:
            return self._fail(StreamError(self._too_long(), written))
        return self._write(written)

    def end(self) -> list[Directive]:
        """Return the end of the stream, or an error."""
        try:
            written = self._stream.end()
        except StreamError as failure:
            return self._fail(failure)
        if not self._accounted:
            self._account()
        return self._write(written, last=True)

    def idle(self, seconds: float) -> list[Directive]:
        """Return a comment, which keeps proxies and clients from timing out, or the end after the longest idle time.

        A complete response ends without error, although its bytes do not end; any other ends with an error.
        """
        if self._stream.settled:
            return self.end()
        if self._is_late:
            return self._fail(StreamError(self._too_long(), b""))
        if seconds < self._timers.idle_seconds:
            return self._write(sse.KEEPALIVE)
        error = bedrock_idle(seconds) if self._sent <= READ_AHEAD else stalled(seconds)
        return self._fail(StreamError(error, b""))

    def idle_timeout(self, written: float) -> float:
        """Return when the next comment is due, or the end."""
        if self._stream.settled:
            return END_SECONDS
        if not self._stream.started:
            return self._timers.idle_seconds
        return min(written + self._timers.keepalive_seconds, self._timers.idle_seconds)

    @property
    def progressed(self) -> bool:
        """Return whether the last bytes completed an event, or are the stream's first."""
        return self._progressed

    @property
    def _is_late(self) -> bool:
        return self._clock() > self._limits.ends

    def _too_long(self) -> ApiError:
        """Return the error for a stream beyond one of its limits."""
        if self._stream.text_bytes > self._limits.text:
            return stream_too_long(
                f"more than {self._limits.text:,} bytes of text, which its limit of tokens cannot be"
            )
        if self._received > MAX_STREAM_BYTES:
            return stream_too_long(f"more than {MAX_STREAM_BYTES:,} bytes")
        return stream_too_long(f"more than {STREAM_SECONDS} seconds")

    def _write(self, data: Payload, *, last: bool = False) -> list[Directive]:
        if not data and not last:
            return []
        self._sent += len(data)
        metadata = self._metadata(last=last)
        usage = self._meter.token_usage() if self._accounted and metadata is not None else None
        body = Body(data, last, metadata, usage)
        if self._head_sent:
            return [body]
        self._head_sent = True
        return [self._head, body]

    def _metadata(self, *, last: bool) -> Metadata | None:
        """Return what has changed of the record: at the end, and before it with each `TELL_EVERY` bytes of text."""
        if last or self._accounted:
            told, self._told = self._told, self._accounted
            return None if told else self._meter.changes()
        text_bytes = self._stream.text_bytes
        if text_bytes < self._next and not (self._meter.reasons and self._meter.is_behind(self._clock())):
            return None
        self._next = text_bytes + TELL_EVERY
        return self._meter.running(text_bytes, self._clock())

    def _fail(self, failure: StreamError) -> list[Directive]:
        if self._stream.counted:
            self._account()
        else:
            self._meter.written(self._stream.text_bytes, self._clock())  # Envoy is told less often
        self._accounted, self._told = True, False
        self._record.finish = failure.error.code or failure.error.type
        self._record.bedrock_error = failure.bedrock_error
        if not self._head_sent and not failure.written:
            if failure.bedrock_error and not self._stream.counted:
                self._meter.reject()
            raise failure.error
        return self._write(joined((failure.written, self._stream.fail(failure.error))), last=True)

    def _account(self) -> None:
        """Record the usage before the last directive: later code may not run."""
        self._accounted = True
        self._meter.count(self._stream.usage, self._stream.finish, self._clock())
