"""The process that translates a worker's large requests: `python -m extproc.worker.translation_process`.

Its standard input is a socket to the worker, and it ends with it. It does one job after the other, none of them for
longer than `JOB_CPU_SECONDS`. It knows no secret but the keys of what clients keep (`responses.keys`), opens no
connection, and is the first process that a machine without memory should end.

Invariant: a job that has failed leaves nothing in memory, whatever its error refers to.

Decisions: docs/decisions.md, D97, D226.
"""

import contextlib
import gc
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from extproc import cl100k_base
from extproc.bedrock.catalogue import Target
from extproc.bedrock.converse_response import ConverseResponseError
from extproc.exchange import translation
from extproc.exchange.call_series import CallSeries
from extproc.exchange.endpoint import AskContext, BedrockCall, DecodedRequest
from extproc.exchange.routes import ENDPOINTS
from extproc.openai.decoding import too_deep
from extproc.openai.errors import ApiError, invalid
from extproc.payload import segments
from extproc.translate.errors import bad_response
from extproc.worker.cpu_limit import CpuLimit, CpuLimitError
from extproc.worker.translation_wire import (
    TOO_COMPLEX,
    CallFields,
    CompleteReply,
    CompleteRequest,
    Error,
    Header,
    PlanReply,
    PlanRequest,
    ProcessReply,
    ReadReply,
    ReadRequest,
    SeriesFields,
    error_of,
    receive_blob,
    receive_header,
    send,
    usage_fields,
)

NICE = 5
"""The event loop comes first where there is one CPU."""

JOB_CPU_SECONDS = 4.0
"""CPU time in which a request has to be read, and again to be translated: others wait for their turn meanwhile."""

_TOO_LARGE = invalid("The request needs too much memory. Send a smaller one.", code="request_too_complex")

Blobs = list[bytearray]
ReplyWithBlobs = tuple[ProcessReply, list[bytes | memoryview]]


class TranslationServer:
    """Runs the jobs of one worker; holds the requests that have been read and not planned."""

    def __init__(self, limit: CpuLimit) -> None:
        self._requests: dict[int, DecodedRequest] = {}
        self._limit = limit

    def handle(self, header: Header, blobs: Blobs) -> ReplyWithBlobs:
        """Return the reply to a message, and its blobs."""
        for number in header.drop:
            self._requests.pop(number, None)
        try:
            if isinstance(header.request, CompleteRequest):  # as large as Bedrock made it, which is bounded
                return _complete(header.request, blobs)
            with self._limit:
                if isinstance(header.request, ReadRequest):
                    return self._read(header.request, blobs.pop())
                return self._plan(header.request, blobs)
        except CpuLimitError:
            return ProcessReply(error_of(TOO_COMPLEX)), []
        except ApiError as error:
            return ProcessReply(error_of(error)), []
        except RecursionError:
            return ProcessReply(error_of(too_deep())), []
        except MemoryError:
            return ProcessReply(error_of(_TOO_LARGE)), []

    def _read(self, request: ReadRequest, body: bytearray) -> ReplyWithBlobs:
        endpoint = ENDPOINTS[request.path]
        decoded = translation.read(body, endpoint, request.passed_over, request.default_model, request.denied)
        self._requests[request.id] = decoded
        return ProcessReply(ReadReply(decoded.model, dict(decoded.images))), []

    def _plan(self, request: PlanRequest, blobs: Blobs) -> ReplyWithBlobs:
        images = {url: bytes(blob) for url, blob in zip(request.images, blobs, strict=True)}
        decoded = self._requests.pop(request.id)
        target = Target(request.model_id, request.foundation, project=request.project)
        context = AskContext(images, cl100k_base.decode, request.keys, request.rules)
        translated = decoded.ask(target, request.capabilities, context)
        calls = translation.with_digests(translated).calls
        pending = msgspec.json.encode(translated.pending)
        if isinstance(translated.calls, CallSeries):
            reply = PlanReply((_fields(calls[0], 1),), _series(calls))
            return ProcessReply(reply), [pending, b"".join([piece for call in calls for piece in segments(call.body)])]
        pieces = [segments(call.body) for call in calls]
        fields = tuple([_fields(call, len(body)) for call, body in zip(calls, pieces, strict=True)])
        return ProcessReply(PlanReply(fields)), [pending, *(piece for body in pieces for piece in body)]


def _fields(call: BedrockCall, blobs: int) -> CallFields:
    return CallFields(
        call.path,
        call.accept,
        call.max_response,
        call.digest,
        call.response,
        call.inputs,
        blobs,
        call.project,
        call.metadata,
        call.most_output,
        call.billed,
        call.user,
        call.priority,
        call.reasons,
        call.page_tokens,
    )


def _series(calls: Sequence[BedrockCall]) -> SeriesFields:
    return SeriesFields(
        tuple([len(call.body) for call in calls]),
        tuple([call.digest or "" for call in calls]),
        tuple([call.max_response for call in calls]),
        tuple([call.response for call in calls]),
        tuple([call.inputs for call in calls]),
    )


def _complete(request: CompleteRequest, blobs: Blobs) -> ReplyWithBlobs:
    pending, *bodies = blobs
    responses = list(zip(request.headers, map(bytes, bodies), strict=True))
    try:
        completed = ENDPOINTS[request.path].decode_pending(pending).complete(request.context, responses)
    except ConverseResponseError as error:
        raise bad_response(str(error)) from error
    reply = CompleteReply(usage_fields(completed.usage), completed.finish, completed.content_type)
    return ProcessReply(reply), [bytes(completed.body)]


def serve(connection: socket.socket, cpu_seconds: float = JOB_CPU_SECONDS) -> None:
    """Run job after job, until the worker has gone."""
    server = TranslationServer(CpuLimit(cpu_seconds))
    while (header := receive_header(connection, Header)) is not None:
        gc.freeze()  # requests that are held are no work for the collector, and are freed when nothing refers to them
        blobs = [receive_blob(connection, length) for length in header.lengths]
        reply, out = server.handle(header, blobs)
        reply.lengths = tuple(map(len, out))
        del header, blobs
        send(connection, reply, out)
        has_failed = isinstance(reply.reply, Error)
        del reply, out
        if has_failed:  # an error refers to frames, and so to the request: one that refers to itself would keep it
            gc.collect()


def main() -> None:
    """Run the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    cl100k_base.load()  # no job is to pay for it
    gc.disable()  # it would look at a request's many objects again and again
    with socket.socket(fileno=0) as connection, contextlib.suppress(EOFError, ConnectionError):
        serve(connection)


if __name__ == "__main__":
    main()
