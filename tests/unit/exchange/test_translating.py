"""Large requests, which another process translates: every phase, and events in between."""

import json
from dataclasses import replace

import pytest
from msgspec.structs import replace as altered

from bench.shapes import SHAPES
from extproc import config
from extproc.exchange import translation
from extproc.exchange.directives import Abort, Directive, Forward, Reply, Wait
from extproc.exchange.endpoint import AskContext, DecodedRequest
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import (
    Complete,
    Fetch,
    Fetched,
    FetchedImages,
    HeldRequest,
    JobResult,
    Plan,
    Read,
    SideCalls,
    SideResponse,
    SideResponses,
    TranslationResult,
)
from extproc.exchange.side_calls import BATCH
from extproc.exchange.translation import (
    LARGE_BODY,
    MANY_AT_ONCE,
    MANY_OBJECTS,
    MANY_OBJECTS_OF_A_SMALL_BODY,
    MANY_SEPARATORS,
    MANY_SEPARATORS_OF_A_SMALL_BODY,
    SMALL_BODY,
    is_large,
)
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.completed import Completed
from extproc.translate.media import MAX_REMOTE_IMAGES

NOW = 1_790_000_000.0
TEXT = "word " * (LARGE_BODY // 5)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.fixture
def roomy(gateway: Gateway) -> Gateway:
    limits = config.LimitSettings(request_bytes=64 * LARGE_BODY)
    return replace(gateway, settings=altered(gateway.settings, limits=limits))


def begun(gateway: Gateway, path: str = "/oai/v1/chat/completions", **more: str) -> Exchange:
    exchange = Exchange(gateway, "0" * 32)
    headers = {":method": "POST", ":path": path, "authorization": "Bearer qc_test", "cookie": "secret"}
    exchange.receive(RequestHeaders(headers | more), NOW)
    return exchange


def chat(text: object = TEXT, model: str = "amazon.nova-micro-v1:0", **more: object) -> bytearray:
    messages = [{"role": "user", "content": text}]
    return bytearray(json.dumps({"model": model, "messages": messages, **more}).encode())


class Here(HeldRequest):
    """A request that is held by this process."""

    def __init__(self, request: DecodedRequest) -> None:
        super().__init__(request.model, request.images)
        self.request = request


def perform(job: object, gateway: Gateway) -> TranslationResult:
    """Run a job as the process does."""
    try:
        match job:
            case Read():
                return Here(translation.read(job.body, job.endpoint))
            case Plan(request=Here() as held):
                translated = held.request.ask(
                    job.target, job.capabilities, AskContext(job.images, gateway.detokenise, job.keys)
                )
                return translation.with_digests(translated)
            case Complete():
                return job.pending.complete(
                    job.context, [(response.headers, response.body) for response in job.responses]
                )
    except ApiError as error:
        return error
    raise AssertionError(job)


def waiting(directives: object) -> object:
    [directive] = directives  # type: ignore[misc]
    assert isinstance(directive, Wait)
    return directive.job


def only(directives: object) -> Directive:
    [directive] = directives  # type: ignore[misc]
    return directive  # type: ignore[no-any-return]


def finished(exchange: Exchange, gateway: Gateway, body: bytearray) -> Directive:
    """Return the directives that follow a body."""
    directive = only(exchange.receive(RequestBody(body), NOW))
    while isinstance(directive, Wait):
        directive = only(exchange.receive(Resumed(perform(directive.job, gateway)), NOW))
    return directive


def test_a_body_of_many_bytes_values_or_objects_is_large() -> None:
    assert not is_large(b"," * (SMALL_BODY - 1))
    assert not is_large(b"[" * (MANY_SEPARATORS - 1) + b" " * SMALL_BODY)
    assert is_large(b"[" * MANY_SEPARATORS + b" " * SMALL_BODY)
    assert is_large(b"%41" * MANY_SEPARATORS + b" " * SMALL_BODY)
    for escaped in (rb"\u002c", rb"\u005B", rb"\u007b", rb"\u0025"):
        assert is_large(escaped * MANY_SEPARATORS + b" " * SMALL_BODY)
    assert not is_large(rb"\u00e9" * MANY_SEPARATORS + b" " * SMALL_BODY)
    assert not is_large(b'{"a":1}' * (MANY_OBJECTS - 1) + b" " * SMALL_BODY)
    assert is_large(b'{"a":1}' * MANY_OBJECTS + b" " * SMALL_BODY)
    assert not is_large(b'"a":true,"b":false,' * (MANY_OBJECTS // 2 - 1) + b" " * SMALL_BODY)
    assert is_large(b'"a":true,"b":false,' * (MANY_OBJECTS // 2) + b" " * SMALL_BODY)
    assert is_large(b" " * LARGE_BODY)


def test_of_many_bodies_at_once_those_before_the_last_are_large(roomy: Gateway) -> None:
    """Other organisations' requests would wait for all of them."""
    text = "word " * (SMALL_BODY // 5)
    crowd = [begun(roomy) for _ in range(2 * MANY_AT_ONCE)]
    directives = [only(exchange.receive(RequestBody(chat(text)), NOW)) for exchange in crowd]
    assert [type(directive) for directive in directives] == [Wait] * MANY_AT_ONCE + [Forward] * MANY_AT_ONCE


@pytest.mark.parametrize(
    "body",
    [
        b'{"$ref":"#/$defs/a"}',
        rb'{"\u0024\u0072\u0065\u0066":"#/$defs/a"}',
        b'{"a":1}' * MANY_OBJECTS_OF_A_SMALL_BODY,
        b'{"a":true}' * (MANY_OBJECTS_OF_A_SMALL_BODY // 2),
        b'{"input":["a"' + b',"a"' * MANY_SEPARATORS_OF_A_SMALL_BODY + b"]}",
        b'{"enum":' + b"[" * MANY_SEPARATORS_OF_A_SMALL_BODY + b"]" * MANY_SEPARATORS_OF_A_SMALL_BODY + b"}",
    ],
)
def test_of_many_small_bodies_at_once_those_that_may_be_much_work_are_large(body: bytes) -> None:
    """A schema of 4 KB, of references to references, takes as long as one of any size may."""
    assert is_large(body, MANY_AT_ONCE)
    assert not is_large(body, MANY_AT_ONCE - 1)
    assert not is_large(b'{"messages":[{"role":"user","content":"\xc3\xa9 true"}]}', MANY_AT_ONCE)
    turns = b",".join([b'{"role":"user","content":"Yes, and [so] on"}'] * (MANY_OBJECTS_OF_A_SMALL_BODY // 2))
    assert not is_large(b'{"messages":[' + turns + b"]}", MANY_AT_ONCE)


def test_bodies_of_another_organisation_small_ones_and_those_that_do_not_come_are_not_many(roomy: Gateway) -> None:
    text = "word " * (SMALL_BODY // 5)
    crowd = [begun(roomy) for _ in range(2 * MANY_AT_ONCE)]
    other = begun(roomy, **{"authorization": "Bearer qc_two", "openai-organization": "frugal"})
    assert isinstance(only(other.receive(RequestBody(chat(text)), NOW)), Forward)
    assert isinstance(only(begun(roomy).receive(RequestBody(chat("short")), NOW)), Forward)
    for exchange in crowd:
        exchange.close(NOW)
    assert isinstance(only(begun(roomy).receive(RequestBody(chat(text)), NOW)), Forward)


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_of_a_large_body_is_decoded_by_the_exchange(roomy: Gateway, name: str) -> None:
    shape = SHAPES[name]
    exchange = begun(roomy, "/oai/v1/embeddings" if shape.embeddings else "/oai/v1/chat/completions")
    body = bytearray(shape.of_size(2 * LARGE_BODY))
    job = waiting(exchange.receive(RequestBody(body), NOW))
    assert isinstance(job, Read)
    assert (job.body is body, job.organisation) == (True, "acme")


def test_it_goes_out_as_if_it_were_small(roomy: Gateway) -> None:
    small, large = (finished(begun(roomy), roomy, chat(text)) for text in ("word", TEXT))
    assert isinstance(small, Forward)
    assert isinstance(large, Forward)
    assert small.path == large.path
    assert json.loads(bytes(large.body))["messages"] == [{"role": "user", "content": [{"text": TEXT}]}]
    expected = roomy.signer.sign(
        roomy.identity(),  # type: ignore[arg-type]
        large.path,
        large.body,
        (("content-type", "application/json"),),
        NOW,
    )
    assert set(expected) <= set(large.headers)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (chat(max_tokens="many"), 400, "max_tokens"),
        (chat(modalities=["audio"]), 400, "modalities"),
        (bytearray(b"{" + b" " * LARGE_BODY), 400, None),
    ],
)
def test_a_fault_of_the_request_is_reported(roomy: Gateway, body: bytearray, status: int, param: str | None) -> None:
    exchange = begun(roomy)
    reply = finished(exchange, roomy, body)
    assert isinstance(reply, Reply)
    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (status, param)
    assert exchange.done


def test_a_model_that_the_organisation_may_not_use_is_not_planned_for(roomy: Gateway) -> None:
    exchange = begun(roomy, **{"authorization": "Bearer qc_two", "openai-organization": "frugal"})
    job = waiting(exchange.receive(RequestBody(chat(model="anthropic.claude-sonnet-4-6")), NOW))
    reply = only(exchange.receive(Resumed(perform(job, roomy)), NOW))
    assert isinstance(reply, Reply)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "model_not_found")


def test_images_are_fetched_in_between(roomy: Gateway) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
    body = chat([{"type": "text", "text": TEXT}, part], model="anthropic.claude-sonnet-4-6")
    exchange = begun(roomy)
    read = waiting(exchange.receive(RequestBody(body), NOW))
    fetch = waiting(exchange.receive(Resumed(perform(read, roomy)), NOW))
    assert isinstance(fetch, Fetch)
    plan = waiting(exchange.receive(Resumed(FetchedImages((Fetched(PNG, "image/png"),))), NOW))
    assert isinstance(plan, Plan)
    assert plan.images == {"https://images.example/a.png": PNG}
    forward = only(exchange.receive(Resumed(perform(plan, roomy)), NOW))
    assert isinstance(forward, Forward)
    assert "image" in json.loads(bytes(forward.body))["messages"][0]["content"][1]


def test_too_many_images_are_an_error_before_any_is_fetched(roomy: Gateway) -> None:
    urls = [f"https://images.example/{at}.png" for at in range(MAX_REMOTE_IMAGES + 1)]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    body = chat([{"type": "text", "text": TEXT}, *parts], model="anthropic.claude-sonnet-4-6")
    reply = finished(begun(roomy), roomy, body)
    assert isinstance(reply, Reply)
    assert json.loads(reply.body)["error"]["code"] == "too_many_images"


@pytest.mark.parametrize("steps", [0, 1])
def test_envoys_own_response_ends_it(roomy: Gateway, steps: int) -> None:
    """After a timeout of Envoy's, for example, the result of the job has no effect."""
    exchange = begun(roomy)
    job = waiting(exchange.receive(RequestBody(chat()), NOW))
    for _ in range(steps):
        job = waiting(exchange.receive(Resumed(perform(job, roomy)), NOW))
    exchange.receive(ResponseHeaders({":status": "408"}, local=True, details="request_timeout"), NOW)
    reply = only(exchange.receive(ResponseBody(b"", end_of_stream=True), NOW))
    assert isinstance(reply, Reply)
    assert reply.status == 408
    assert exchange.receive(Resumed(perform(job, roomy)), NOW) == ()


@pytest.mark.parametrize("steps", [0, 1])
def test_a_second_body_is_no_way_around_it(roomy: Gateway, steps: int) -> None:
    exchange = begun(roomy)
    job = waiting(exchange.receive(RequestBody(chat()), NOW))
    for _ in range(steps):
        job = waiting(exchange.receive(Resumed(perform(job, roomy)), NOW))
    assert isinstance(only(exchange.receive(RequestBody(b"{}"), NOW)), Abort)
    assert exchange.receive(Resumed(perform(job, roomy)), NOW) == ()


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize(
    "result", [None, (), SideResponses(()), FetchedImages(()), Completed(b"", Usage(), "stop"), object()]
)
def test_a_result_of_another_kind_never_becomes_a_request(roomy: Gateway, steps: int, result: object) -> None:
    exchange = begun(roomy)
    job = waiting(exchange.receive(RequestBody(chat()), NOW))
    for _ in range(steps):
        job = waiting(exchange.receive(Resumed(perform(job, roomy)), NOW))
    try:
        directive = only(exchange.receive(Resumed(result), NOW))
    except Exception:
        return  # the transport ends the stream in error
    assert not isinstance(directive, Forward)


def test_settings_that_change_in_between_apply_to_later_steps(roomy: Gateway) -> None:
    exchange = begun(roomy)
    read = waiting(exchange.receive(RequestBody(chat()), NOW))
    roomy.identity = lambda: None
    plan = waiting(exchange.receive(Resumed(perform(read, roomy)), NOW))
    reply = only(exchange.receive(Resumed(perform(plan, roomy)), NOW))
    assert isinstance(reply, Reply)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "gateway_credentials")


def test_many_side_calls_are_made_in_batches_and_merged_in_the_process(roomy: Gateway) -> None:
    texts = 2 * BATCH + 1
    body = json.dumps({"model": "amazon.titan-embed-text-v2:0", "input": ["a"] * texts}).encode()
    exchange = begun(roomy, "/oai/v1/embeddings")
    job, batches = waiting(exchange.receive(RequestBody(body), NOW)), list[int]()
    response = SideResponse(200, {}, json.dumps({"embedding": [0.5] * 1024, "inputTextTokenCount": 1}).encode())
    while isinstance(job, SideCalls):
        batches.append(len(job.calls))
        job = waiting(exchange.receive(Resumed(SideResponses((response,) * len(job.calls))), NOW))
    assert batches == [BATCH, BATCH, 1]
    assert isinstance(job, Complete)
    reply = only(exchange.receive(Resumed(perform(job, roomy)), NOW))
    assert isinstance(reply, Reply)
    assert len(json.loads(reply.body)["data"]) == texts
    assert json.loads(reply.body)["usage"] == {"prompt_tokens": texts, "total_tokens": texts}


def test_all_batches_have_one_timeout_together(roomy: Gateway) -> None:
    """Each batch has the time left by those before it, and none is made after the timeout."""
    body = json.dumps({"model": "amazon.titan-embed-text-v2:0", "input": ["a"] * (2 * BATCH + 1)}).encode()
    responses = SideResponses((SideResponse(200, {}, b'{"embedding":[1],"inputTextTokenCount":1}'),) * BATCH)
    seconds = roomy.settings.embeddings.seconds
    exchange = begun(roomy, "/oai/v1/embeddings")
    directives = exchange.receive(RequestBody(body), NOW)
    waits = [only(directives)]
    waits.append(only(exchange.receive(Resumed(responses), NOW + 0.75 * seconds)))
    assert [wait.seconds for wait in waits if isinstance(wait, Wait)] == [seconds, 0.25 * seconds]
    reply = only(exchange.receive(Resumed(responses), NOW + seconds))
    assert isinstance(reply, Reply)
    assert reply.status == 504
    assert f"{seconds:g} seconds" in json.loads(reply.body)["error"]["message"]


@pytest.mark.parametrize("settings", ["{}", "media: {seconds: 1000}", "embeddings: {seconds: 1}"])
def test_the_longest_wait_is_the_sum_of_all_steps(roomy: Gateway, settings: str) -> None:
    """Whatever the steps before it took, within their own timeouts, a step has its whole timeout."""
    gateway = replace(roomy, settings=altered(config.parse(settings.encode()), limits=roomy.settings.limits))
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    requests = {
        "/oai/v1/chat/completions": chat([{"type": "text", "text": TEXT}, image], model="amazon.nova-lite-v1:0"),
        "/oai/v1/embeddings": large_embeddings(),
    }
    for path, body in requests.items():
        assert sum(timeouts(begun(gateway, path), gateway, body)) <= gateway.settings.longest_wait


def large_embeddings() -> bytearray:
    request = {"model": "amazon.titan-embed-text-v2:0", "input": ["a" * 10_000] * (LARGE_BODY // 10_000 + 1)}
    return bytearray(json.dumps(request).encode())


def timeouts(exchange: Exchange, gateway: Gateway, body: bytearray) -> list[float]:
    """Return the timeouts of a request's steps."""
    results = []
    directive = only(exchange.receive(RequestBody(body), NOW))
    vectors = json.dumps({"embedding": [1 / 3] * 1024, "inputTextTokenCount": 1}).encode()
    while isinstance(directive, Wait):
        results.append(directive.seconds)
        match directive.job:
            case Fetch():
                result: JobResult = FetchedImages((Fetched(PNG, "image/png"),))
            case SideCalls():
                result = SideResponses((SideResponse(200, {}, vectors),) * len(directive.job.calls))
            case job:
                result = perform(job, gateway)
        directive = only(exchange.receive(Resumed(result), NOW))
    assert isinstance(directive, Forward) or (isinstance(directive, Reply) and directive.status == 200)
    assert len(results) >= 3
    return results
