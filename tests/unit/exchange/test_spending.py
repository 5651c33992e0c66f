"""What a request reserves of budgets, and what its caller is told."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from extproc.bedrock.prices import prices
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.meter import ASSUMED_OUTPUT, LONGEST_OUTPUT, Meter
from extproc.exchange.spending import HEADER, Hold, Running, to_hold, user_key
from extproc.limits.spending import Charge, MemorySpending, OwnedBudget, Verdict, others
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record

NOW = 1_796_083_200.0 - 3600
"""An hour before midnight in UTC, on the last day of November 2026."""
CALL = BedrockCall("/model/m/converse", b"x" * 400, most_output=50)
"""About 100 tokens of input."""


class Accounts:
    """Accounts in memory, which keep what they are told."""

    def __init__(self) -> None:
        self.spending = MemorySpending()
        self.charges: Sequence[Charge] = ()
        self.told: dict[str, str] = {}

    def reserve(self, call: str, charges: Sequence[Charge], running: Running) -> Verdict | None:
        self.charges = charges
        return self.spending.reserve(call, charges)

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int], soon: bool = False) -> None:
        self.spending.settle(call, charges, costs)

    def tell(self, key: str, end: int, text: str) -> None:
        self.told.setdefault(key, text)


def budget(limit: int, usd: bool = False, enforced: bool = True, user: bool = False) -> OwnedBudget:
    group = "users of acme" if user else ""
    return OwnedBudget(
        "organisation acme", "the organisation `acme`", usd, limit, "month", "UTC", 80, enforced, user, group
    )


def held(
    accounts: Accounts,
    *budgets: OwnedBudget,
    call: BedrockCall = CALL,
    priced: bool = True,
    name: str = "1",
    streams: bool = True,
) -> tuple[Hold | None, Record]:
    record = Record("id", model="m")
    meter = Meter(record, NOW)
    meter.choose(prices(10, 20) if priced else None)
    one = to_hold(accounts, name, budgets, [call], meter, record, "reject", streams, NOW)
    if one is not None:
        one.reserve(NOW)
    return one, record


def rejected(accounts: Accounts, *budgets: OwnedBudget, call: BedrockCall = CALL, priced: bool = True) -> ApiError:
    with pytest.raises(ApiError) as error:
        held(accounts, *budgets, call=call, priced=priced, name="2")
    return error.value


@pytest.mark.parametrize(
    ("usd", "most_output", "inputs", "amount", "counted"),
    [
        (False, 50, 0, 150, 100),
        (False, 0, 0, 100 + ASSUMED_OUTPUT, 100),
        (False, 64_000, 0, 64_100, 100),
        (False, 0, 5, 100, 100),
        (True, 50, 0, 2000, 1000),
    ],
)
def test_input_and_the_most_of_the_output_are_reserved(
    usd: bool, most_output: int, inputs: int, amount: int, counted: int
) -> None:
    accounts = Accounts()
    held(accounts, budget(10**9, usd), call=BedrockCall("/", CALL.body, most_output=most_output, inputs=inputs))
    [charge] = accounts.charges
    assert (charge.amount, charge.counted, charge.end) == (amount, counted, int(NOW) + 3600)


def test_the_cost_takes_the_place_of_what_was_reserved_once() -> None:
    accounts = Accounts()
    one, record = held(accounts, budget(1000))
    assert one is not None
    record.input_tokens, record.output_tokens = 90, 7
    one.settle()
    record.output_tokens = 8
    one.settle()
    assert accounts.spending.balance(accounts.charges[0].key).spent == 97


@pytest.mark.parametrize(
    ("most_output", "counted"),
    [(50, 150), (0, 100 + ASSUMED_OUTPUT), (64_000, 64_100), (1_000_000, 100 + LONGEST_OUTPUT)],
)
def test_a_response_that_is_not_streamed_counts_from_its_start(most_output: int, counted: int) -> None:
    accounts = Accounts()
    call = BedrockCall("/", CALL.body, most_output=most_output)
    held(accounts, budget(10**9), budget(10**9, True), call=call, streams=False)
    tokens, money = accounts.charges
    assert (tokens.counted, money.counted) == (counted, 1000 + 20 * (counted - 100))


def test_a_used_up_budget_is_told_with_its_end_and_without_its_size() -> None:
    accounts = Accounts()
    one, record = held(accounts, budget(160))
    assert one is not None
    record.input_tokens = 160
    one.settle()
    error = rejected(accounts, budget(160))
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "insufficient_quota")
    assert error.headers == {"retry-after": "3600", "x-should-retry": "false", HEADER: "100"}
    assert "monthly budget of the organisation `acme` is used up" in error.message
    assert "2026-12-01T00:00:00Z" in error.message
    assert "160" not in error.message
    assert len(accounts.told) == 2


def test_nothing_is_told_of_users_who_have_no_account() -> None:
    accounts = Accounts()
    for number in range(20):
        call = BedrockCall("/", CALL.body, most_output=50, user=f"invented {number}")
        assert rejected(accounts, budget(60, user=True), call=call).code == "insufficient_quota"
    assert accounts.told == {}


class Crowd(Accounts):
    """Accounts of more users than there may be."""

    def reserve(self, call: str, charges: Sequence[Charge], running: Running) -> Verdict | None:
        verdict = super().reserve(call, self._shared(charges), running)
        return verdict and replace(verdict, shared=tuple(range(len(charges))))

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int], soon: bool = False) -> None:
        super().settle(call, self._shared(charges), costs)

    def _shared(self, charges: Sequence[Charge]) -> list[Charge]:
        return [replace(charge, key=others(charge.group), group="") for charge in charges]


def test_what_is_told_of_users_beyond_the_most_is_told_once() -> None:
    accounts = Crowd()
    for number in range(20):
        call = BedrockCall("/", CALL.body, most_output=50, user=f"invented {number}")
        if number < 2:
            one, record = held(accounts, budget(300, user=True), call=call, name=str(number))
            assert one is not None
            record.input_tokens = 150
            one.settle()
        else:
            message = rejected(accounts, budget(300, user=True), call=call).message
            assert "the first 100000 share one" in message
    first, second = accounts.told
    assert (first.partition(" ")[0], second.partition(" ")[0]) == ("warned", "exceeded")
    assert first.partition(" ")[2] == second.partition(" ")[2] == accounts.charges[0].key


def test_what_open_calls_hold_may_come_back() -> None:
    accounts = Accounts()
    held(accounts, budget(200))
    error = rejected(accounts, budget(200))
    assert (error.status, error.code, error.headers) == (429, "rate_limit_exceeded", {"retry-after": "1"})


def test_the_percentage_is_that_of_the_budget_that_is_used_most() -> None:
    accounts = Accounts()
    one, record = held(accounts, budget(1000))
    assert one is not None
    assert one.headers == ()
    record.input_tokens = 850
    one.settle()
    two, _ = held(accounts, budget(1000), name="2")
    assert two is not None
    assert two.headers == ((HEADER, "85"),)
    assert list(accounts.told) == [f"warned {accounts.charges[0].key}"]


def test_a_429_tells_the_percentage_too() -> None:
    accounts = Accounts()
    one, record = held(accounts, budget(1000))
    assert one is not None
    record.input_tokens = 900
    one.settle()
    assert rejected(accounts, budget(1000)).headers[HEADER] == "90"
    assert HEADER not in rejected(Accounts(), budget(100)).headers


def test_a_large_request_does_not_keep_the_end_of_a_budget_out_of_the_log() -> None:
    accounts, large = Accounts(), replace(CALL, most_output=2**31 - 1)
    for _ in range(2):
        assert rejected(accounts, budget(1000), call=large).code == "insufficient_quota"
    one, record = held(accounts, budget(1000))
    assert one is not None
    record.input_tokens = 900
    one.settle()
    for _ in range(2):
        assert rejected(accounts, budget(1000)).code == "insufficient_quota"
    early, warned, late = accounts.told.values()
    assert "used to 0 %" in early
    assert "used to 90 %" in warned
    assert "does not have what a request may cost" in late
    assert "used to 90 %" in late


@pytest.mark.parametrize(
    ("spent", "warned"), [((), ""), (("user",), "user"), (("token", "user"), "token"), (("signed",), "token")]
)
def test_the_record_has_the_widest_owner_of_a_budget_that_has_reached_warn_at(
    spent: tuple[str, ...], warned: str
) -> None:
    accounts = Accounts()
    budgets = [
        OwnedBudget(f"{owner} x", "", False, 1000, "month", "UTC", 80, True)
        for owner in ("organisation", "token", "signed", "user")
    ]
    one, _ = held(accounts, *budgets)
    assert one is not None
    one.settle()
    for charge in accounts.charges:
        if charge.key.partition(" ")[0] in spent:
            accounts.spending.reserve(charge.key, [charge])
            accounts.spending.settle(charge.key, [charge], [850])
    assert held(accounts, *budgets, name="2")[1].budget_warned == warned


@pytest.mark.parametrize("enforced", [True, False])
def test_only_an_enforced_budget_of_money_needs_a_price(enforced: bool) -> None:
    if not enforced:
        assert held(Accounts(), budget(1000, True, enforced=False), priced=False)[0] is not None
        return
    error = rejected(Accounts(), budget(1000, True), priced=False)
    assert (error.status, error.code, error.param) == (403, "model_unpriced", "model")
    assert held(Accounts(), budget(1000), priced=False)[0] is not None


def test_counting_tokens_is_not_billed() -> None:
    accounts = Accounts()
    assert held(accounts, budget(0), call=BedrockCall("/", b"{}", billed=False))[0] is None
    assert accounts.charges == ()


def test_without_accounts_nothing_is_served() -> None:
    record = Record("id")
    with pytest.raises(ApiError) as error:
        to_hold(None, "1", [budget(10**9)], [CALL], Meter(record, NOW), record, "reject", True, NOW)
    assert (error.value.status, error.value.code) == (503, "budgets_unavailable")


def test_users_have_accounts_by_their_hash() -> None:
    accounts = Accounts()
    held(accounts, budget(10_000, user=True), call=BedrockCall("/", b"", user="ann"))
    [charge] = accounts.charges
    assert user_key("ann") in charge.key
    assert "ann" not in charge.key
    assert charge.group.startswith("users of acme ")
    assert user_key(None) == user_key("") == "none"
    assert user_key("\ud800")
