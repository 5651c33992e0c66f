"""A streamed chat completion: Bedrock's bytes -> server-sent events.

`converse_stream` decodes the bytes to events, `ChatStream` turns events into chunks, `chunks` encodes those. This
module joins them, ends the stream with `[DONE]`, and keeps the chunks from before a failure.

`[DONE]` waits for the end of the bytes: until then an exception may still come, and a client that reads `[DONE]`
disconnects at once, which Envoy would count as a cancelled call.

Invariant: the output does not depend on where the bytes of a stream are cut.

Decisions: docs/decisions.md, D4, D17, D94.
"""

from extproc.bedrock.converse_stream import Event, StreamDecoder, StreamException, response_events
from extproc.openai import sse
from extproc.openai.chunks import StreamEncoder
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.payload import Payload, joined
from extproc.translate.chat_completion import decode
from extproc.translate.chat_stream import ChatStream, State
from extproc.translate.completed import Completed
from extproc.translate.errors import ModelError
from extproc.translate.response_fields import usage
from extproc.translate.response_limits import MAX_WHOLE_TEXT


class StreamError(Exception):
    """The failure of a stream: the client receives `written`, the chunks before it, and then `error`.

    `bedrock_error` is AWS's own message for the log, empty if AWS did not fail.
    """

    def __init__(self, error: ApiError, written: Payload, bedrock_error: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.written = written
        self.bedrock_error = bedrock_error


class ChatSse:
    """An incremental translator of one stream."""

    def __init__(self, stream: ChatStream, encoder: StreamEncoder) -> None:
        self._decoder = StreamDecoder()
        self._stream = stream
        self._encoder = encoder
        self.events = 0
        """Events of known types so far."""

    @property
    def state(self) -> State:
        """The state of the stream."""
        return self._stream.state

    @property
    def usage(self) -> Usage:
        """The usage, in the state COUNTED."""
        return self._stream.usage

    @property
    def finish(self) -> str:
        """The finish reason, from the state STOPPED on."""
        return self._stream.finish

    @property
    def counted(self) -> bool:
        """Return whether Bedrock has told what it counted, if it has."""
        return self._stream.counted

    @property
    def text_bytes(self) -> int:
        """Return how many bytes of text the model has written, whatever of it the client gets."""
        return self._stream.text_bytes

    @property
    def started(self) -> bool:
        """Return whether any byte has arrived."""
        return self._decoder.started

    @property
    def settled(self) -> bool:
        """Return whether the metadata event was the last to arrive: only the end of the bytes is missing."""
        return self._stream.state is State.COUNTED and not self._decoder.pending

    def feed(self, data: bytes) -> Payload:
        """Return the server-sent events that `data` completes. Raises `StreamError` where the stream fails."""
        return self._write(self._decoder.feed(data))

    def end(self) -> Payload:
        """Return the last events, after the last bytes. Raises `StreamError` if the stream is incomplete."""
        self._write(self._decoder.close())
        try:
            self._stream.end()
        except ApiError as error:
            raise StreamError(error, b"") from error
        return self._encoder.end()

    def fail(self, error: ApiError) -> Payload:
        """Return the last events of a stream that fails, for whatever reason, after its beginning."""
        return self._encoder.fail(error)

    def _write(self, events: list[Event]) -> Payload:
        self.events += len(events)
        written: list[Payload] = []
        for event in events:
            try:
                for chunk in self._stream.feed(event):
                    written.append(self._encoder.encode(chunk))  # noqa: PERF401 - a generator costs more
            except ApiError as error:
                bedrock_error = str(event.error) if isinstance(event, StreamException) else ""
                raise StreamError(error, joined(written), bedrock_error) from error
        return written[0] if len(written) == 1 else joined(written)


def whole_stream(body: bytes, stream: ChatStream, encoder: StreamEncoder, most_text: int = MAX_WHOLE_TEXT) -> Completed:
    """Return a stream at once, for a model that cannot stream: `body` is Converse's response.

    The model may have written `most_text` bytes.
    Raises `ConverseResponseError` if the body is malformed, and `ApiError` if the model failed.
    """
    response = decode(body, most_text)
    try:
        written = [encoder.encode(chunk) for event in response_events(response) for chunk in stream.feed(event)]
        stream.end()
    except ApiError as failure:
        raise ModelError(failure, usage(response.usage, None, stream.text_bytes)) from failure
    return Completed(joined([*written, encoder.end()]), stream.usage, stream.finish, sse.CONTENT_TYPE)
