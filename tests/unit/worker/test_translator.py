"""Translation of large requests in another process: same results, in turn, and a response after any failure."""

import asyncio
import fcntl
import json
import os
import re
import signal
import sys
import termios
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.bodies import MODEL
from bench.shapes import EMBEDDING_MODEL, SHAPES
from bench.whole_responses import REQUESTS, WHOLE_RESPONSES, Request, converse
from extproc import cl100k_base
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.bedrock.converse_response import ConverseResponseError
from extproc.exchange import translation
from extproc.exchange.chat_endpoint import CHAT
from extproc.exchange.embeddings_endpoint import EMBEDDINGS, EmbeddingsPending
from extproc.exchange.endpoint import ApiEndpoint, AskContext, Pending, ResponseContext, TranslatedRequest
from extproc.exchange.jobs import Complete, HeldRequest, Plan, Read, SideResponse, TranslationResult
from extproc.exchange.responses_endpoint import RESPONSES
from extproc.exchange.routes import ENDPOINTS
from extproc.openai.errors import ApiError
from extproc.translate.completed import Completed
from extproc.translate.errors import ModelError, bad_response
from extproc.translate.response_limits import MAX_RESPONSE_BYTES
from extproc.worker import translation_wire
from extproc.worker.cpu_limit import END_SIGNAL
from extproc.worker.translation_client import ENVIRONMENT, HELD_BYTES, Process
from extproc.worker.translator import Translator

SECONDS = 60.0  # longer than any of this takes
TARGET = Target(MODEL, MODEL)
CONTEXT = ResponseContext("0" * 32, 1_790_000_000, 1_790_000_000, "length")


@pytest.fixture
async def translator() -> AsyncIterator[Translator]:
    made = Translator()
    yield made
    made.close()


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    made = Process(os.environ)
    yield made
    made.end()


@pytest.fixture
def fresh_process() -> Iterator[Process]:
    made = Process(os.environ)
    yield made
    made.end()


def body(name: str = "messages", count: int = 100) -> bytearray:
    return bytearray(SHAPES[name].write(count))


def body_of(error: ApiError) -> dict[str, Any]:
    return {"status": error.status} | error.as_object()


def endpoint_of(name: str) -> tuple[ApiEndpoint, Target]:
    model = EMBEDDING_MODEL if SHAPES[name].embeddings else MODEL
    return EMBEDDINGS if SHAPES[name].embeddings else CHAT, Target(model, model)


def fields(model: str, images: Iterable[str], translated: TranslatedRequest) -> tuple[object, ...]:
    calls = [msgspec.structs.replace(call, body=bytes(call.body)) for call in translated.calls]
    return model, list(images), calls, translated.pending


def here(name: str, count: int) -> object:
    """Return the event loop's own translation of this request."""
    endpoint, target = endpoint_of(name)
    try:
        request = translation.read(body(name, count), endpoint)
        images = dict.fromkeys(request.images, b"\x89PNG\r\n\x1a\n")
        translated = request.ask(target, BUILT_IN.of(target.foundation), AskContext(images, cl100k_base.decode))
    except ApiError as error:
        return body_of(error)
    return fields(request.model, request.images, translation.with_digests(translated))


def there(name: str, count: int, process: Process) -> object:
    """Return the process's translation of the request."""
    endpoint, target = endpoint_of(name)
    held = process.do(Read(body(name, count), endpoint, "acme"))
    if isinstance(held, ApiError):
        return body_of(held)
    assert isinstance(held, HeldRequest)
    images = dict.fromkeys(held.images, b"\x89PNG\r\n\x1a\n")
    translated = process.do(Plan(held, target, BUILT_IN.of(target.foundation), images, "acme"))
    if isinstance(translated, ApiError):
        return body_of(translated)
    assert isinstance(translated, TranslatedRequest)
    return fields(held.model, held.images, translated)


@pytest.mark.parametrize("count", [3, 130, 1500])
@pytest.mark.parametrize("name", SHAPES)
def test_a_request_becomes_the_same_in_the_process(name: str, count: int, process: Process) -> None:
    assert there(name, count, process) == here(name, count)


def test_json_of_any_depth_is_an_error_of_its_own_request(fresh_process: Process) -> None:
    """Whichever step finds Python's limit of recursion: the process goes on."""
    process, pid, limit = fresh_process, fresh_process.pid, sys.getrecursionlimit()
    target = Target(MODEL, MODEL)
    for depth in range(limit - 100, limit):
        item = '{"type":"odd","x":' + "[" * depth + "]" * depth + "}"
        request = f'{{"model":"{MODEL}","input":[{{"role":"user","content":"Hi"}},{item}],"tools":[{item}]}}'
        result: TranslationResult = process.do(Read(bytearray(request.encode()), RESPONSES, "acme"))
        if isinstance(result, HeldRequest):
            result = process.do(Plan(result, target, BUILT_IN.of(MODEL), {}, "acme", (b"k" * 32,)))
        assert isinstance(result, TranslatedRequest) or "nested too deeply" in str(result)
        assert process.is_alive
    assert isinstance(result, ApiError)
    assert process.pid == pid


def test_vectors_are_put_together_the_same_in_the_process(process: Process) -> None:
    vectors = [[at / 7] * 1024 for at in range(40)]
    responses = tuple(SideResponse(200, {}, b'{"embedding":%a,"inputTextTokenCount":2}' % vector) for vector in vectors)
    counts = (1,) * len(responses)
    pending = EmbeddingsPending((), False, EMBEDDING_MODEL, EMBEDDING_MODEL, "base64", counts, 1024)
    completed = process.do(Complete(EMBEDDINGS, pending, CONTEXT, responses, "acme"))
    assert same(completed) == same(
        pending.complete(CONTEXT, [(response.headers, response.body) for response in responses])
    )


def same(completed: TranslationResult) -> tuple[object, ...]:
    """Return the fields of a response, or of an error, so that two can be compared."""
    if isinstance(completed, Completed):
        usage, content_type = translation_wire.usage_fields(completed.usage), completed.content_type
        return bytes(completed.body), usage, completed.finish, content_type
    assert isinstance(completed, ApiError)
    usage = translation_wire.usage_fields(completed.usage) if isinstance(completed, ModelError) else None
    return body_of(completed), completed.headers, usage


def pending_of(request: Request) -> tuple[ApiEndpoint, Pending]:
    endpoint = ENDPOINTS[request.path.removeprefix("/oai/v1")]
    decoded = translation.read(bytearray(request.body), endpoint)
    target = Target(decoded.model, decoded.model)
    return endpoint, decoded.ask(target, BUILT_IN.of(decoded.model), AskContext({}, cl100k_base.decode)).pending


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", WHOLE_RESPONSES)
def test_a_whole_response_is_assembled_the_same_in_the_process(name: str, request_name: str, process: Process) -> None:
    endpoint, pending = pending_of(REQUESTS[request_name])
    body = WHOLE_RESPONSES[name](1_200_000)
    assert not pending.streams
    assert pending.is_large([({}, body)])
    completed = process.do(Complete(endpoint, pending, CONTEXT, (SideResponse(200, {}, body),), "acme"))
    assert same(completed) == same(pending.complete(CONTEXT, [({}, body)]))


ODD_RESPONSES = {
    "no json": b"{" * 1000,
    "too long": b" " * (MAX_RESPONSE_BYTES + 1),
    "an error of AWS's": b'{"__type":"ThrottlingException","message":"Too many requests"}',
    "a model's failure": converse([{"text": "a"}]).replace(b"end_turn", b"malformed_model_output"),
}


@pytest.mark.parametrize("name", ODD_RESPONSES)
def test_an_odd_response_is_the_same_error_in_the_process(name: str, process: Process) -> None:
    pid = process.pid
    for request in REQUESTS.values():
        endpoint, pending = pending_of(request)
        there = process.do(Complete(endpoint, pending, CONTEXT, (SideResponse(200, {}, ODD_RESPONSES[name]),), "acme"))
        try:
            pending.complete(CONTEXT, [({}, ODD_RESPONSES[name])])
        except ConverseResponseError as error:
            here = bad_response(str(error))
        except ApiError as error:
            here = error
        assert same(there) == same(here)
    assert (process.is_alive, process.pid) == (True, pid)


def test_a_response_repeats_json_of_any_depth_in_the_process(process: Process) -> None:
    """The members that repeat a request are nested as deep as can be read, which is no fault of the response's."""
    depth = sys.getrecursionlimit() // 2
    parameters = '{"type":"object","x":' + "[" * depth + "]" * depth + "}"
    tools = f'[{{"type":"function","name":"f","parameters":{parameters}}}]'
    request = Request(RESPONSES.path, f'{{"model":"{MODEL}","input":"Hi","tools":{tools}}}'.encode())
    endpoint, pending = pending_of(request)
    answer = SideResponse(200, {}, converse([{"text": "a"}]))
    completed = process.do(Complete(endpoint, pending, CONTEXT, (answer,), "acme"))
    assert isinstance(completed, Completed)
    assert b"[" * depth in bytes(completed.body)


def test_the_process_holds_few_bytes_of_requests_that_wait_for_their_images(fresh_process: Process) -> None:
    """What was forgotten is read again; beside the bodies, which the budget counts, the process has one at a time."""
    process, size = fresh_process, HELD_BYTES // 4
    target, images = Target(MODEL, MODEL), {"https://a.example/": b"\x89PNG\r\n\x1a\n"}
    held = [process.do(Read(with_an_image(size), CHAT, "acme")) for _ in range(24)]
    assert 0 < held_bytes(process) <= HELD_BYTES
    assert peak_memory(process.pid) < 60 * size
    for ticket in held:
        assert isinstance(ticket, HeldRequest)
        planned = process.do(Plan(ticket, target, BUILT_IN.of(MODEL), images, "acme"))
        assert isinstance(planned, TranslatedRequest)
        assert held_bytes(process) <= HELD_BYTES


def held_bytes(process: Process) -> int:
    return sum(len(ticket.body) for reference in process.held.values() if (ticket := reference()) is not None)


def with_an_image(size: int) -> bytearray:
    """Return a request with a text that Python keeps in four bytes a character, and an image at a URL."""
    parts = [
        {"type": "text", "text": "a" * size + "\U0001f600"},
        {"type": "image_url", "image_url": {"url": "https://a.example/"}},
    ]
    request = {"model": MODEL, "messages": [{"role": "user", "content": parts}]}
    return bytearray(json.dumps(request, ensure_ascii=False).encode())


def test_rejected_requests_leave_nothing_in_the_process(fresh_process: Process) -> None:
    """An error refers to the frames that it passed, and they to the request: none may refer back to itself."""
    text = "x" * 4_000_000
    faults: list[tuple[ApiEndpoint, dict[str, object]]] = [
        (CHAT, {"messages": [{"role": "user", "content": text}], "reasoning_effort": "most"}),
        (CHAT, {"messages": [{"role": "user", "content": text}], "unknown": 1}),
        (RESPONSES, {"input": text, "reasoning": {"effort": "most"}}),
        (EMBEDDINGS, {"input": text, "dimensions": "many"}),
    ]
    for endpoint, fault in faults:
        request = json.dumps({"model": MODEL, **fault}).encode()
        assert isinstance(fresh_process.do(Read(bytearray(request), endpoint, "acme")), ApiError)
        before = resident_memory(fresh_process.pid)
        for _ in range(20):
            fresh_process.do(Read(bytearray(request), endpoint, "acme"))
        assert resident_memory(fresh_process.pid) - before < 40_000_000, fault.keys()


def resident_memory(pid: int) -> int:
    """Return the bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024


def test_a_body_is_let_go_when_its_request_is_planned_or_rejected(process: Process) -> None:
    """Until then it is kept for another process, if this one ends."""
    sent = body()
    decoded = process.do(Read(sent, CHAT, "acme"))
    assert isinstance(decoded, HeldRequest)
    assert sent
    assert isinstance(process.do(Plan(decoded, TARGET, BUILT_IN.of(MODEL), {}, "acme")), TranslatedRequest)
    assert not sent
    rejected = bytearray(b'{"model": 1}')
    assert isinstance(process.do(Read(rejected, CHAT, "acme")), ApiError)
    assert not rejected


def test_the_process_gets_no_secret(process: Process) -> None:
    names = {entry.partition(b"=")[0].decode() for entry in environment(process.pid)}
    assert names <= set(ENVIRONMENT) | {"LC_CTYPE"}


def environment(pid: int) -> list[bytes]:
    return [entry for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if entry]


async def read_before(translator: Translator, name: str = "messages", organisation: str = "acme") -> Plan:
    """Have a request read; return the job that is next."""
    decoded = await translator(Read(body(name), CHAT, organisation), SECONDS)
    assert isinstance(decoded, HeldRequest)
    images = dict.fromkeys(decoded.images, b"\x89PNG\r\n\x1a\n")
    return Plan(decoded, TARGET, BUILT_IN.of(MODEL), images, organisation)


async def until_sent(translator: Translator) -> None:
    """Wait until something has been sent to the process, which is stopped and reads nothing."""
    assert translator._process is not None
    connection = translator._process._connection
    while not any(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))):  # noqa: ASYNC110 - the kernel sets no event
        await asyncio.sleep(0.01)


async def test_a_process_that_dies_fails_only_its_current_caller(
    translator: Translator,
) -> None:
    neighbours = [await read_before(translator, organisation=f"neighbour{number}") for number in range(3)]
    assert translator.pid is not None
    os.kill(translator.pid, signal.SIGSTOP)
    late = await translator(Read(body(), CHAT, "acme"), 0.01)
    assert isinstance(late, ApiError)
    assert (late.status, late.headers) == (503, {"retry-after": "1"})
    results = await asyncio.gather(*(translator(plan, SECONDS) for plan in neighbours))
    expected = here("messages", 100)
    assert isinstance(expected, tuple)
    for result in results:
        assert isinstance(result, TranslatedRequest)
        assert fields(MODEL, {}, result)[2:] == expected[2:]


async def test_a_request_that_is_being_planned_is_not_tried_again(translator: Translator) -> None:
    """The request may have ended the process, so nothing of it is kept."""
    plan = await read_before(translator)
    assert translator.pid is not None
    os.kill(translator.pid, signal.SIGSTOP)
    for seconds in (0.01, SECONDS):
        lost = await translator(plan, seconds)
        assert isinstance(lost, ApiError)
        assert lost.status == 503
    assert isinstance(await translator(Read(body(), CHAT, "acme"), SECONDS), HeldRequest)


async def test_a_process_that_takes_too_long_is_ended(translator: Translator) -> None:
    await translator(Read(body(), CHAT, "acme"), SECONDS)
    assert translator.pid is not None
    os.kill(translator.pid, signal.SIGSTOP)
    late = await translator(Read(body(), CHAT, "acme"), 0.01)
    assert isinstance(late, ApiError)
    assert late.status == 503
    assert isinstance(await translator(Read(body(), CHAT, "acme"), SECONDS), HeldRequest)


async def test_a_request_that_the_kernel_ends_the_process_for_is_too_complex(translator: Translator) -> None:
    """It alone fails, with the error that it would have had if it could have been interrupted."""
    neighbour = await read_before(translator, organisation="neighbour")
    assert translator.pid is not None
    os.kill(translator.pid, signal.SIGSTOP)
    working = asyncio.create_task(translator(Read(body(), CHAT, "acme"), SECONDS))
    await until_sent(translator)
    os.kill(translator.pid, END_SIGNAL)
    os.kill(translator.pid, signal.SIGCONT)
    failed = await working
    assert isinstance(failed, ApiError)
    assert (failed.status, failed.code) == (400, "request_too_complex")
    assert isinstance(await translator(neighbour, SECONDS), TranslatedRequest)


async def test_a_cancelled_job_does_not_delay_others(translator: Translator) -> None:
    jobs = [asyncio.create_task(translator(Read(body(), CHAT, "acme"), SECONDS)) for _ in range(20)]
    await asyncio.sleep(0)
    for job in jobs[::2]:
        job.cancel()
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(result, HeldRequest) for result in results] == [False, True] * 10


async def ended(translator: Translator) -> None:
    """Wait until there is no process; the thread may hold the last job, and with it the request, a moment longer."""
    async with asyncio.timeout(SECONDS):
        while translator.pid is not None:  # noqa: ASYNC110 - the translator has no event for it
            await asyncio.sleep(0)


async def test_an_idle_process_is_ended_and_another_started_when_it_is_needed() -> None:
    translator = Translator(idle_seconds=0.0)
    try:
        assert isinstance(await translator(Read(body(), CHAT, "acme"), SECONDS), HeldRequest)
        await ended(translator)
        assert isinstance(await translator(Read(body(), CHAT, "acme"), SECONDS), HeldRequest)
    finally:
        translator.close()


async def test_a_process_that_is_stuck_with_a_cancelled_job_is_ended(translator: Translator) -> None:
    await translator(Read(body(), CHAT, "acme"), SECONDS)
    assert translator.pid is not None
    os.kill(translator.pid, signal.SIGSTOP)
    left = asyncio.create_task(translator(Read(body(), CHAT, "acme"), 0.05))
    await asyncio.sleep(0)
    left.cancel()
    assert isinstance(await translator(Read(body(), CHAT, "acme"), SECONDS), HeldRequest)


async def test_a_response_that_cannot_be_read_is_no_other_jobs(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await translator(Read(body(), CHAT, "acme"), SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(translation_wire, "receive_header", broken)
        failed = await translator(Read(body(), CHAT, "acme"), SECONDS)
    assert isinstance(failed, ApiError)
    assert failed.status == 503
    assert isinstance(await translator(Read(body(), CHAT, "acme"), SECONDS), HeldRequest)


def broken(*_: object) -> None:
    raise msgspec.ValidationError("not such a message")


async def test_a_process_is_not_idle_while_it_holds_a_request() -> None:
    """A request's images may take longer than the idle timeout of the process."""
    translator = Translator(idle_seconds=0.0)
    try:
        decoded = await translator(Read(body(), CHAT, "acme"), SECONDS)
        assert isinstance(decoded, HeldRequest)
        for _ in range(10):  # the timer is due at once
            await asyncio.sleep(0)
        assert isinstance(
            await translator(Plan(decoded, TARGET, BUILT_IN.of(MODEL), {}, "acme"), SECONDS), TranslatedRequest
        )
        del decoded
        await ended(translator)
    finally:
        translator.close()


async def test_the_event_loop_goes_on_while_a_request_is_translated(translator: Translator) -> None:
    """If the event loop waited, only the timer could resume the process."""
    await translator(Read(body(), CHAT, "acme"), SECONDS)
    pid = translator.pid
    assert pid is not None
    safety = threading.Timer(SECONDS, os.kill, (pid, signal.SIGCONT))
    safety.start()
    os.kill(pid, signal.SIGSTOP)
    large = bytearray(SHAPES["one text"].of_size(4_000_000))
    job = asyncio.create_task(translator(Read(large, CHAT, "acme"), 2 * SECONDS))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not job.done()
    assert safety.is_alive()
    os.kill(pid, signal.SIGCONT)
    assert isinstance(await job, HeldRequest)
    safety.cancel()
