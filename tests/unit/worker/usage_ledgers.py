"""Lines of a ledger of usage, and the queries of tests."""

import datetime
import itertools
import json
from typing import Any

from extproc.openai.usage_query import DAY, UsageQuery

NOW = 1_790_000_000
TODAY = NOW // DAY * DAY
NOVA, TITAN = "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"

_NUMBERS = itertools.count()


def line(when: float = NOW, **changes: Any) -> bytes:
    """Return a call that began then, as the ledger has it, with its newline."""
    start = datetime.datetime.fromtimestamp(when, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    made = {
        "id": f"00000000-0000-4000-8000-{next(_NUMBERS):012x}",
        "start": start,
        "organisation": "acme",
        "operation": "chat",
        "token": "ci",
        "known_model": NOVA,
        "status": 200,
        "input_tokens": 10,
        "cached_tokens": 4,
        "cache_write_tokens": 1,
        "output_tokens": 5,
        "cost_micro_usd": 100,
    }
    return json.dumps({**made, **changes}).encode() + b"\n"


def query(resource: str = "completions", **changes: Any) -> UsageQuery:
    """Return the query of the last seven days, in one page."""
    start, until = TODAY - 6 * DAY, TODAY + DAY
    made = {"resource": resource, "width": DAY, "start": start, "until": until, "end": until}
    return UsageQuery(**{**made, **changes})
