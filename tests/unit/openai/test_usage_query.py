"""Queries of usage and costs: what they ask for, and what is wrong with them."""

import typing
from urllib.parse import urlencode

import pytest
from openai._qs import Querystring
from openai.types.admin.organization import (
    usage_completions_params,
    usage_costs_params,
    usage_embeddings_params,
)

from extproc.openai.errors import ApiError
from extproc.openai.usage_query import (
    COMPLETIONS,
    COSTS,
    DAY,
    EMBEDDINGS,
    HOUR,
    MINUTE,
    MOST_BUCKETS,
    Resource,
    UsageQuery,
    usage_query,
)

NOW = 1_790_000_000
TODAY = NOW // DAY * DAY


def query(resource: Resource = COMPLETIONS, **parameters: object) -> UsageQuery:
    """Return the query as the openai package writes it."""
    text = Querystring(array_format="brackets").stringify({"start_time": TODAY, **parameters})
    return usage_query(resource, text, NOW)


def error(resource: Resource, text: str) -> ApiError:
    with pytest.raises(ApiError) as raised:
        usage_query(resource, text, NOW)
    assert raised.value.status == 400
    return raised.value


def test_the_least_is_the_days_from_a_start_until_now() -> None:
    asked = query(start_time=TODAY - 3 * DAY + 7)
    assert asked == UsageQuery("completions", DAY, TODAY - 3 * DAY, TODAY + DAY, TODAY + DAY)


def test_everything_that_can_be_asked_for() -> None:
    asked = query(
        start_time=NOW - 3 * HOUR,
        end_time=NOW,
        bucket_width="1h",
        group_by=["model", "api_key_id", "model"],
        limit=2,
        models=["a", "b&c"],
        api_key_ids=["Zoë"],
        batch=False,
    )
    start = (NOW - 3 * HOUR) // HOUR * HOUR
    assert asked == UsageQuery(
        "completions",
        HOUR,
        start,
        start + 2 * HOUR,
        (NOW - 1) // HOUR * HOUR + HOUR,
        ("model", "api_key_id"),
        ("a", "b&c"),
        ("Zoë",),
        False,
    )


@pytest.mark.parametrize("array_format", ["repeat", "brackets"])
def test_lists_as_clients_write_them(array_format: typing.Literal["repeat", "brackets"]) -> None:
    text = Querystring(array_format=array_format).stringify({"start_time": TODAY, "models": ["a", "b"]})
    assert usage_query(EMBEDDINGS, text, NOW).models == ("a", "b")
    assert usage_query(EMBEDDINGS, urlencode({"start_time": TODAY, "models": "a"}), NOW).models == ("a",)


def test_costs_are_by_line_items() -> None:
    asked = query(COSTS, line_items=["a"], group_by=["line_item"], limit=180, start_time=TODAY - 179 * DAY)
    assert (asked.models, asked.group_by, (asked.until - asked.start) // DAY) == (("a",), ("line_item",), 180)


@pytest.mark.parametrize(("width", "seconds", "usual"), [("1d", DAY, 7), ("1h", HOUR, 24), ("1m", MINUTE, 60)])
def test_a_page_has_as_many_buckets_as_openais(width: str, seconds: int, usual: int) -> None:
    asked = query(bucket_width=width, start_time=NOW - 900 * seconds)
    assert (asked.until - asked.start) // seconds == usual


def test_pages_follow_each_other_to_the_end() -> None:
    asked = query(start_time=TODAY - 9 * DAY, limit=4)
    starts = [asked.start]
    while asked.until < asked.end:
        asked = query(start_time=TODAY - 9 * DAY, limit=4, page=f"page_{asked.until}")
        starts.append(asked.start)
    assert starts == [TODAY - 9 * DAY, TODAY - 5 * DAY, TODAY - DAY]
    assert asked.until == TODAY + DAY


def test_a_thousand_buckets_and_no_more() -> None:
    start = NOW // MINUTE * MINUTE - (MOST_BUCKETS - 1) * MINUTE
    assert query(bucket_width="1m", start_time=start, limit=1000).until == NOW // MINUTE * MINUTE + MINUTE
    assert error(COMPLETIONS, f"bucket_width=1m&start_time={start - 1}").param == "start_time"


@pytest.mark.parametrize(
    ("resource", "text", "param", "code"),
    [
        (COMPLETIONS, "", "start_time", "missing_required_parameter"),
        (COMPLETIONS, "start_time=", "start_time", "invalid_value"),
        (COMPLETIONS, "start_time=-1", "start_time", "invalid_value"),
        (COMPLETIONS, "start_time=\u0661", "start_time", "invalid_value"),
        (COMPLETIONS, "start_time=1.5", "start_time", "invalid_value"),
        (COMPLETIONS, "start_time=1&start_time=2", "start_time", "invalid_value"),
        (COMPLETIONS, "start_time[]=1", "start_time[]", "unknown_parameter"),
        (COMPLETIONS, f"start_time={NOW}&end_time={NOW}", "end_time", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW + 1}", "start_time", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&end_time=99999999999", "end_time", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&bucket_width=1w", "bucket_width", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&limit=0", "limit", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&limit=many", "limit", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&bucket_width=1m&limit=1001", "limit", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&group_by=model,api_key_id", "group_by", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&group_by[]=line_item", "group_by", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&group_by[]=service_tier", "group_by", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&project_ids[]=a", "project_ids", "unsupported_parameter"),
        (COMPLETIONS, f"start_time={NOW}&user_ids=a", "user_ids", "unsupported_parameter"),
        (COMPLETIONS, f"start_time={NOW}&batch=maybe", "batch", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&batch=", "batch", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&page=page_1", "page", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&page=page_{TODAY + 1}", "page", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&page=page_{TODAY + DAY}", "page", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&page=", "page", "invalid_value"),
        (COMPLETIONS, f"start_time={NOW}&line_items=a", "line_items", "unknown_parameter"),
        (COMPLETIONS, "start_time=1" + "&models=a" * 101, "models", "invalid_value"),
        (COMPLETIONS, "a" * 5000 + "=1", "a" * 100, "unknown_parameter"),
        (COMPLETIONS, "&a=1" * 1001, None, None),
        (COMPLETIONS, "start_time=%FF", None, None),
        (EMBEDDINGS, f"start_time={NOW}&batch=true", "batch", "unknown_parameter"),
        (EMBEDDINGS, f"start_time={NOW}&group_by=batch", "group_by", "invalid_value"),
        (COSTS, f"start_time={NOW}&bucket_width=1h", "bucket_width", "invalid_value"),
        (COSTS, f"start_time={NOW}&models=a", "models", "unknown_parameter"),
        (COSTS, f"start_time={NOW}&limit=181", "limit", "invalid_value"),
        (COSTS, f"start_time={NOW}&group_by=model", "group_by", "invalid_value"),
    ],
)
def test_what_cannot_be_used_is_an_error(resource: Resource, text: str, param: str | None, code: str | None) -> None:
    raised = error(resource, text)
    assert (raised.param, raised.code) == (param, code)


@pytest.mark.parametrize(
    ("resource", "kind"),
    [
        (COMPLETIONS, usage_completions_params.UsageCompletionsParams),
        (EMBEDDINGS, usage_embeddings_params.UsageEmbeddingsParams),
        (COSTS, usage_costs_params.UsageCostsParams),
    ],
)
def test_each_parameter_of_the_package_is_taken_or_named_as_not_recorded(resource: Resource, kind: type) -> None:
    for name in typing.get_type_hints(kind):
        with pytest.raises(ApiError) as raised:
            usage_query(resource, f"{name}=%00", NOW)
        assert raised.value.code != "unknown_parameter"
        assert (raised.value.code == "unsupported_parameter") == (name in ("project_ids", "user_ids"))
