"""The budget of bytes in flight: counting, shares of organisations, and release."""

import json
import re
from typing import Any

import pytest
from msgspec.structs import replace

from extproc import cl100k_base
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Target
from extproc.bedrock.invoke import EMBEDDING_MODELS, EmbeddingModel
from extproc.config import LimitSettings
from extproc.config.capacity import MIB, STREAM_BYTES, Memory, in_flight_bytes, organisation_bytes, slow_bytes
from extproc.exchange.budget import MOST_LISTS, USUAL, MemoryBudget, Reservation
from extproc.exchange.directives import Continue, Directive, Forward, Reply, Wait
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.endpoint import AskContext
from extproc.exchange.events import Idle, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders, Resumed
from extproc.exchange.exchange import SLOW_BODY_SECONDS, Exchange
from extproc.exchange.gateway import Gateway
from extproc.exchange.jobs import Complete, Fetch, Fetched, FetchedImages, SideCalls, SideResponse, SideResponses
from extproc.exchange.outgoing import hold_calls
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.completed import Completed
from extproc.translate.embeddings import FLOAT_BYTES, RESPONSE_BYTES

NOW = 1_790_000_000.0
GIB = 1 << 30
CHAT = json.dumps({"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello"}]}).encode()
PNG = b"\x89PNG\r\n\x1a\n" + bytes(292)
UNSIZED = 4096 * 5 // 4 + STREAM_BYTES
"""The reservation of a body without a length, with the `limits.request_bytes` of the tests' gateway."""
RESPONSE = 1024 * FLOAT_BYTES + RESPONSE_BYTES
"""The reservation of the response to a call for one vector."""
VECTOR = json.dumps({"embedding": [0.5] * 1024, "inputTextTokenCount": 1}).encode()
LONG_TOKEN = 58040
"""The longest of cl100k_base: 128 spaces."""


def headers(token: str = "qc_test", path: str = "/oai/v1/chat/completions", **more: str) -> RequestHeaders:
    fields = {":method": "POST", ":path": path, "authorization": f"Bearer {token}"}
    return RequestHeaders(fields | {name.replace("_", "-"): value for name, value in more.items()})


def begun(gateway: Gateway, **more: str) -> Exchange:
    """Return an exchange whose body is on its way."""
    exchange = Exchange(gateway, "0" * 32)
    [directive] = exchange.receive(headers(**more), NOW)
    assert isinstance(directive, Continue)
    return exchange


def embedding(gateway: Gateway, inputs: list[str], **fields: object) -> tuple[Exchange, bytes]:
    """Return an exchange that waits for its body, and that body: texts to embed."""
    body = json.dumps({"model": "amazon.titan-embed-text-v2:0", "input": inputs, **fields}).encode()
    exchange = Exchange(gateway, "0" * 32)
    exchange.receive(headers(path="/oai/v1/embeddings", content_length=str(len(body))), NOW)
    return exchange, body


def rejected(gateway: Gateway, **more: str) -> Any:
    """Return the reply to headers, and end the exchange."""
    exchange = Exchange(gateway, "0" * 32)
    [reply] = exchange.receive(headers(**more), NOW)
    exchange.close(NOW)
    return reply


def with_image(times: int = 1) -> bytes:
    url = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    body = json.loads(CHAT) | {"model": "us.anthropic.claude-sonnet-4-6"}
    body["messages"][0]["content"] = [{"type": "text", "text": "What is it?"}, *[url] * times]
    return json.dumps(body).encode()


def error_of(reply: Any) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(reply.body)["error"]
    return error


def test_a_request_counts_from_its_headers_by_its_content_length(gateway: Gateway) -> None:
    begun(gateway, content_length="1000")
    assert gateway.budget.taken == 1000 + STREAM_BYTES


def test_a_body_without_a_length_counts_as_the_longest_until_it_has_arrived(gateway: Gateway) -> None:
    exchange = begun(gateway)
    assert gateway.budget.taken == UNSIZED
    exchange.receive(RequestBody(CHAT), NOW)
    assert gateway.budget.taken == len(CHAT) + STREAM_BYTES


def test_a_body_that_is_longer_than_its_declared_length_counts_in_full(gateway: Gateway) -> None:
    exchange = begun(gateway, content_length="1")
    exchange.receive(RequestBody(CHAT), NOW)
    assert gateway.budget.taken == len(CHAT) + STREAM_BYTES


def test_over_the_share_of_an_organisation_it_is_a_429_and_others_are_served(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 24, 2000 + 2 * STREAM_BYTES)
    begun(gateway, content_length="1000")
    begun(gateway, content_length="1000")
    reply = rejected(gateway, content_length="1000")
    assert reply.status == 429
    assert dict(reply.headers)["retry-after"] == "1"
    error = error_of(reply)
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "`acme`" in error["message"]
    begun(gateway, token="qc_two", content_length="1000", openai_organization="frugal")


def test_over_the_whole_it_is_a_503(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1000 + STREAM_BYTES, 1 << 20)
    begun(gateway, content_length="1000")
    reply = rejected(gateway, token="qc_two", content_length="1", openai_organization="frugal")
    assert reply.status == 503
    assert dict(reply.headers)["retry-after"] == "1"
    assert (error_of(reply)["type"], error_of(reply)["code"]) == ("server_error", "overloaded")


def test_an_impossible_request_gets_no_advice_to_retry(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 20, 1000 + STREAM_BYTES)
    reply = rejected(gateway, content_length="1001")
    assert (reply.status, "retry-after" in dict(reply.headers)) == (413, False)
    assert "1000 bytes" in error_of(reply)["message"]
    reply = rejected(gateway)
    assert (reply.status, error_of(reply)["code"]) == (411, "content_length_required")
    assert gateway.budget.taken == 0


@pytest.mark.parametrize("length", ["9" * 19, "9" * 5000])
def test_a_length_of_any_number_of_digits_is_too_large(gateway: Gateway, length: str) -> None:
    assert rejected(gateway, content_length=length).status == 413


@pytest.mark.parametrize("length", ["", "-1", "1, 1", "0x10", "\u00b2"])
def test_a_length_that_is_no_number_counts_as_none(gateway: Gateway, length: str) -> None:
    begun(gateway, content_length=length)
    assert gateway.budget.taken == UNSIZED


def test_rejected_requests_hold_nothing(gateway: Gateway) -> None:
    assert rejected(gateway, token="qc_wrong", content_length="10").status == 401
    assert rejected(gateway, content_length="10", content_encoding="gzip").status == 415
    assert gateway.budget.taken == 0


def listed(gateway: Gateway, path: str) -> tuple[Exchange, Any]:
    """Return an exchange without a body, and its reply."""
    exchange = Exchange(gateway, "0" * 32)
    get = {":method": "GET", ":path": f"/oai/v1/{path}", "authorization": "Bearer qc_test"}
    [reply] = exchange.receive(RequestHeaders(get, True), NOW)
    return exchange, reply


@pytest.mark.parametrize("path", ["models", "models/amazon.nova-micro-v1:0"])
def test_lists_count_until_their_streams_end(gateway: Gateway, path: str) -> None:
    exchange, reply = listed(gateway, path)
    assert reply.status == 200
    assert gateway.budget.taken == STREAM_BYTES + len(reply.body)
    gateway.budget = MemoryBudget(1 << 24, 2 * STREAM_BYTES)
    others = [listed(gateway, path) for _ in range(2)]
    assert [other.status for _, other in others] == [200, 429]
    for ended in (exchange, *(each for each, _ in others)):
        ended.close(NOW)
    assert gateway.budget.taken == 0


@pytest.mark.parametrize("path", ["models", "models/amazon.nova-micro-v1:0", "models/nobody.has-this"])
def test_an_organisation_has_so_many_lists_unsent_and_no_more(gateway: Gateway, path: str) -> None:
    gateway.budget = MemoryBudget(1 << 30, 1 << 29)
    begun_lists = [listed(gateway, path) for _ in range(MOST_LISTS)]
    assert {reply.status for _, reply in begun_lists} <= {200, 404}
    _, reply = listed(gateway, path)
    assert (reply.status, dict(reply.headers)["retry-after"]) == (429, "1")
    assert "100 lists of models" in error_of(reply)["message"]
    begun_lists[0][0].close(NOW)
    assert listed(gateway, path)[1].status in {200, 404}


@pytest.mark.parametrize(("length", "seconds"), [({"content_length": "2048"}, 60 + 2 / 512), ({}, 60 + 5 / 512)])
def test_an_upload_that_takes_too_long_is_a_408(gateway: Gateway, length: dict[str, str], seconds: float) -> None:
    """An upload without a length has the timeout of the longest body."""
    exchange = begun(gateway, **length)
    assert exchange.receive(Idle(SLOW_BODY_SECONDS), NOW) == ()
    assert exchange.idle_timeout(0.0) == seconds
    [reply] = exchange.receive(Idle(seconds), NOW)
    assert isinstance(reply, Reply)
    assert (reply.status, error_of(reply)["code"]) == (408, "request_timeout")
    assert exchange.idle_timeout(0.0) is None
    assert exchange.receive(RequestBody(CHAT), NOW) == ()
    exchange.close(NOW)
    assert gateway.budget.taken == 0


@pytest.fixture
def roomy(gateway: Gateway) -> MemoryBudget:
    """A budget with room for two bodies of 20,000 bytes in pieces, and not for three."""
    gateway.settings = replace(gateway.settings, limits=LimitSettings(request_bytes=1 << 20))
    gateway.budget = MemoryBudget(600_000, 300_000, stream_bytes=0)
    return gateway.budget


def late(exchange: Exchange, seconds: float = SLOW_BODY_SECONDS) -> Reply | None:
    """Return the response to a body that has not arrived after so long, if there is one."""
    directives = exchange.receive(Idle(seconds), NOW)
    return directives[0] if directives else None  # type: ignore[return-value]


def test_a_slow_body_has_the_time_of_its_size_once_it_is_counted(gateway: Gateway, roomy: MemoryBudget) -> None:
    exchange = begun(gateway, content_length="20000")
    assert exchange.idle_timeout(0.0) == SLOW_BODY_SECONDS
    assert late(exchange) is None
    assert exchange.idle_timeout(0.0) == 60 + 20_000 / (512 * 1024)
    assert roomy.taken == 20_000
    exchange.close(NOW)


def test_an_organisation_has_so_many_slow_bodies_and_no_more(gateway: Gateway, roomy: MemoryBudget) -> None:
    slow = [begun(gateway, content_length="20000") for _ in range(3)]
    assert [late(each) for each in slow[:2]] == [None, None]
    reply = late(slow[2])
    assert reply is not None
    assert (reply.status, dict(reply.headers)["retry-after"]) == (429, "1")
    assert "bodies arrive slowly" in error_of(reply)["message"]
    slow[0].close(NOW)
    again = begun(gateway, content_length="20000")
    assert late(again) is None
    small = [begun(gateway, content_length="16000") for _ in range(9)]
    assert [late(each) for each in small] == [None] * 9
    for each in (*slow, again, *small):
        each.close(NOW)
    assert (roomy.taken, roomy._pieces) == (0, {})


def test_who_has_fewer_slow_bodies_is_not_the_one_who_gets_no_more(gateway: Gateway, roomy: MemoryBudget) -> None:
    roomy.hold_pieces("umbrella", 480_000)
    slow = [begun(gateway, content_length="20000") for _ in range(3)]
    assert [late(each) is None for each in slow] == [True, True, False]
    with pytest.raises(ApiError):
        roomy.hold_pieces("umbrella", 200_000)
    for each in slow:
        each.close(NOW)


def test_one_slow_body_an_organisation_can_always_have(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(8000, 4000, stream_bytes=0)
    others = begun(gateway, content_length="10")
    exchange = begun(gateway, content_length="2000")
    assert late(exchange) is None
    for each in (exchange, others):
        each.close(NOW)
    assert (gateway.budget.taken, gateway.budget._pieces) == (0, {})


def test_a_slow_body_without_a_length_counts_as_a_usual_one(gateway: Gateway) -> None:
    gateway.settings = replace(gateway.settings, limits=LimitSettings())
    gateway.budget = MemoryBudget(1 << 30, 1 << 29)
    exchange = begun(gateway)
    assert late(exchange) is None
    assert gateway.budget._pieces == {"acme": slow_bytes(USUAL) + 1}
    exchange.close(NOW)


def test_a_slow_body_without_a_length_counts_what_it_has_once_it_is_there(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 30, 1 << 29)
    others = [begun(gateway) for _ in range(8)]
    exchange = begun(gateway)
    assert late(exchange) is None
    body = CHAT.replace(b"Hello", b"$ref")  # with eight others to come, another process reads it
    exchange.receive(RequestBody(body), NOW)
    assert gateway.budget._pieces == {"acme": slow_bytes(len(body)) + 1}
    for each in (exchange, *others):
        each.close(NOW)


def test_a_body_counts_no_more_once_what_is_sent_takes_its_place(gateway: Gateway, roomy: MemoryBudget) -> None:
    exchange = begun(gateway, content_length=str(len(CHAT)))
    assert late(exchange) is None
    [forward] = exchange.receive(RequestBody(CHAT), NOW)
    assert isinstance(forward, Forward)
    assert roomy._pieces == {}
    exchange.close(NOW)


def test_what_waits_in_envoy_for_side_calls_counts_from_the_beginning(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 30, 1 << 29)
    exchange, body = embedding(gateway, ["x" * 300] * 3)
    [wait] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, SideCalls)
    assert gateway.budget._pieces == {"acme": slow_bytes(len(body)) + 1}
    exchange.close(NOW)
    assert (gateway.budget.taken, gateway.budget._pieces) == (0, {})


def test_a_reservation_is_released_at_the_end_of_the_stream(gateway: Gateway) -> None:
    exchange = begun(gateway)
    [reply] = exchange.receive(RequestBody(b"{"), NOW)
    assert reply.status == 400
    assert gateway.budget.taken == 1 + STREAM_BYTES  # Envoy has the body until it has ended the stream
    exchange.close(NOW)
    assert gateway.budget.taken == 0


@pytest.mark.parametrize("events", range(4))
def test_it_comes_back_whenever_the_stream_ends_and_once(gateway: Gateway, events: int) -> None:
    exchange = Exchange(gateway, "0" * 32)
    for event in (headers(), RequestBody(CHAT), ResponseHeaders({":status": "200"}))[:events]:
        exchange.receive(event, NOW)
    exchange.close(NOW)
    exchange.close(NOW)
    assert gateway.budget.taken == 0
    assert exchange.receive(RequestBody(CHAT), NOW) == ()
    assert gateway.budget.taken == 0


@pytest.mark.parametrize("times", [1, 3])
def test_images_that_are_fetched_count_as_the_largest_until_they_are_there(gateway: Gateway, times: int) -> None:
    """An image counts as often as the request names it, because it is sent as often."""
    data = with_image(times)
    exchange = begun(gateway)
    [wait] = exchange.receive(RequestBody(data), NOW)
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, Fetch)
    assert gateway.budget.taken == len(data) + STREAM_BYTES + times * wait.job.max_bytes * 4 // 3
    [forward] = exchange.receive(Resumed(FetchedImages((Fetched(PNG, "image/png"),))), NOW)
    assert isinstance(forward, Forward)
    assert gateway.budget.taken == STREAM_BYTES + len(forward.body) > STREAM_BYTES + times * len(PNG) * 4 // 3


def test_the_translated_request_counts_where_it_is_larger(gateway: Gateway) -> None:
    """A text of one character becomes a call of its own, with all that a call needs."""
    exchange, body = embedding(gateway, ["x"] * 500)
    [wait] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, SideCalls)
    bodies = 500 * len(wait.job.calls[0].body)
    assert gateway.budget.taken == STREAM_BYTES + bodies + 500 * RESPONSE > STREAM_BYTES + 10 * len(body)


def test_an_impossible_translation_gets_no_advice_to_retry(gateway: Gateway) -> None:
    exchange, body = embedding(gateway, ["x"])
    gateway.budget.share = STREAM_BYTES + len(body)
    [reply] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(reply, Reply)
    assert (reply.status, error_of(reply)["code"]) == (413, "request_too_large")


# Responses that are kept until the last has come


def with_vectors(exchange: Exchange, wait: Wait, vector: bytes = VECTOR) -> Directive:
    """Return the directives once Bedrock has sent a vector for each call."""
    assert isinstance(wait.job, SideCalls)
    [directive] = exchange.receive(Resumed(SideResponses(SideResponse(200, {}, vector) for _ in wait.job.calls)), NOW)
    return directive


def fitting_of(message: str) -> int:
    """Return the number of fitting inputs that an error message names."""
    [fitting] = re.findall(r"at most (\d+) such inputs", message)
    return int(fitting)


def held_alone(budget: MemoryBudget, model: EmbeddingModel, inputs: object) -> tuple[int, int]:
    """What a request for the longest vectors needs while nothing else is in flight, in all and for its response."""
    fields = {"dimensions": max(model.dimensions)} if len(model.dimensions) > 1 else {}
    body = json.dumps({"model": model.ids[0], "input": inputs, **fields}).encode()
    target = Target(model.ids[0], model.ids[0])
    plan = EMBEDDINGS.decode(body).ask(target, BUILT_IN.of(target.foundation), AskContext({}, cl100k_base.decode))
    reservation = Reservation(budget, "acme", len(body))
    try:
        hold_calls(reservation, plan.calls)
        return max(reservation.body, reservation.outgoing) + reservation.response, reservation.response
    finally:
        reservation.release()


def test_the_expected_response_to_one_call_counts_until_it_is_known(gateway: Gateway) -> None:
    exchange, body = embedding(gateway, ["x"])
    [forward] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(forward, Forward)
    assert gateway.budget.taken == STREAM_BYTES + len(body) + RESPONSE
    exchange.receive(ResponseHeaders({":status": "200"}), NOW)
    [reply] = exchange.receive(ResponseBody(VECTOR, end_of_stream=True), NOW)
    assert isinstance(reply, Reply)
    assert gateway.budget.taken == STREAM_BYTES + len(body) + len(reply.body)
    exchange.close(NOW)
    assert gateway.budget.taken == 0


def test_expected_responses_count_from_before_the_first_call_until_they_are_known(gateway: Gateway) -> None:
    exchange, body = embedding(gateway, ["x"] * 300)
    [wait] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, SideCalls)
    other_bytes = STREAM_BYTES + 300 * len(wait.job.calls[0].body)
    assert gateway.budget.taken == other_bytes + 300 * RESPONSE
    following = with_vectors(exchange, wait)
    assert isinstance(following, Wait)
    assert gateway.budget.taken == other_bytes + 256 * len(VECTOR) + 44 * RESPONSE
    complete = with_vectors(exchange, following)
    assert isinstance(complete, Wait)
    assert isinstance(complete.job, Complete)
    assert gateway.budget.taken == other_bytes + 300 * len(VECTOR)
    exchange.receive(Resumed(Completed(b"x" * 1000, Usage(), "stop")), NOW)
    assert gateway.budget.taken == other_bytes + 1000
    exchange.close(NOW)
    assert gateway.budget.taken == 0


def test_a_longer_response_is_not_rejected_after_its_calls_are_billed(gateway: Gateway) -> None:
    long = json.dumps({"embedding": [-0.12345678901234567] * 1024, "inputTextTokenCount": 1}).encode()
    assert len(long) > RESPONSE
    exchange, body = embedding(gateway, ["x"] * 2)
    [wait] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(wait, Wait)
    gateway.budget.share = taken = gateway.budget.taken
    reply = with_vectors(exchange, wait, long)
    assert isinstance(reply, Reply)
    assert (reply.status, gateway.budget.taken) == (200, taken)


def test_a_response_that_can_never_fit_is_a_413_with_the_fitting_inputs(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 22, 1 << 21)
    exchange, body = embedding(gateway, ["x"] * 200)
    [reply] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(reply, Reply)
    assert (reply.status, error_of(reply)["code"], error_of(reply)["param"]) == (413, "request_too_large", "input")
    exchange.close(NOW)
    exchange, body = embedding(gateway, ["x"] * fitting_of(error_of(reply)["message"]))
    assert isinstance(exchange.receive(RequestBody(body), NOW)[0], Wait)


@pytest.mark.parametrize("inputs", [97, 700])
@pytest.mark.parametrize("model", EMBEDDING_MODELS.values(), ids=lambda model: str(model.ids[0]))
def test_as_many_inputs_as_the_error_names_fit_and_not_many_more(model: EmbeddingModel, inputs: int) -> None:
    budget = MemoryBudget(GIB, GIB)
    needed = held_alone(budget, model, ["x" * 200] * inputs)[0]
    for part in (0.1, 0.5, 0.99, 0.999):
        budget.share = STREAM_BYTES + int(needed * part)
        with pytest.raises(ApiError) as caught:
            held_alone(budget, model, ["x" * 200] * inputs)
        fitting = fitting_of(caught.value.message)
        held_alone(budget, model, ["x" * 200] * fitting)
        with pytest.raises(ApiError):
            held_alone(budget, model, ["x" * 200] * (fitting + 2))


def test_a_response_without_budget_at_the_moment_is_a_429(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 22, 1 << 21)
    begun(gateway, content_length="1000")
    exchange, body = embedding(gateway, ["x"] * 105)
    [reply] = exchange.receive(RequestBody(body), NOW)
    assert isinstance(reply, Reply)
    assert (reply.status, dict(reply.headers)["retry-after"]) == (429, "1")


@pytest.mark.parametrize("model", EMBEDDING_MODELS.values(), ids=lambda model: str(model.ids[0]))
def test_openais_largest_request_fits_alone_into_the_manifests_share(model: EmbeddingModel) -> None:
    """2,048 inputs of 300,000 tokens together, the longest tokens that there are, and the most dimensions."""
    whole = in_flight_bytes(LimitSettings(), Memory(1536 * MIB, 1024 * MIB), workers=1)
    budget = MemoryBudget(whole, organisation_bytes(LimitSettings(), whole, workers=1, organisations=3))
    tokens = 146 if model.max_characters is None else min(146, model.max_characters // 128)
    _, response = held_alone(budget, model, [[LONG_TOKEN] * tokens] * 2048)
    assert response >= 2048 * max(model.dimensions) * FLOAT_BYTES


def test_images_that_there_is_no_memory_for_are_not_fetched(gateway: Gateway) -> None:
    gateway.budget = MemoryBudget(1 << 20, 1 << 20)
    others = begun(gateway, content_length="1")
    exchange = begun(gateway)
    [reply] = exchange.receive(RequestBody(with_image()), NOW)
    assert isinstance(reply, Reply)
    assert reply.status == 429
    exchange.close(NOW)
    others.close(NOW)
    assert gateway.budget.taken == 0


def test_images_have_no_more_bytes_than_one_request_can_ever_have(gateway: Gateway) -> None:
    """Otherwise they would be rejected for ever, with advice to retry."""
    gateway.budget = MemoryBudget(1 << 20, 1 << 20)
    exchange = begun(gateway)
    [wait] = exchange.receive(RequestBody(with_image()), NOW)
    assert isinstance(wait, Wait)
    assert isinstance(wait.job, Fetch)
    assert 0 < wait.job.total_bytes < wait.job.max_bytes
    assert 0 <= (1 << 20) - gateway.budget.taken < 4
    image = Fetched(bytes(wait.job.total_bytes), "image/png")
    exchange.receive(Resumed(FetchedImages((image,))), NOW)
    assert gateway.budget.taken <= 1 << 20
