"""The response side of an exchange: Bedrock's bytes in, the client's answer out.

Two ways to answer, moved by the same four methods. `CollectedResponse` withholds everything to the end and answers
once, with a right content-length. `StreamedResponse` withholds the headers until the first bytes, because a Bedrock 200
whose first event is an exception must still become a real 4xx or 5xx; after that a failure can only be an SSE error
object and the end of the stream, without `[DONE]`.

Both raise `ApiError` only before they have said anything; the exchange turns that into its `Reply`.

Silence. `idle_seconds` without a byte from Bedrock end either. Envoy 1.40 takes no piece of a body before it has sent
one (it calls that spurious and cuts the stream, also behind a `Head` of its own), so a `StreamedResponse` sends its
first comment only after Bedrock's first byte; an error before that is a `Reply`, which Envoy takes at any time. When
the metadata event has come, nothing is missing but the end of the bytes: it is waited for no longer than `END_SECONDS`.

A caller that stops reading looks the same from here: Envoy stops reading Bedrock once its buffer for the caller is
full, and tells the worker nothing. Up to `READ_AHEAD` bytes of a response the silence is Bedrock's for certain;
beyond, the error names both.
"""

from collections.abc import Callable
from typing import Final, Protocol

from extproc.config import StreamingSettings
from extproc.exchange.directives import Body, Directive, Head
from extproc.exchange.local_replies import silent, stalled
from extproc.openai import sse
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record
from extproc.translate.chat_sse import ChatSse, StreamError
from extproc.translate.chat_stream import State

MAX_COLLECTED = 64 * 1024 * 1024
"""No answer of Bedrock's comes near this; more is a fault."""

END_SECONDS: Final = 1.0
"""Longest wait for the end of the bytes after the metadata event; it normally follows within milliseconds."""

READ_AHEAD: Final = 32 * 1024
"""Bytes of a response that fit into Envoy's smallest buffer for a caller (Envoy Gateway's default; ours is larger)."""


class ResponseRelay(Protocol):
    """One answer in the making."""

    def body(self, data: bytes) -> list[Directive]:
        """Some more bytes from upstream."""

    def end(self) -> list[Directive]:
        """There were no more."""

    def silence(self, seconds: float) -> list[Directive]:
        """Upstream has said nothing for this long."""

    def idle_timeout(self, reported: float) -> float:
        """Return the seconds of silence after which to call `silence`, called last with `reported` (0: not yet)."""


class CollectedResponse:
    """Answers once, with whatever `complete` makes of all the bytes."""

    def __init__(self, complete: Callable[[bytes], Directive], longest_silence: float) -> None:
        self._complete = complete
        self._longest_silence = longest_silence
        self._pieces: list[bytes] = []
        self._size = 0

    def body(self, data: bytes) -> list[Directive]:
        """Keep it."""
        self._size += len(data)
        if self._size > MAX_COLLECTED:
            raise ApiError(502, "Bedrock's answer is too large.", type="server_error", code="bad_upstream_answer")
        self._pieces.append(data)
        return []

    def end(self) -> list[Directive]:
        """The answer."""
        return [self._complete(b"".join(self._pieces))]

    def silence(self, seconds: float) -> list[Directive]:
        """Raise the error that ends the call."""
        raise silent(seconds)

    def idle_timeout(self, reported: float) -> float:
        """Return the longest silence: nobody is waiting for a piece."""
        return self._longest_silence


class StreamedResponse:
    """Answers as the bytes come."""

    def __init__(self, stream: ChatSse, record: Record, head: Head, timers: StreamingSettings) -> None:
        self._stream = stream
        self._record = record
        self._head = head
        self._begun = False
        self._accounted = False
        self._sent = 0
        self._timers = timers

    def body(self, data: bytes) -> list[Directive]:
        """The chunks that `data` completes."""
        try:
            written = self._stream.feed(data)
        except StreamError as failure:
            return self._fail(failure)
        if self._stream.state is State.COUNTED:
            self._account()  # at once: a client that leaves now has still been billed
        return self._write(written)

    def end(self) -> list[Directive]:
        """The end of the stream: a whole one, or an error."""
        try:
            written = self._stream.end()
        except StreamError as failure:
            return self._fail(failure)
        self._account()
        return self._write(written, last=True)

    def silence(self, seconds: float) -> list[Directive]:
        """Return a comment, which keeps proxies and clients from giving up; the end, if it is time for that.

        A response that is whole ends well, although the bytes do not end; any other ends in error.
        """
        if self._stream.settled:
            return self.end()
        if seconds < self._timers.idle_seconds:
            return self._write(sse.KEEPALIVE)
        error = silent(seconds) if self._sent <= READ_AHEAD else stalled(seconds)
        return self._fail(StreamError(error, b""))

    def idle_timeout(self, reported: float) -> float:
        """Return when the next comment is due, or the end."""
        if self._stream.settled:
            return END_SECONDS
        if not self._stream.started:
            return self._timers.idle_seconds
        return min(reported + self._timers.keepalive_seconds, self._timers.idle_seconds)

    def _write(self, data: bytes, *, last: bool = False) -> list[Directive]:
        if not data and not last:
            return []
        self._sent += len(data)
        body = Body(data, last, self._record.metadata() if last or self._accounted else None)
        if self._begun:
            return [body]
        self._begun = True
        return [self._head, body]

    def _fail(self, failure: StreamError) -> list[Directive]:
        self._account()
        self._record.finish = failure.error.code or failure.error.type
        self._record.bedrock_error = failure.bedrock_error
        if not self._begun and not failure.written:
            raise failure.error
        return self._write(failure.written + sse.event(failure.error.encode()), last=True)

    def _account(self) -> None:
        """Before the last word: nothing runs for certain after it."""
        self._accounted = True
        self._record.account(self._stream.usage, self._stream.finish)
