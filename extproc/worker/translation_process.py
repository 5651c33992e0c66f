"""The process that translates a worker's large requests: `python -m extproc.worker.translation_process`.

Its standard input is a socket to the worker, and it ends with it. It does one thing after the other. It knows no
secret, calls nobody, and is the first that a machine without memory should end.
"""

import contextlib
import gc
import os
import signal
import socket
from pathlib import Path

from extproc import cl100k_base
from extproc.exchange import translation
from extproc.openai.errors import ApiError, invalid
from extproc.payload import segments
from extproc.worker.translation_wire import (
    Chat,
    CompleteRequest,
    Header,
    PlanRequest,
    ReadRequest,
    Reply,
    ShapeFields,
    error_of,
    receive_blob,
    receive_header,
    send,
)

NICE = 5
"""The event loop comes first where there is one CPU."""

_TOO_LARGE = invalid("The request needs too much memory. Send a smaller one.", code="request_too_complex")

Blobs = list[bytearray]
Answer = tuple[Reply, list[bytes | memoryview]]


class Translator:
    """Answers one worker; holds the requests that have been read and not planned."""

    def __init__(self) -> None:
        self._requests: dict[int, translation.Request] = {}

    def answer(self, header: Header, blobs: Blobs) -> Answer:
        """Return the reply to a message, and its blobs."""
        for number in header.drop:
            self._requests.pop(number, None)
        try:
            match header.request:
                case ReadRequest():
                    return self._read(header.request, blobs.pop())
                case PlanRequest():
                    return self._plan(header.request, blobs)
                case CompleteRequest():
                    return _complete(header.request, blobs)
        except ApiError as error:
            return Reply(error=error_of(error)), []
        except MemoryError:
            return Reply(error=error_of(_TOO_LARGE)), []

    def _read(self, request: ReadRequest, body: bytearray) -> Answer:
        self._requests[request.id], ready = translation.read(body, request.operation)
        return Reply(ready=ready), []

    def _plan(self, request: PlanRequest, blobs: Blobs) -> Answer:
        images = {url: bytes(blob) for url, blob in zip(request.images, blobs, strict=True)}
        decoded = self._requests.pop(request.id)
        made = translation.plan(decoded, request.capabilities, request.foundation, images, cl100k_base.decode)
        pieces = [segments(body) for body in made.bodies]
        reply = Reply(
            digests=made.digests,
            counts=made.counts,
            max_answers=made.max_answers,
            sizes=tuple(map(len, pieces)),
        )
        if made.chat is not None:
            chat = made.chat
            shape = ShapeFields.of(chat.shape)
            reply.chat = Chat(chat.stream, chat.streamed, chat.include_usage, shape, chat.ignored)
        return reply, [piece for body in pieces for piece in body]


def _complete(request: CompleteRequest, blobs: Blobs) -> Answer:
    responses = list(zip(request.headers, map(bytes, blobs), strict=True))
    body, counted = translation.complete(
        request.model, request.foundation, request.encoding_format, request.counts, responses
    )
    return Reply(tokens=counted), [body]


def serve(connection: socket.socket) -> None:
    """Answer message after message, until the worker has gone."""
    translator = Translator()
    while (header := receive_header(connection, Header)) is not None:
        blobs = [receive_blob(connection, length) for length in header.lengths]
        reply, out = translator.answer(header, blobs)
        reply.lengths = tuple(map(len, out))
        del header, blobs
        send(connection, reply, out)
        del reply, out


def main() -> None:
    """Run the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    gc.disable()  # nothing here refers back to itself
    with socket.socket(fileno=0) as connection, contextlib.suppress(EOFError, ConnectionError):
        serve(connection)


if __name__ == "__main__":
    main()
