"""Measure how long a request, or its whole response, keeps the event loop busy: the longest step, by shape and size.

Run it as `make bench-steps`. The bytes go through everything that the event loop does, from Envoy's DATA frames to the
frames for Envoy; the work of other processes is not counted. A step is one read from the socket,
or one result of a job. The figures are CPU time of the thread, the least of several runs: the longest step that there
would be on an idle machine.
"""

import argparse
import gc
import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence

from bench.bodies import MODEL, Shape
from bench.schema_shapes import GPT_OSS, GROK
from bench.shapes import EMBEDDING_MODEL, SHAPES
from bench.whole_responses import LLAMA, REQUESTS, WHOLE_RESPONSES, Request
from extproc import cl100k_base, config
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.listing import FoundationModel
from extproc.bedrock.sigv4 import Signer
from extproc.exchange.budget import MemoryBudget
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import (
    Admit,
    Assume,
    Complete,
    Fetch,
    Fetched,
    FetchedImages,
    Job,
    JobResult,
    Plan,
    QueryUsage,
    Read,
    SideCalls,
    SideResponse,
    SideResponses,
)
from extproc.limits.counters import MemoryCounters
from extproc.tenancy.directory import Directory
from extproc.tenancy.store import Lookup
from extproc.transport import ext_proc_pb2 as pb
from extproc.transport.http2 import fields, frames, framing
from extproc.transport.http2.session import PROCESS, Session
from extproc.transport.stream import Clock, ExtProcStream
from extproc.worker.translation_client import Process

NOW = 1_790_000_000.0
AUTHORITY = "bedrock-runtime.us-east-1.amazonaws.com"
TOKEN = "qc_bench"  # noqa: S105 - of this program alone
WINDOW = 1 << 28
NEVER_USED_UP = 1 << 40
"""Bytes in flight: no request here ends, so that each keeps what it was granted."""
READ_BYTES = 262_144
"""Bytes of one read: as many as uvloop takes at once."""
PIECE_BYTES = 32_768
"""Bytes of a response that Envoy sends in one message."""
MB = 1_000_000
SIZES = (60_000, 1_000_000, 10 * MB, 32 * MB)
RESPONSE_SIZES = (60_000, 500_000, 1 * MB, 4 * MB, 8 * MB)
RUNS = 3
VECTOR = b'{"embedding":[%s],"inputTextTokenCount":1}' % b",".join([b"0.012345678"] * 1024)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
REQUEST = fields.block(
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PROCESS.decode()),
    (":authority", "worker"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def gateway() -> Gateway:
    """A gateway with one organisation, one chat model and one of embeddings."""
    settings = config.Settings(
        organisations={"acme": config.Organisation()},
        tokens=(config.Token("one", hashlib.sha256(TOKEN.encode()).hexdigest(), ("acme",)),),
        limits=config.LimitSettings(request_bytes=40 * MB),
        endpoints=config.EndpointSettings(responses=True),
    )
    models = (
        FoundationModel(MODEL, frozenset({"TEXT"})),
        FoundationModel(GPT_OSS, frozenset({"TEXT"})),
        FoundationModel(GROK, frozenset({"TEXT"})),
        FoundationModel(LLAMA, frozenset({"TEXT"})),
        FoundationModel(EMBEDDING_MODEL, frozenset({"EMBEDDING"})),
    )
    return Gateway(
        settings=settings,
        directory=Directory(settings),
        catalogue=Catalogue.build(models, (), "us-east-1"),
        capabilities=BUILT_IN,
        signer=Signer("us-east-1", AUTHORITY),
        authority=AUTHORITY,
        identity=lambda: Credentials("AKID", "secret"),
        detokenise=cl100k_base.decode,
        budget=MemoryBudget(NEVER_USED_UP, NEVER_USED_UP),
        counters=MemoryCounters(time.monotonic_ns),
    )


def session(shared: Gateway) -> Session:
    """A connection whose client takes whatever it is sent."""
    clock = Clock(lambda: NOW, lambda: 0.0)
    made = Session(lambda: ExtProcStream(Exchange(shared, "0" * 32), clock, 30.0), lambda: b"", 48 * MB)
    made.receive(
        frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: WINDOW}) + frames.window_update(0, WINDOW)
    )
    made.data_to_send()
    return made


def wire(body: bytes, path: str) -> bytes:
    """Return the messages that Envoy sends for a request with this body."""
    headers = {":method": "POST", ":path": path, "authorization": f"Bearer {TOKEN}"}
    values = [pb.HeaderValue(key=key, raw_value=value.encode()) for key, value in headers.items()]
    head = pb.ProcessingRequest(request_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=values)))
    whole = pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True))
    return frames.frame(frames.HEADERS, frames.END_HEADERS, 1, REQUEST) + _messages(head, whole)


def wire_back(answer: bytes) -> bytes:
    """Return the messages that Envoy sends for a whole response with this body, in pieces."""
    values = [pb.HeaderValue(key=":status", raw_value=b"200")]
    head = pb.ProcessingRequest(response_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=values)))
    ends = range(PIECE_BYTES, len(answer) + PIECE_BYTES, PIECE_BYTES)
    bodies = [pb.HttpBody(body=answer[end - PIECE_BYTES : end], end_of_stream=end >= len(answer)) for end in ends]
    return _messages(head, *(pb.ProcessingRequest(response_body=body) for body in bodies))


def _messages(*messages: pb.ProcessingRequest) -> bytes:
    """Return messages of the first stream in frames."""
    out: list[bytes] = []
    for message in messages:
        data = framing.prefix(message.ByteSize()) + message.SerializeToString()
        size = frames.DEFAULT_FRAME_BYTES
        out += [frames.frame(frames.DATA, 0, 1, data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join(out)


def result(job: Job, process: Process) -> JobResult:
    """Return the job runner's result of a job."""
    match job:
        case Read() | Plan() | Complete():
            return process.do(job)
        case SideCalls():
            return SideResponses(tuple(SideResponse(200, {}, VECTOR) for _ in job.calls))
        case Lookup() | Assume() | QueryUsage() | Admit():
            raise AssertionError("nothing is looked up or counted elsewhere, and there are no roles and no sums")
        case Fetch():
            return FetchedImages(tuple(Fetched(PNG, "image/png") for _ in job.urls))


def steps(body: bytes, path: str, shared: Gateway, process: Process) -> Iterator[float]:
    """Yield the seconds of CPU of each step that a request takes."""
    connection, data = session(shared), wire(body, path)
    first = 60_000  # within the window that every stream has
    reads = [data[:first], *(data[at : at + READ_BYTES] for at in range(first, len(data), READ_BYTES))]
    for seconds, _ in _driven(connection, reads, process):
        yield seconds


def steps_back(answer: bytes, request: Request, shared: Gateway, process: Process) -> Iterator[float]:
    """Yield the seconds of CPU of each step that Bedrock's whole response to a small request takes."""
    connection, data, written = session(shared), wire_back(answer), 0
    connection.receive(wire(request.body, request.path))
    connection.data_to_send()
    reads = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    for seconds, size in _driven(connection, reads, process):
        written += size
        yield seconds
    assert written, "no response"
    assert connection.connection.fault is None


def _driven(connection: Session, reads: Sequence[bytes], process: Process) -> Iterator[tuple[float, int]]:
    """Yield the seconds of CPU, and the bytes written, of each read, and of each result of a job that follows."""
    for data in reads:
        begun = time.thread_time()
        connection.receive(data)
        written = sum(map(len, connection.data_to_send()))
        yield time.thread_time() - begun, written
    while waiting := [call for call in connection.changed() if call.pending_job is not None]:
        for call in waiting:
            assert call.pending_job is not None
            done = result(call.pending_job.job, process)
            begun = time.thread_time()
            connection.resume(call, done)
            written = sum(map(len, connection.data_to_send()))
            yield time.thread_time() - begun, written


def longest(shape: Shape, size: int, shared: Gateway, process: Process, runs: int = RUNS) -> float:
    """Seconds of the longest step for a body of this size: of each step the least of several runs."""
    body = shape.of_size(size)
    path = "/oai/v1/embeddings" if shape.embeddings else "/oai/v1/chat/completions"
    return _longest([list(steps(body, path, shared, process)) for _ in range(runs)])


def longest_back(answer: bytes, request: Request, shared: Gateway, process: Process, runs: int = RUNS) -> float:
    """Seconds of the longest step for this response of Bedrock's: of each step the least of several runs."""
    return _longest([list(steps_back(answer, request, shared, process)) for _ in range(runs)])


def _longest(measured: list[list[float]]) -> float:
    least: list[float] = [min(figures) for figures in zip(*measured, strict=True)]
    return max(least)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="SHAPE")
    options = parser.parse_args()
    shared, process = gateway(), Process(os.environ)
    cl100k_base.decode([1])
    gc.collect()
    gc.freeze()
    print(f"{'longest step, ms':32}" + "".join(f"{size:>12,}" for size in options.sizes))
    for name in options.shapes:
        row = [longest(SHAPES[name], size, shared, process, options.runs) * 1000 for size in options.sizes]
        print(f"{name:32}" + "".join(f"{figure:12.1f}" for figure in row), flush=True)
    print(f"\n{'of a whole response':32}" + "".join(f"{size:>12,}" for size in RESPONSE_SIZES))
    for name, request in itertools.product(WHOLE_RESPONSES, REQUESTS):
        answers = [WHOLE_RESPONSES[name](size) for size in RESPONSE_SIZES]
        back = [longest_back(answer, REQUESTS[request], shared, process, options.runs) * 1000 for answer in answers]
        print(f"{f'{name}, {request}':32}" + "".join(f"{figure:12.1f}" for figure in back), flush=True)
    process.end()


if __name__ == "__main__":
    main()
