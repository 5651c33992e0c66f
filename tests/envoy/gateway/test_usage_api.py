"""OpenAI's API of usage and costs, by the administration client of its SDK: what it shows is what was used."""

import json
from collections import Counter
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, PermissionDeniedError

from tests.conftest import Gateway
from tests.envoy.gateway.usage_api import (
    CONFIG,
    DAY,
    LITE,
    NOVA,
    NUMBERS,
    TITAN,
    TODAY,
    Eventually,
    chat,
    results,
    sdk,
    usage_of,
    used,
)


class Billed:
    """What calls used, by the counts that Bedrock sent, of each token and model."""

    def __init__(self) -> None:
        self.input: Counter[tuple[str, str]] = Counter()
        self.output: Counter[tuple[str, str]] = Counter()
        self.cached: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[tuple[str, str]] = Counter()

    def add(self, token: str, model: str, usage: Any) -> None:
        group = (token, model)
        self.calls[group] += 1
        self.input[group] += usage.prompt_tokens
        self.output[group] += getattr(usage, "completion_tokens", 0)
        details = getattr(usage, "prompt_tokens_details", None)
        self.cached[group] += (details and details.cached_tokens) or 0


def stream(gateway: Gateway, token: str, model: str) -> Any:
    messages: Any = [{"role": "user", "content": "Count to 50."}]
    options: Any = {"include_usage": True}
    client = sdk(gateway, token)
    chunks = client.chat.completions.create(model=model, messages=messages, stream=True, stream_options=options)
    return list(chunks)[-1].usage


def embed(gateway: Gateway, token: str) -> Any:
    return sdk(gateway, token).embeddings.create(model=TITAN, input="some text to embed").usage


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def gateway(request: Any, start_shared: Any) -> Any:
    return start_shared({**CONFIG, "transport": request.param})


@pytest.fixture(scope="module")
def billed(gateway: Gateway, eventually: Eventually) -> Billed:
    """Calls of two organisations, once they are all in the sums."""
    billed = Billed()
    for token, model in (("ci", NOVA), ("ci", NOVA), ("dev", NOVA), ("dev", LITE), ("umbrella", NOVA)):
        billed.add(token, model, chat(gateway, token, model))
        billed.add(token, model, stream(gateway, token, model))
    billed.add("dev", NOVA, chat(gateway, "dev", "small", "[[local: cacheread=100 cachewrite=20]] Hello!"))
    billed.add("ci", TITAN, embed(gateway, "ci"))
    with pytest.raises(BadRequestError):
        chat(gateway, "ci", NOVA, "[[local: status=400]] x")
    with pytest.raises(NotFoundError):
        chat(gateway, "ci", "amazon.no-such-model-v1:0")

    def counted(token: str, organisation: str | None = None) -> int:
        usage = usage_of(gateway, token, organization=organisation)
        found = [usage.completions(start_time=TODAY), usage.embeddings(start_time=TODAY)]
        return sum(result.num_model_requests for page in found for result in results(page))

    eventually(lambda: used(gateway) is not None)
    eventually(lambda: counted("watcher") + counted("both", "umbrella") == billed.calls.total())
    return billed


def of_acme(counter: Counter[tuple[str, str]], model: str | None = None) -> int:
    return sum(
        number
        for (token, called), number in counter.items()
        if token != "umbrella" and (called == model if model else called != TITAN)
    )


def test_completions_are_those_that_bedrock_counted(gateway: Gateway, billed: Billed) -> None:
    page = usage_of(gateway).completions(start_time=TODAY)
    [result] = results(page)
    assert (page.object, page.has_more, page.next_page) == ("page", False, None)
    assert (page.data[0].start_time, page.data[0].end_time) == (TODAY, TODAY + DAY)
    assert result.object == "organization.usage.completions.result"
    assert (result.num_model_requests, result.input_tokens) == (of_acme(billed.calls), of_acme(billed.input))
    assert (result.output_tokens, result.input_cached_tokens) == (of_acme(billed.output), of_acme(billed.cached))
    assert result.input_cached_tokens == 100
    assert result.input_cache_write_tokens == 20
    assert result.input_uncached_tokens == result.input_tokens - 120
    assert (result.model, result.api_key_id, result.project_id, result.batch) == (None, None, None, None)


def test_groups_by_model_and_key_are_what_each_used(gateway: Gateway, billed: Billed) -> None:
    for width in ("1d", "1h"):
        page = usage_of(gateway).completions(
            start_time=TODAY, group_by=["model", "api_key_id"], bucket_width=width, limit=31
        )
        found = {(each.api_key_id, each.model): [getattr(each, name) for name in NUMBERS] for each in results(page)}
        assert found == expected(billed)


def expected(billed: Billed) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of acme's completions, by token and model."""
    groups = [group for group in billed.calls if group[0] != "umbrella" and group[1] != TITAN]
    return {group: [billed.calls[group], billed.input[group], billed.output[group]] for group in groups}


def test_filters_leave_the_rest_out(gateway: Gateway, billed: Billed) -> None:
    usage = usage_of(gateway)
    [result] = results(usage.completions(start_time=TODAY, models=[LITE], group_by=["batch", "api_source"]))
    assert (result.input_tokens, result.batch, result.api_source) == (of_acme(billed.input, LITE), False, "unlabeled")
    [result] = results(usage.completions(start_time=TODAY, api_key_ids=["ci", "none"], batch=False))
    assert result.input_tokens == billed.input["ci", NOVA]
    assert results(usage.completions(start_time=TODAY, api_key_ids=["none"])) == []
    assert results(usage.completions(start_time=TODAY, batch=True)) == []


def test_embeddings_are_apart(gateway: Gateway, billed: Billed) -> None:
    [result] = results(usage_of(gateway).embeddings(start_time=TODAY, group_by=["model"]))
    assert result.object == "organization.usage.embeddings.result"
    assert (result.model, result.num_model_requests, result.input_tokens) == (TITAN, 1, billed.input["ci", TITAN])


def test_costs_are_what_tokens_cost(gateway: Gateway, billed: Billed) -> None:
    usage = usage_of(gateway)
    [result] = results(usage.costs(start_time=TODAY))
    plain = of_acme(billed.input, NOVA) - 120
    micro = 1000 * plain + 100 * 100 + 1250 * 20 + 2000 * of_acme(billed.output, NOVA)
    micro += 3 * of_acme(billed.input, LITE) + 7 * of_acme(billed.output, LITE) + 500 * billed.input["ci", TITAN]
    assert (result.object, result.amount.currency) == ("organization.costs.result", "usd")
    assert round(result.amount.value * 1_000_000) == micro
    items = {
        each.line_item: each.amount.value for each in results(usage.costs(start_time=TODAY, group_by=["line_item"]))
    }
    assert items.keys() == {NOVA, LITE, TITAN}
    assert round(sum(items.values()) * 1_000_000) == micro
    [item] = results(usage.costs(start_time=TODAY, group_by=["api_key_id"], line_items=[TITAN], api_key_ids=["ci"]))
    assert (item.api_key_id, round(item.amount.value * 1_000_000)) == ("ci", 500 * billed.input["ci", TITAN])


def test_pages_have_each_bucket_once(gateway: Gateway, billed: Billed) -> None:
    usage = usage_of(gateway)
    whole: dict[str, Any] = {"start_time": TODAY - 5 * DAY, "end_time": TODAY + 2 * DAY}
    buckets, page = [], usage.completions(**whole, limit=4)
    assert len(page.data) == 4
    while True:
        buckets += page.data
        assert page.has_more is (page.next_page is not None)
        if page.next_page is None:
            break
        page = usage.completions(**whole, limit=4, page=page.next_page)
    assert [bucket.start_time for bucket in buckets] == [TODAY + number * DAY for number in range(-5, 2)]
    assert [bool(bucket.results) for bucket in buckets][:6] == [False] * 5 + [True]
    assert [(each.start_time, each.results) for each in buckets] == [
        (each.start_time, each.results) for each in usage.completions(**whole).data
    ]


def test_an_organisation_sees_its_own_usage_only(gateway: Gateway, billed: Billed) -> None:
    [result] = results(usage_of(gateway, "both", organization="umbrella").completions(start_time=TODAY))
    assert result.input_tokens == billed.input["umbrella", NOVA]
    usage = usage_of(gateway, "both", organization="umbrella")
    assert results(usage.completions(start_time=TODAY, api_key_ids=["ci"])) == []
    with pytest.raises(PermissionDeniedError) as rejected:
        usage_of(gateway, "watcher", organization="umbrella").completions(start_time=TODAY)
    assert rejected.value.code == "organisation_not_allowed"


def test_a_call_whose_client_leaves_counts_as_the_ledger_has_it(
    gateway: Gateway, eventually: Eventually, local: Any
) -> None:
    messages: Any = [{"role": "user", "content": "Count to 500. [[local: hold]]"}]
    stream = sdk(gateway, "leaver").chat.completions.create(model=NOVA, messages=messages, stream=True)
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    stream.close()
    usage = usage_of(gateway, "both", organization="leavers")
    [result] = eventually(lambda: results(usage.completions(start_time=TODAY)))
    lines = [json.loads(line) for line in (gateway.folder / "usage.jsonl").read_text().splitlines()]
    [line] = [line for line in lines if line["token"] == "leaver"]
    assert line["estimated"] is True
    assert (result.num_model_requests, result.input_tokens) == (1, line["input_tokens"])
    assert result.output_tokens == line["output_tokens"] > 0


@pytest.mark.parametrize("token", ["ci", "chats"])
def test_a_token_that_was_not_given_the_scope_may_not(gateway: Gateway, token: str) -> None:
    """Most tokens have no scopes, and may make every call; what everybody spends is not among these."""
    usage = usage_of(gateway, token)
    for ask in (usage.completions, usage.embeddings, usage.costs):
        with pytest.raises(PermissionDeniedError) as rejected:
            ask(start_time=0)
        assert rejected.value.code == "insufficient_permissions"
        assert "Missing scopes: usage." in rejected.value.message


def test_a_token_for_usage_makes_no_other_call(gateway: Gateway) -> None:
    with pytest.raises(PermissionDeniedError):
        chat(gateway, "watcher", NOVA)


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "an end before the start": ("end_time", {"end_time": 1_000}),
    "an end at the start": ("end_time", {"end_time": TODAY}),
    "too many buckets": ("end_time", {"bucket_width": "1m", "end_time": TODAY + 1001 * 60}),
    "too many buckets until now": ("start_time", {"start_time": 0}),
    "too many in a page": ("limit", {"limit": 32}),
    "none in a page": ("limit", {"limit": 0}),
    "an unknown group": ("group_by", {"group_by": ["colour"]}),
    "a group that is not recorded": ("group_by", {"group_by": ["project_id"]}),
    "a filter that is not recorded": ("user_ids", {"user_ids": ["user-1"]}),
    "projects": ("project_ids", {"project_ids": ["proj_1"]}),
    "a width": ("bucket_width", {"bucket_width": "1w"}),
    "a start that is no number": ("start_time", {"start_time": "yesterday"}),
    "a start in the future": ("start_time", {"start_time": TODAY + 2 * DAY}),
    "a start that is forgotten": ("start_time", {"start_time": TODAY - 401 * DAY}),
    "minutes that are forgotten": (
        "start_time",
        {"start_time": TODAY - 3 * DAY, "end_time": TODAY - 3 * DAY + 60, "bucket_width": "1m"},
    ),
    "a page of nothing": ("page", {"page": "page_7"}),
    "an alias": ("models", {"models": ["small"]}),
    "an unknown parameter": ("colour", {"extra_query": {"colour": "red"}}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_that_names_the_parameter(gateway: Gateway, case: str) -> None:
    param, query = BAD[case]
    with pytest.raises(BadRequestError) as rejected:
        usage_of(gateway).completions(**{"start_time": TODAY, **query})
    assert rejected.value.param == param


def test_costs_are_by_the_day(gateway: Gateway) -> None:
    with pytest.raises(BadRequestError) as rejected:
        usage_of(gateway).costs(start_time=TODAY, bucket_width="1h")  # type: ignore[arg-type]
    assert rejected.value.param == "bucket_width"


def test_a_gateway_without_sums_has_no_such_endpoint(start_gateway: Any, client_of: Any) -> None:
    client = client_of(start_gateway())
    response = client.exchange("GET", "/oai/v1/organization/usage/completions?start_time=1", token=None)
    assert (response.status, response.error["code"]) == (404, "unknown_url")
    assert "`usage.sqlite`" in response.error["message"]


def test_another_method_is_a_405(gateway: Gateway, client_of: Any) -> None:
    response = client_of(gateway).exchange("POST", "/oai/v1/organization/costs", b"{}", token=None)
    assert (response.status, response.headers["allow"]) == (405, "GET")
