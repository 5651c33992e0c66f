"""Metrics of usage: where they are, their series and their tags."""

from typing import Any

import pytest

from tests.unit.envoy_config.documents import SERVED, Edit, every, fragment, one


@pytest.mark.parametrize(
    ("settings", "plan"),
    [
        ("{}", {}),
        ("{}", {"health": SERVED["health"]}),
        ("{}", {"admin": SERVED["admin"]}),
        ("metrics: {usage: false}", SERVED),
    ],
)
def test_usage_is_counted_where_it_is_served_and_not_switched_off(
    document: Edit, settings: str, plan: dict[str, Any]
) -> None:
    rendered = document(settings, **plan)
    assert not list(every(rendered, "access_log"))
    assert not [key for key in rendered if key.startswith("stats_")]


def test_usage_is_counted_at_the_end_of_calls_with_a_record_in_series_that_are_bounded(document: Edit) -> None:
    rendered = document("metrics: {series: 7}", **SERVED)
    loggers = one(rendered, "access_log")
    assert loggers == fragment("metrics", settings="metrics: {series: 7}")
    for logger in loggers:
        at_the_end, *recorded = logger["filter"]["and_filter"]["filters"]
        assert at_the_end == {"log_type_filter": {"types": ["DownstreamEnd"]}}
        assert {each["match_if_key_not_found"] for each in every(recorded, "metadata_filter")} == {False}
        # With `sharing_name` Envoy crashes when it ends.
        assert one(logger, "stats_scope") == {
            "prefix": "oai",
            "max_counters": 7,
            "max_histograms": 7,
            "enable_eviction": True,
        }
    flush, eviction = (float(rendered[f"stats_{name}_interval"].rstrip("s")) for name in ("flush", "eviction"))
    assert eviction % flush == 0
    assert eviction > 24 * 3600, "the queries of docs/operations.md compare values of a day"


def test_an_operator_may_have_the_fragment_without_metrics() -> None:
    assert fragment("metrics", settings="metrics: {usage: false}") == []


def test_no_metric_has_a_callers_words(document: Edit) -> None:
    tags = {tag["value_format"] for tags in every(document(**SERVED), "tags") for tag in tags}
    named = {tag for tag in tags if "%" in tag}
    fields = ("organisation", "known_model", "finish", "estimated", "budget_warned")
    assert named == {"%RESPONSE_CODE%", *(f"%DYNAMIC_METADATA(oai:{name})%" for name in fields)}
