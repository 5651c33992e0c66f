"""Metrics of usage by organisation and model: when a call ends, Envoy counts the record that a worker has sent of it.

Each metric is an access logger of kind `stats`, which sees a call once. It has a value that Envoy keeps when a worker
is killed or a client leaves (`telemetry.record`), so that those calls are counted too.

The invariant: no value that a caller chooses becomes a series. Organisations are those of the directory, models those
of `known_model`, `finish` is a reason or an error's code, `budget` one of three words, and Envoy keeps at most
`metrics.series` of each metric.

Decisions: docs/decisions.md, D232, D233, D267.
"""

from collections.abc import Iterator
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    LogTypeFilter,
    MetadataFilter,
    ResponseFlagFilter,
)
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
from envoy_data_plane.envoy.config.metrics.v3 import HistogramBucketSettings, StatsConfig
from envoy_data_plane.envoy.data.accesslog.v3 import AccessLogType
from envoy_data_plane.envoy.extensions.access_loggers.stats.v3 import (
    Config,
    ConfigCounter,
    ConfigHistogram,
    ConfigHistogramUnit,
    ConfigStat,
    ConfigTag,
)
from envoy_data_plane.envoy.type.matcher.v3 import (
    DoubleMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    RegexMatcher,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.envoy.type.v3 import DoubleRange, Scope

from extproc.envoy_config import EnvoyPlan
from extproc.envoy_config.messages import packed, seconds
from extproc.shared_names import METADATA_NAMESPACE

_PREFIX = "oai"
"""Prometheus has the metrics as `envoy_oai_…`."""

_FLUSH = seconds(5)
"""Envoy's default; an eviction is a multiple of it."""

_EVICTION = timedelta(hours=48)
"""Time without a change after which Envoy forgets a series, or twice as much. It is longer than a day, so that a day's
difference of two values is of one and the same series."""

_BUCKETS = [1e2, 2e2, 3e2, 5e2, 7.5e2, 1e3, 1.5e3, 2e3, 3e3, 5e3, 7.5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 36e5]
"""Upper bounds, in milliseconds."""

_KINDS = (
    ("tokens_total", "input", "input_tokens"),
    ("tokens_total", "output", "output_tokens"),
    ("token_details_total", "cached", "cached_tokens"),
    ("token_details_total", "cache_write", "cache_write_tokens"),
    ("token_details_total", "reasoning", "reasoning_tokens"),
)
"""Metric, kind, and the record's field: what is a part of another kind has a metric of its own, so that sums are
right."""


def is_counted(plan: EnvoyPlan) -> bool:
    """Return whether this Envoy counts usage: there is `/metrics`, and it is not switched off."""
    return plan.health is not None and plan.admin is not None and plan.settings.metrics.usage


def count_usage(bootstrap: Bootstrap) -> None:
    """Set what the metrics need of the whole Envoy."""
    ours = StringMatcher(prefix=f"{_PREFIX}.")
    bootstrap.stats_flush_interval = _FLUSH
    bootstrap.stats_eviction_interval = _EVICTION
    bootstrap.stats_config = StatsConfig(
        histogram_bucket_settings=[HistogramBucketSettings(match=ours, buckets=[*_BUCKETS])]
    )


def usage_loggers(plan: EnvoyPlan) -> list[AccessLog]:
    """Return the access loggers; none where they are switched off."""
    metrics = plan.settings.metrics
    return [*_loggers(metrics.series)] if metrics.usage else []


def _loggers(series: int) -> Iterator[AccessLog]:
    whose = [_tag("organisation", "organisation"), _tag("model", "known_model")]
    models, estimated = whose[1:], _tag("estimated", "estimated")
    ends = [ConfigTag(name="status", value_format="%RESPONSE_CODE%"), _tag("finish", "finish"), estimated]
    served = _at_least_one("input_tokens")

    yield _logger(series, [_has("request_id")], _counter("calls_total", [*whose, *ends]))
    yield _logger(series, [_has("request_id"), _left_by_client()], _counter("cut_calls_total", whose))
    yield _logger(series, [served, _is("priced", False)], _counter("unpriced_calls_total", whose))
    warned = _counter("budget_warned_calls_total", [whose[0], _tag("budget", "budget_warned")])
    yield _logger(series, [has_text("budget_warned")], warned)
    yield _logger(series, [_is("store_away", True)], _counter("store_away_calls_total", whose[:1]))
    for name, kind, field in _KINDS:
        tags = [*whose, ConfigTag(name="kind", value_format=kind)]
        yield _logger(series, [_at_least_one(field)], _counter(name, tags, _value(field)))
    cost = "cost_micro_usd"
    yield _logger(series, [_at_least_one(cost)], _counter(f"{cost}_total", [*whose, estimated], _value(cost)))
    first = "time_to_first_token_ms"
    yield _logger(series, [_at_least_one(first)], _histogram("time_to_first_token_milliseconds", models, _value(first)))
    yield _logger(series, [served], _histogram("call_milliseconds", models, "%DURATION%"))


def _logger(series: int, filters: list[AccessLogFilter], stat: ConfigCounter | ConfigHistogram) -> AccessLog:
    """Return the logger of one metric: it counts a call at its end, if it passes all `filters`.

    The scope has no `sharing_name`, with which Envoy 1.40 crashes where it ends.
    """
    scope = Scope(prefix=_PREFIX, max_counters=series, max_histograms=series, enable_eviction=True)
    config = Config(stats_scope=scope)
    if isinstance(stat, ConfigCounter):
        config.counters = [stat]
    else:
        config.histograms = [stat]
    return AccessLog(name="envoy.access_loggers.stats", filter=at_the_end(filters), typed_config=packed(config))


def _counter(name: str, tags: list[ConfigTag], value: str = "") -> ConfigCounter:
    """Return a counter of `value`, or of calls."""
    stat = ConfigStat(name=name, tags=tags)
    return ConfigCounter(stat=stat, value_format=value) if value else ConfigCounter(stat=stat, value_fixed=1)


def _histogram(name: str, tags: list[ConfigTag], value: str) -> ConfigHistogram:
    unit = ConfigHistogramUnit.Milliseconds
    return ConfigHistogram(stat=ConfigStat(name=name, tags=tags), unit=unit, value_format=value)


def _value(field: str) -> str:
    return f"%DYNAMIC_METADATA({METADATA_NAMESPACE}:{field})%"


def _tag(name: str, field: str) -> ConfigTag:
    return ConfigTag(name=name, value_format=_value(field))


def at_the_end(filters: list[AccessLogFilter]) -> AccessLogFilter:
    """Return a filter for calls at their end that pass all `filters`."""
    end = AccessLogFilter(log_type_filter=LogTypeFilter(types=[AccessLogType.DownstreamEnd]))
    return AccessLogFilter(and_filter=AndFilter(filters=[end, *filters]))


# Filters. A call without the record's field passes none of them, so that no value is ever missing.


def _has(field: str) -> AccessLogFilter:
    return matches(field, ValueMatcher(present_match=True))


def has_text(field: str) -> AccessLogFilter:
    """Return a filter for calls whose record has a text in this field."""
    return matches(field, ValueMatcher(string_match=StringMatcher(safe_regex=RegexMatcher(regex=".+"))))


def _is(field: str, value: bool) -> AccessLogFilter:
    return matches(field, ValueMatcher(bool_match=value))


def _at_least_one(field: str) -> AccessLogFilter:
    return matches(field, ValueMatcher(double_match=DoubleMatcher(range=DoubleRange(start=1.0, end=2.0**53))))


def matches(field: str, value: ValueMatcher) -> AccessLogFilter:
    """Return a filter for calls whose record has this field with such a value."""
    path = [MetadataMatcherPathSegment(key=field)]
    matcher = MetadataMatcher(filter=METADATA_NAMESPACE, path=path, value=value)
    return AccessLogFilter(metadata_filter=MetadataFilter(matcher=matcher, match_if_key_not_found=False))


def _left_by_client() -> AccessLogFilter:
    """Return a filter for calls whose client has closed the connection, or reset the stream."""
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["DC", "DR"]))
