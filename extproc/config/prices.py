"""`prices`: what tokens cost, for models whose price is not AWS's list price, or is not known."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from extproc.bedrock.prices import PriceList, prices

Dollars = Annotated[
    float, Meta(ge=0, le=1_000_000, description="a number of US dollars per million tokens, from 0 to 1000000")
]


class ModelPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices of a model, in US dollars per million tokens."""

    input: Dollars
    output: Dollars = 0.0
    cached: Dollars | None = None
    """Input that is read from a cache; the default is `input`."""
    cache_write: Dollars | None = None
    """Input that is written to a cache for five minutes; the default is 1.25 times `input`, as on Claude."""
    cache_write_1h: Dollars | None = None
    """Input that is written to a cache for an hour; the default is the double of `input`, or `cache_write` if more."""


def price_list(own: Mapping[str, ModelPrices]) -> PriceList:
    """Return the prices of `own`, by pattern, before the built-in ones."""
    return PriceList(
        {
            pattern: prices(each.input, each.output, each.cached, each.cache_write, each.cache_write_1h)
            for pattern, each in own.items()
        }
    )
