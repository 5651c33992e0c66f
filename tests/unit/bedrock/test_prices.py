"""What tokens cost."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc import config
from extproc.bedrock.price_table import ROWS
from extproc.bedrock.prices import LIST_PRICES, PriceList, Prices, prices, prices_of_row
from extproc.config.prices import price_list

SONNET = "anthropic.claude-sonnet-4-6"
COUNTS = st.integers(0, 2**31)


def test_a_token_costs_a_micro_dollar_for_each_dollar_a_million() -> None:
    assert prices(3, 15).cost(100, 10, 0, 0, 0) == 100 * 3 + 10 * 15


def test_cached_tokens_have_prices_of_their_own() -> None:
    tokens = prices(3, 15, 0.3, 3.75, 6)
    assert tokens.cost(1000, 0, 400, 300, 100) == 300 * 3 + 400 * 0.3 + 200 * 3.75 + 100 * 6


def test_the_tier_priority_costs_three_quarters_more() -> None:
    tokens = prices(4, 8, 0.4, 5, 8)
    assert tokens.at_priority().cost(1000, 100, 400, 300, 100) * 4 == tokens.cost(1000, 100, 400, 300, 100) * 7


@pytest.mark.parametrize(
    ("row", "whole"),
    [
        ((2, 4), Prices(2_000_000, 4_000_000, 2_000_000, 2_500_000, 4_000_000)),
        ((2, 4, 0.5, 3), Prices(2_000_000, 4_000_000, 500_000, 3_000_000, 4_000_000)),
        ((2, 4, 0.5, 5), Prices(2_000_000, 4_000_000, 500_000, 5_000_000, 5_000_000)),
    ],
)
def test_what_has_no_price_costs_what_aws_asks_for_it_at_most(row: tuple[float, ...], whole: Prices) -> None:
    assert prices(*row) == whole


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from(sorted(ROWS)))
def test_a_cost_is_exact_and_rounded_up(plain: int, completion: int, cached: int, written: int, name: str) -> None:
    each = prices_of_row(ROWS[name])
    exact = sum(
        count * Fraction(price, 10**6)
        for count, price in (
            (plain, each.input),
            (completion, each.output),
            (cached, each.cached),
            (written, each.cache_write),
        )
    )
    cost = each.cost(plain + cached + written, completion, cached, written, 0)
    assert exact <= cost < exact + 1


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_is_written_to_a_cache_is_never_cheaper_than_other_input(name: str) -> None:
    each = LIST_PRICES.of(name, None)
    assert each is not None
    assert each.cache_write_hour >= each.cache_write >= each.input
    if "anthropic" in name and ROWS[name][3] is not None:
        assert each.cache_write_hour >= 2 * each.input


def test_a_model_without_a_listed_price_of_writing_costs_its_input() -> None:
    each = LIST_PRICES.of("amazon.nova-pro-v1:0", None)
    assert each is not None
    assert each.cache_write == each.cache_write_hour == each.input


def test_the_first_pattern_of_the_operators_that_matches_counts() -> None:
    text = b"prices: {'anthropic.claude-sonnet-*': {input: 1}, '*': {input: 2, output: 3}}"
    own = price_list(config.parse(text).prices)
    assert own.of(SONNET, SONNET) == prices(1, 0)
    assert own.of("eu." + SONNET, SONNET) == prices(1, 0), "a pattern of the model is one of its profiles"
    assert own.of("acme.other", None) == prices(2, 3)


def test_a_profile_has_its_own_price_or_its_models() -> None:
    assert LIST_PRICES.of(SONNET, SONNET) == prices(*ROWS[SONNET])
    assert LIST_PRICES.of("eu." + SONNET, SONNET) == prices(*ROWS["eu." + SONNET])
    assert LIST_PRICES.of("global." + SONNET, SONNET) == prices(*ROWS[SONNET])
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    assert LIST_PRICES.of(arn, SONNET) == prices(*ROWS[SONNET])


def test_a_profile_costs_the_same_by_its_arn() -> None:
    """Else a caller would choose the lower price of two by how it writes the id."""
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu." + SONNET
    assert LIST_PRICES.of(arn, SONNET) == prices(*ROWS["eu." + SONNET])
    assert PriceList({"eu.*": prices(1000, 2000)}).of(arn, SONNET) == prices(1000, 2000)


@pytest.mark.parametrize("word", ["nova-1", "20251001"])
def test_no_word_in_the_arn_of_a_model_or_of_a_profile_makes_it_cheaper(word: str) -> None:
    own = PriceList({f"*{word}*": prices(1, 1), "arn:aws:bedrock:eu-west-1:*": prices(2, 2), "*": prices(9, 9)})
    dear, arn = prices(9, 9), "arn:aws:bedrock:{}:{}:inference-profile/eu." + SONNET
    assert own.of(arn.format("nova-1", "202510010000"), SONNET) == dear
    assert own.of(f"arn:aws:bedrock:nova-1::foundation-model/{SONNET}", SONNET) == dear
    assert own.of(arn.format("eu-west-1", "202510010000"), SONNET) == prices(2, 2), "its operator wrote `arn:`"
    mine = f"arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/{word}"
    assert own.of(mine, SONNET) == prices(1, 1), "an application profile has no other name"


def test_an_unknown_model_is_unpriced() -> None:
    assert LIST_PRICES.of("acme.other", None) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("prices: {'a.*': {input: -1}}", "US dollars per million"),
        ("prices: {'a.*': {output: 1}}", "input"),
        ("prices: {'a.*': {input: 1, cashed: 1}}", "cashed"),
        ("prices: {'a b': {input: 1}}", "a pattern of model ids"),
    ],
)
def test_a_wrong_price_is_named(text: str, fault: str) -> None:
    with pytest.raises(config.ConfigError, match=fault) as error:
        config.parse(text.encode())
    assert "prices" in str(error.value)


def test_the_rows_of_the_table_are_prices() -> None:
    for name, (prompt, completion, *cached) in ROWS.items():
        assert 0 <= prompt < 100, name
        assert 0 <= completion < 200, name
        assert all(price is None or 0 < price < 100 for price in cached), name
