"""Budgets in gateway.yaml: amounts, the names in cents, and what is rejected with the path of its key."""

import pytest

from extproc.config import ConfigError, Organisation, parse
from extproc.config.budgets import MOST, Budget, limit_of
from extproc.config.items import organisation_item, read_organisation, read_token

STORE = "budgets: {sqlite: spent.sqlite}"
TOKEN = f"name: ci, sha256: {'ab' * 32}, organisations: [acme]"


def organisation(keys: str) -> Organisation:
    return parse(f"{{{STORE}, organisations: {{acme: {{{keys}}}}}}}".encode()).organisations["acme"]


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text.encode())
    return str(error.value)


@pytest.mark.parametrize(
    ("amount", "limit"),
    [
        ('usd: "500.00"', 500_000_000),
        ("usd: 500", 500_000_000),
        ("usd: 0.1", 100_000),
        ('usd: "0.000001"', 1),
        ("usd: 0", 0),
        ("usd: 9007199254", 9_007_199_254_000_000),
        ("tokens: 10M", 10_000_000),
        ("tokens: 5K", 5000),
        ("tokens: 1G", 10**9),
        ("tokens: 7", 7),
        ('tokens: "7"', 7),
        (f"tokens: {MOST}", MOST),
    ],
)
def test_an_amount_is_a_whole_number_of_micro_usd_or_tokens(amount: str, limit: int) -> None:
    [budget] = organisation(f"budgets: [{{per: day, {amount}}}]").budgets or ()
    assert limit_of(budget) == limit


def test_names_in_cents_are_budgets_of_the_calendar_in_utc() -> None:
    own = organisation(
        "monthly_budget_cents: 50000, daily_budget_cents: 5, per_user_monthly_budget_cents: 100, "
        "per_user_daily_budget_cents: 0, warning_threshold_percent: 70"
    )
    assert own.budgets == (Budget("month", usd="500.00", warn_at=70), Budget("day", usd="0.05", warn_at=70))
    assert own.user_budgets == (Budget("month", usd="1.00", warn_at=70), Budget("day", usd="0.00", warn_at=70))
    assert (own.monthly_budget_cents, own.warning_threshold_percent) == (None, None)
    item = organisation_item("acme", own)
    assert read_organisation(item["pk"], item["json"]) == own


def test_cents_are_beside_budgets() -> None:
    own = organisation("budgets: [{per: day, tokens: 5}], monthly_budget_cents: 100")
    assert own.budgets == (Budget("day", tokens=5), Budget("month", usd="1.00"))


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ("budgets: [{per: day}]", "budgets[0]", "expected either `usd` or `tokens`; found neither"),
        ("budgets: [{per: day, usd: 1, tokens: 1}]", "budgets[0]", "found both"),
        ("budgets: [{usd: 1}]", "budgets[0].per", "missing"),
        ("budgets: [{per: year, usd: 1}]", "budgets[0].per", "expected `day`, `week` or `month`"),
        ("budgets: [{per: day, usd: -1}]", "budgets[0].usd", "from 0"),
        ('budgets: [{per: day, usd: "-1"}]', "budgets[0].usd", "from 0"),
        ("budgets: [{per: day, usd: .inf}]", "budgets[0].usd", "from 0"),
        ("budgets: [{per: day, usd: .nan}]", "budgets[0].usd", "from 0"),
        ('budgets: [{per: day, usd: "9007199255"}]', "budgets[0].usd", "more than 9007199254"),
        ("budgets: [{per: day, tokens: -1}]", "budgets[0].tokens", "from 0"),
        (f"budgets: [{{per: day, tokens: {MOST + 1}}}]", "budgets[0].tokens", "from 0"),
        ("budgets: [{per: day, tokens: 9007200G}]", "budgets[0].tokens", f"more than {MOST}"),
        ("budgets: [{per: day, usd: 1, timezone: Mars/Base}]", "budgets[0].timezone", "no time zone `Mars/Base`"),
        ("budgets: [{per: day, usd: 1, timezone: Europe}]", "budgets[0].timezone", "no time zone `Europe`"),
        ("budgets: [{per: day, usd: 1, timezone: ../UTC}]", "budgets[0].timezone", "the name of a time zone"),
        ("budgets: [{per: day, usd: 1, warn_at: 0}]", "budgets[0].warn_at", "from 1 to 100"),
        ("budgets: [{per: day, usd: 1}, {per: day, usd: 2}]", "budgets[1]", "the same window as"),
        ("user_budgets: [{per: day}]", "user_budgets[0]", "found neither"),
        ("budgets: [{per: month, usd: 1}], monthly_budget_cents: 1", "budgets[1]", "the same window as"),
        ("monthly_budget_cents: -1", "monthly_budget_cents", "from 0"),
        ("warning_threshold_percent: 50", "warning_threshold_percent", "no budget in cents"),
        (f"budgets: [{', '.join(['{per: day, usd: 1}'] * 17)}]", "budgets", "at most 16"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(keys: str, path: str, words: str) -> None:
    message = fault(f"{{{STORE}, organisations: {{acme: {{{keys}}}}}}}")
    assert f"organisations.acme.{path}: " in message
    assert words in message


@pytest.mark.parametrize("key", ["organisation", "token", "user"])
def test_defaults_are_checked_too(key: str) -> None:
    assert f"budgets.{key}[0]: " in fault(f"{{budgets: {{sqlite: a, {key}: [{{per: day}}]}}}}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{organisations: {acme: {daily_budget_cents: 1}}}", "organisations.acme.budgets"),
        ("{organisations: {acme: {user_budgets: [{per: day, usd: 1}]}}}", "organisations.acme.user_budgets"),
        ("{budgets: {token: [{per: day, usd: 1}]}}", "budgets.token"),
        (
            f"{{organisations: {{acme: {{}}}}, tokens: [{{{TOKEN}, budgets: [{{per: day, usd: 1}}]}}]}}",
            "tokens[0].budgets",
        ),
    ],
)
def test_any_budget_needs_a_file(text: str, place: str) -> None:
    assert f"budgets.sqlite: missing; `{place}` needs" in fault(text)


@pytest.mark.parametrize(
    ("own", "rejected"),
    [
        ("usd: 5.01", True),
        ("usd: 5", False),
        ("tokens: 9M", False),
        ("usd: 6, timezone: Asia/Tokyo", False),
    ],
)
def test_a_token_is_not_above_its_organisation_for_the_same_window(own: str, rejected: bool) -> None:
    text = (
        f"{{{STORE}, organisations: {{acme: {{budgets: [{{per: month, usd: 5}}]}}}}, "
        f"tokens: [{{{TOKEN}, budgets: [{{per: month, {own}}}]}}]}}"
    )
    if rejected:
        assert "tokens[0].budgets[0]: more than organisation `acme` has" in fault(text)
    else:
        parse(text.encode())


@pytest.mark.parametrize(("key", "value"), [("token#" + "ab" * 32, "token"), ("org#acme", "organisation")])
def test_items_of_a_table_are_checked_too(key: str, value: str) -> None:
    token = '{"name": "ci", "sha256": "%s", "budgets": [{"per": "day"}]}' % ("ab" * 32)
    texts = {"token": token, "organisation": '{"budgets": [{"per": "day"}]}'}
    with pytest.raises(ConfigError, match=r"budgets\[0\]: expected either"):
        (read_token if value == "token" else read_organisation)(key, texts[value])


def test_the_path_of_the_file_is_below_the_folder_of_gateway_yaml() -> None:
    assert parse(f"{{{STORE}}}".encode(), "/etc/oai/gateway.yaml").budgets.sqlite == "/etc/oai/spent.sqlite"
