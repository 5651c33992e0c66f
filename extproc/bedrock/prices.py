"""Tokens and a model's prices -> what a call costs, in millionths of a US dollar (micro-USD).

Prices are whole numbers of 10**-12 dollars a token, so that sums are exact; a dollar per million tokens is 10**6 of
them. A cost is rounded up to whole micro-USD: it is never below what AWS counts.

Invariant: the prices of a call are those of the first of an operator's patterns that matches the id that is called, the
profile that an ARN names, or the foundation model behind them; or else the table's row for the first of these that has
one. Without any, a call is unpriced. An ARN with a model's or a profile's id in it is matched with patterns that begin
with `arn:`, so that no price depends on the region and the account that a caller writes.

Decisions: docs/decisions.md, D231, D326.
"""

import fnmatch
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from extproc.bedrock.catalogue import names_model, profile_id
from extproc.bedrock.model_ids import LONGEST_REMEMBERED
from extproc.bedrock.price_table import ROWS, Row
from extproc.value import Value

PER_DOLLAR: Final = 10**6
"""Units of a price that make a dollar per million tokens."""

WRITE: Final = 1.25
WRITE_HOUR: Final = 2.0
"""Prices of input that is written to a cache for five minutes and for an hour, in multiples of plain input: those of
Claude, the highest that AWS has."""


def micro_usd(units: int) -> int:
    """Return the micro-USD of an amount in the units of prices."""
    return -(-units // PER_DOLLAR)


class Prices(Value, frozen=True):
    """The prices of a model's tokens, each in 10**-12 dollars."""

    input: int
    output: int
    cached: int
    """Of input that is read from a cache."""
    cache_write: int
    """Of input that is written to a cache for five minutes."""
    cache_write_hour: int

    def cost(self, prompt: int, completion: int, cached: int, written: int, written_hour: int) -> int:
        """Return the micro-USD of a call. `prompt` includes `cached` and `written`, and that `written_hour`."""
        plain = max(prompt - cached - written, 0)
        units = plain * self.input + cached * self.cached + completion * self.output
        units += (written - written_hour) * self.cache_write + written_hour * self.cache_write_hour
        return micro_usd(units)

    def at_priority(self) -> "Prices":
        """Return the prices at the service tier `priority`: 1.75 of them, as on AWS's page of prices."""
        plain = (self.input, self.output, self.cached, self.cache_write, self.cache_write_hour)
        return Prices(*[-(-price * 7 // 4) for price in plain])


def prices(
    prompt: float,
    completion: float,
    cached: float | None = None,
    cache_write: float | None = None,
    cache_write_hour: float | None = None,
) -> Prices:
    """Return the prices of dollars per million tokens.

    A price that is None becomes the highest that AWS has for its kind: cached input costs as much as other input, and
    input that is written to a cache `WRITE` and `WRITE_HOUR` times as much.
    """
    write = WRITE * prompt if cache_write is None else cache_write
    hour = max(WRITE_HOUR * prompt, write) if cache_write_hour is None else cache_write_hour
    return Prices(*map(_units, (prompt, completion, prompt if cached is None else cached, write, hour)))


def prices_of_row(row: Row) -> Prices:
    """Return the prices of a row of the table. A model for which AWS lists no price of writing costs its input."""
    prompt, completion, cached, write, hour = row
    if write is None:
        write = hour = prompt
    return prices(prompt, completion, cached, write, hour)


def _units(dollars: float) -> int:
    return round(dollars * PER_DOLLAR)


class PriceList:
    """An operator's prices by pattern, before those of the table. Immutable."""

    def __init__(self, own: Mapping[str, Prices]) -> None:
        self._own = tuple(
            (re.compile(fnmatch.translate(pattern)), pattern.startswith("arn:"), prices)
            for pattern, prices in own.items()
        )
        self._cached = lru_cache(maxsize=1024)(self._find)

    def of(self, model_id: str, foundation: str | None) -> Prices | None:
        """Return the prices of a call of `model_id`, behind which is the model `foundation`; None if it is unpriced."""
        find = self._cached if len(model_id) + len(foundation or "") <= 2 * LONGEST_REMEMBERED else self._find
        return find(model_id, foundation)

    def _find(self, model_id: str, foundation: str | None) -> Prices | None:
        names = [name for name in dict.fromkeys((model_id, profile_id(model_id), foundation)) if name]
        plain = ([name for name in names if name != model_id] or [""]) if names_model(model_id) else names
        for fits, is_of_arns, own in self._own:
            if any(fits.match(name) for name in (names if is_of_arns else plain)):
                return own
        row = next((ROWS[name] for name in names if name in ROWS), None)
        return None if row is None else prices_of_row(row)


LIST_PRICES: Final = PriceList({})
"""The built-in table alone."""
