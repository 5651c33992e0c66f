"""A page of usage or costs, as OpenAI's Administration API has it.

Source: `UsageCompletionsResponse` and its like in the openai package. A field that the query does not group by is null,
and so is what the gateway has no record of, such as the part of audio in the input.

Decision: docs/decisions.md, D257.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from extproc.openai.usage_query import COMPLETIONS, COSTS, UsageQuery, page_name
from extproc.value import Value

_MILLION: Final = 1_000_000

Result = dict[str, object]


class UsageRow(Value, frozen=True):
    """The sums of a group of calls in the bucket that starts at `start`.

    `model` and `api_key` are what the group has in common, empty where that is not known or not asked for.
    """

    start: int
    model: str
    api_key: str
    requests: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_micro_usd: int


def usage_page(query: UsageQuery, rows: Iterable[UsageRow], until: int) -> bytes:
    """Encode the buckets of the query before `until`; `rows` are in the order of time."""
    results: dict[int, list[Result]] = {start: [] for start in range(query.start, until, query.width)}
    for row in rows:
        results[row.start].append(_result(query, row))
    more = until < query.end
    page = {
        "object": "page",
        "data": [_bucket(start, query.width, those) for start, those in results.items()],
        "has_more": more,
        "next_page": page_name(until) if more else None,
    }
    return msgspec.json.encode(page)


def _bucket(start: int, width: int, results: Sequence[Result]) -> dict[str, object]:
    return {"object": "bucket", "start_time": start, "end_time": start + width, "results": results}


def _result(query: UsageQuery, row: UsageRow) -> Result:
    if query.resource == COSTS.name:
        return _cost(query, row)
    result: Result = {
        "object": f"organization.usage.{query.resource}.result",
        "input_tokens": row.input_tokens,
        "num_model_requests": row.requests,
        "project_id": None,
        "user_id": None,
        "api_key_id": _if_grouped(query, "api_key_id", row.api_key),
        "model": _if_grouped(query, "model", row.model),
    }
    if query.resource == COMPLETIONS.name:
        result |= {
            "output_tokens": row.output_tokens,
            "input_cached_tokens": row.cached_tokens,
            "input_cache_write_tokens": row.cache_write_tokens,
            "input_uncached_tokens": row.input_tokens - row.cached_tokens - row.cache_write_tokens,
            "input_audio_tokens": None,
            "output_audio_tokens": None,
            "batch": False if "batch" in query.group_by else None,
            "service_tier": None,
            "api_source": _if_grouped(query, "api_source", "unlabeled"),
        }
    return result


def _cost(query: UsageQuery, row: UsageRow) -> Result:
    return {
        "object": "organization.costs.result",
        "amount": {"value": row.cost_micro_usd / _MILLION, "currency": "usd"},
        "line_item": _if_grouped(query, "line_item", row.model),
        "quantity": None,
        "quantity_unit": None,
        "project_id": None,
        "user_id": None,
        "api_key_id": _if_grouped(query, "api_key_id", row.api_key),
        "api_source": _if_grouped(query, "api_source", "unlabeled"),
    }


def _if_grouped(query: UsageQuery, name: str, value: str) -> str | None:
    return value or None if name in query.group_by else None
