"""The query of a request for usage or costs: its parameters, checked, and the buckets that they ask for.

Source: `UsageCompletionsParams`, `UsageEmbeddingsParams` and `UsageCostsParams` of the openai package. What the gateway
has no record of (projects, users, service tiers) is an error, and so is every other parameter: none is ignored.

Buckets are whole minutes, hours or days of UTC. The first is the one in which `start_time` is, so that a bucket's own
`start_time` and `end_time` are true of what it counts.

Decision: docs/decisions.md, D257.
"""

import re
from typing import Final
from urllib.parse import parse_qsl

from extproc.openai.errors import ApiError, invalid
from extproc.value import Value

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

MOST_BUCKETS: Final = 1000
"""Most buckets of all pages together, and of one page."""

MOST_VALUES: Final = 100
"""Most values of a parameter that is a list."""

_MOST_PARAMETERS: Final = 1000
_SHOWN: Final = 100
"""Most characters of a caller's value in a message."""

_WIDTHS: Final = {"1m": MINUTE, "1h": HOUR, "1d": DAY}
_NUMBER: Final = re.compile(r"[0-9]{1,11}\Z", re.ASCII)
_PAGE: Final = re.compile(r"page_([0-9]{1,11})\Z", re.ASCII)

_RECORDED: Final = "There is no record of %s here"
_UNRECORDED: Final = {"project_id": "projects", "user_id": "users", "service_tier": "service tiers"}


class Resource(Value, frozen=True):
    """A kind of usage that can be asked for; `limits` are the default and the largest `limit`, by bucket width."""

    name: str
    path: str
    limits: dict[int, tuple[int, int]]
    groups: tuple[str, ...]
    """The values of `group_by`."""
    parameters: tuple[str, ...]
    """Those of this resource, beside those that all have."""
    models: str = "models"
    """The parameter that filters by models."""


_USAGE_LIMITS: Final = {DAY: (7, 31), HOUR: (24, 168), MINUTE: (60, MOST_BUCKETS)}

COMPLETIONS: Final = Resource(
    "completions",
    "/organization/usage/completions",
    _USAGE_LIMITS,
    ("model", "api_key_id", "batch", "api_source"),
    ("models", "batch"),
)
EMBEDDINGS: Final = Resource(
    "embeddings", "/organization/usage/embeddings", _USAGE_LIMITS, ("model", "api_key_id"), ("models",)
)
COSTS: Final = Resource(
    "costs",
    "/organization/costs",
    {DAY: (7, 180)},
    ("line_item", "api_key_id", "api_source"),
    ("line_items",),
    models="line_items",
)
RESOURCES: Final = {each.path: each for each in (COMPLETIONS, EMBEDDINGS, COSTS)}

_COMMON: Final = ("start_time", "end_time", "bucket_width", "group_by", "limit", "page", "api_key_ids")
_LISTS: Final = frozenset({"group_by", "models", "line_items", "api_key_ids"})


class UsageQuery(Value, frozen=True):
    """What is asked for: the buckets of `width` seconds from `start` to `until`, of a range that ends at `end`."""

    resource: str
    width: int
    start: int
    until: int
    end: int
    group_by: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Empty for all."""
    api_keys: tuple[str, ...] = ()
    """Names of tokens; empty for all."""
    batch: bool | None = None
    """Whether only batch jobs are asked for, of which there are none, or only others; None is both."""


def usage_query(resource: Resource, text: str, now: float) -> UsageQuery:
    """Parse what follows the `?` of a path. Raises a 400 `ApiError` that names the parameter."""
    values = _values(resource, text)
    width = _width(resource, values)
    first, end = _range(values, width, now)
    start = _page(values, first, end, width)
    return UsageQuery(
        resource.name,
        width,
        start,
        min(end, start + _limit(resource, values, width) * width),
        end,
        _groups(resource, values),
        tuple(values.get(resource.models, ())),
        tuple(values.get("api_key_ids", ())),
        _batch(values),
    )


def page_name(start: int) -> str:
    """Return the cursor of the page whose first bucket starts then."""
    return f"page_{start}"


def _values(resource: Resource, text: str) -> dict[str, list[str]]:
    """Return the values of each parameter; a list's name may end in `[]`, as SDKs write it."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise invalid(
            f"The query cannot be read ({error}); send UTF-8, and at most {_MOST_PARAMETERS} values."
        ) from error
    values: dict[str, list[str]] = {}
    for written, value in pairs:
        name = written.removesuffix("[]")
        _check_name(resource, name, written)
        values.setdefault(name, []).append(value)
    for name, several in values.items():
        if len(several) > (MOST_VALUES if name in _LISTS else 1):
            most = f"at most {MOST_VALUES} values" if name in _LISTS else "one value"
            raise invalid(f"Invalid value for '{name}': expected {most}, got {len(several)}.", name, "invalid_value")
    return values


def _check_name(resource: Resource, name: str, written: str) -> None:
    """Raise a 400 for a parameter that this resource has not."""
    if name in (*_COMMON, *resource.parameters) and (name == written or name in _LISTS):
        return
    shown = written[:_SHOWN]
    unrecorded = _UNRECORDED.get(name.removesuffix("s"))
    if unrecorded is not None:
        message = f"{_RECORDED % unrecorded}: leave out '{shown}'."
        raise invalid(message, name, "unsupported_parameter")
    known = ", ".join([*_COMMON, *resource.parameters])
    raise invalid(f"Unknown parameter: '{shown}'. Known here: {known}.", shown, "unknown_parameter")


def _width(resource: Resource, values: dict[str, list[str]]) -> int:
    [text] = values.get("bucket_width", ["1d"])
    width = _WIDTHS.get(text, 0)
    if width not in resource.limits:
        known = ", ".join([name for name, seconds in _WIDTHS.items() if seconds in resource.limits])
        raise _bad("bucket_width", text, f"one of {known}")
    return width


def _range(values: dict[str, list[str]], width: int, now: float) -> tuple[int, int]:
    """Return where the first bucket starts, and where the last one ends."""
    start, end = _number(values, "start_time"), _number(values, "end_time")
    if start is None:
        raise invalid("Missing required parameter: 'start_time'.", "start_time", "missing_required_parameter")
    if end is None and start > now:
        raise _bad("start_time", str(start), "a time in the past, in unix seconds")
    if end is not None and end <= start:
        raise _bad("end_time", str(end), f"a time after start_time ({start}), in unix seconds")
    first = start - start % width
    last = int(now) if end is None else end - 1
    until = last - last % width + width
    if (until - first) // width > MOST_BUCKETS:
        param = "start_time" if end is None else "end_time"
        message = (
            f"Invalid value for '{param}': from start_time to {'now' if end is None else 'end_time'} there are "
            f"{(until - first) // width} buckets, and at most {MOST_BUCKETS} can be asked for. Ask for less, or for a "
            "larger bucket_width."
        )
        raise invalid(message, param, "invalid_value")
    return first, until


def _page(values: dict[str, list[str]], first: int, end: int, width: int) -> int:
    """Return where the first bucket of the page starts."""
    if "page" not in values:
        return first
    [text] = values["page"]
    match = _PAGE.match(text)
    start = int(match[1]) if match else -1
    if not first <= start < end or (start - first) % width:
        raise _bad("page", text, "the next_page of a response to the same query")
    return start


def _limit(resource: Resource, values: dict[str, list[str]], width: int) -> int:
    default, most = resource.limits[width]
    limit = _number(values, "limit")
    if limit is not None and not 1 <= limit <= most:
        raise _bad("limit", str(limit), f"1 to {most} with this bucket_width")
    return default if limit is None else limit


def _groups(resource: Resource, values: dict[str, list[str]]) -> tuple[str, ...]:
    """Return the fields to group by, each of them once."""
    groups = dict.fromkeys(values.get("group_by", ()))
    for name in groups:
        if name not in resource.groups:
            reason = f" {_RECORDED % _UNRECORDED[name]}." if name in _UNRECORDED else ""
            error = _bad("group_by", name, f"one or more of {', '.join(resource.groups)}")
            raise ApiError(400, f"{error.message}{reason}", param=error.param, code=error.code)
    return tuple(groups)


def _batch(values: dict[str, list[str]]) -> bool | None:
    [text] = values.get("batch", [""])
    if "batch" in values and text not in ("true", "false"):
        raise _bad("batch", text, "true or false")
    return text == "true" if text else None


def _number(values: dict[str, list[str]], name: str) -> int | None:
    if name not in values:
        return None
    [text] = values[name]
    if not _NUMBER.match(text):
        raise _bad(name, text, "a whole number" if name == "limit" else "unix seconds, a whole number")
    return int(text)


def _bad(param: str, value: str, expected: str) -> ApiError:
    return invalid(f"Invalid value for '{param}': expected {expected}; got '{value[:_SHOWN]}'.", param, "invalid_value")
