"""A request for usage -> the query of its organisation's sums.

Decision: docs/decisions.md, D257.
"""

import datetime
from typing import Final

from extproc.exchange.jobs import QueryUsage
from extproc.exchange.routes import UsageRoute
from extproc.openai.errors import ApiError, invalid
from extproc.openai.usage_query import DAY, MINUTE, UsageQuery, usage_query
from extproc.tenancy.directory import Caller

MINUTES_KEPT: Final = 2
"""Days for which usage by the minute is kept, beside today."""


def query_of(requested: UsageRoute, caller: Caller, keep_days: int, now: float) -> QueryUsage:
    """Return the query. Raises a 400 `ApiError` for parameters that cannot be used."""
    query = usage_query(requested.resource, requested.query, now)
    days = min(MINUTES_KEPT, keep_days) if query.width == MINUTE else keep_days
    oldest = (int(now) // DAY - days) * DAY
    if query.start < oldest:
        raise _forgotten(query, oldest)
    for name in query.models:
        if caller.aliases and name in caller.aliases:
            param = requested.resource.models
            message = f"'{name}' is an alias of your organisation. Name models as they are in the results."
            raise invalid(message, param, "invalid_value")
    return QueryUsage(caller.organisation, query)


def _forgotten(query: UsageQuery, oldest: int) -> ApiError:
    """Return the error for buckets that would be too small, since calls of them are no longer known."""
    when = datetime.datetime.fromtimestamp(oldest, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = "minutes" if query.width == MINUTE else "hours and days"
    return invalid(
        f"Invalid value for 'start_time': usage by {kept} is kept from {oldest} ({when}) on. Ask for what is later"
        f"{', or for a larger bucket_width' if query.width == MINUTE else ''}.",
        "start_time",
        "invalid_value",
    )
