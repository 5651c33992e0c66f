"""The response side of an exchange: Bedrock's bytes in, the client's answer out.

Two ways to answer, moved by the same four methods. `Collected` withholds everything to the end and answers once,
with a right content-length. `Streamed` withholds the headers until the first bytes, because a Bedrock 200 whose
first event is an exception must still become a real 4xx or 5xx; after that a failure can only be an SSE error
object and the end of the stream, without `[DONE]`.

Both raise `ApiError` only before they have said anything; the exchange turns that into its `Reply`.
"""

from collections.abc import Callable
from typing import Protocol

from extproc.exchange.directives import Body, Directive, Head, Headers
from extproc.openai import sse
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record
from extproc.translate.chat_stream import ChatStream, State, StreamError

MAX_COLLECTED = 64 * 1024 * 1024
"""No answer of Bedrock's comes near this; more is a fault."""


class Answer(Protocol):
    """One answer in the making."""

    def body(self, data: bytes) -> list[Directive]:
        """Some more bytes from upstream."""

    def end(self) -> list[Directive]:
        """There were no more."""

    def silence(self, seconds: float) -> list[Directive]:
        """Upstream has said nothing for this long."""


class Collected:
    """Answers once, with whatever `complete` makes of all the bytes."""

    def __init__(self, complete: Callable[[bytes], Directive]) -> None:
        self._complete = complete
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
        """Nobody is waiting for a piece of it."""
        return []


class Streamed:
    """Answers as the bytes come."""

    def __init__(self, stream: ChatStream, record: Record, headers: Headers, remove: tuple[str, ...], patience: float):
        self._stream = stream
        self._record = record
        self._head = Head(200, headers, remove)
        self._begun = False
        self._accounted = False
        self._patience = patience

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
        """A comment keeps proxies and clients from giving up; too long a silence ends the stream in error."""
        if seconds < self._patience:
            return self._write(sse.KEEPALIVE)
        error = ApiError(
            504, f"Bedrock has said nothing for {seconds:.0f} seconds. Try again.", type="server_error", code="timeout"
        )
        return self._fail(StreamError(error, b""))

    def _write(self, data: bytes, *, last: bool = False) -> list[Directive]:
        if not data and not last:
            return []
        body = Body(data, last, self._record.metadata() if last or self._accounted else None)
        if self._begun:
            return [body]
        self._begun = True
        return [self._head, body]

    def _fail(self, failure: StreamError) -> list[Directive]:
        self._account()
        self._record.finish = failure.error.code or failure.error.type
        self._record.bedrock_error = failure.aws_said
        if not self._begun and not failure.written:
            raise failure.error
        return self._write(failure.written + sse.event(failure.error.encode()), last=True)

    def _account(self) -> None:
        """Before the last word: nothing runs for certain after it."""
        self._accounted = True
        self._record.account(self._stream.usage, self._stream.finish)
