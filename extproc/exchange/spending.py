"""The budgets of a caller: what a request may cost is reserved before it leaves, and settled by its cost at the end.

Reserved are the input, as estimated, and the most tokens of the output. So a budget is exceeded by what calls cost
beyond that at most: where the input is longer than estimated, is written to a cache at a higher price, or where an
output without a limit is longer than `ASSUMED_OUTPUT`.

A user is known by the SHA-256 of the name that the client gives. Calls without a user share one account.

Decisions: docs/decisions.md, D241, D267.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Protocol

from extproc.bedrock.sigv4 import Headers
from extproc.exchange.call_series import CallSeries
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.meter import ASSUMED_OUTPUT, Meter, input_estimate, output_estimate
from extproc.limits.spending import MOST_IN_GROUP, Balance, Charge, OwnedBudget, Running, Verdict, others
from extproc.limits.windows import Calendar
from extproc.openai.errors import ApiError
from extproc.telemetry.record import Record

HEADER: Final = "x-oai-budget-used-percent"

RETRY_SECONDS: Final = "1"

_ADJECTIVES: Final = {"day": "daily", "week": "weekly", "month": "monthly"}

_OWNERS: Final = {"organisation": "organisation", "token": "token", "signed": "token", "user": "user"}
"""The kinds of owners, by the first words of keys, in the order of a caller's budgets."""

_CALENDAR: Final = Calendar()


class Accounts(Protocol):
    """The accounts of all budgets, as a worker has them."""

    def reserve(self, call: str, charges: Sequence[Charge], running: Running) -> Verdict | None:
        """Hold what a call may cost. Raises a 503 `ApiError` where the store does not work; None: serve it all the
        same."""

    def settle(self, call: str, charges: Sequence[Charge], costs: Sequence[int], soon: bool = False) -> None:
        """Replace what a call holds by its cost; `soon`: its caller has left, so it need not be at once.

        Raises nothing.
        """

    def tell(self, key: str, end: int, text: str) -> None:
        """Log `text`, if nothing was logged about `key` before, by any worker. Raises nothing."""


class Hold:
    """What one request holds of its caller's budgets; `headers` tell how much of them is used."""

    def __init__(
        self, accounts: Accounts, call: str, budgets: Sequence[OwnedBudget], charges: Sequence[Charge], record: Record
    ) -> None:
        self.headers: Headers = ()
        self.accounts = accounts
        self.charges = charges
        self._call = call
        self._budgets = budgets
        self._record = record
        self._open = True

    def reserve(self, now: float) -> None:
        """Hold it in the accounts of this worker. Raises an `ApiError`: 429 where a budget does not have it, 503 where
        the store does not work."""
        self.decided(self.accounts.reserve(self._call, self.charges, self.costs), now)

    def decided(self, verdict: Verdict | None, now: float) -> None:
        """Take note of the decision; None: the request is served though nothing is held. Raises a 429 `ApiError`."""
        if verdict is None or verdict.alone:
            self._record.store_away = True
        if verdict is None:
            return
        self.headers = _told(self.accounts, self._budgets, self.charges, verdict, self._record)
        if verdict.rejected >= 0:
            error = _rejected(self._budgets, self.charges[verdict.rejected], verdict, now)
            error.headers.update(self.headers)
            raise error

    def costs(self) -> Sequence[int]:
        """Return what the request has cost so far."""
        tokens = self._record.input_tokens + self._record.output_tokens
        return [self._record.cost_micro_usd if budget.usd else tokens for budget in self._budgets]

    def settle(self, soon: bool = False) -> None:
        """Count what the request has cost; only the first time counts."""
        if self._open:
            self._open = False
            self.accounts.settle(self._call, self.charges, self.costs(), soon)


def to_hold(
    accounts: Accounts | None,
    call: str,
    budgets: Sequence[OwnedBudget],
    calls: Sequence[BedrockCall],
    meter: Meter,
    record: Record,
    on_unpriced: str,
    streams: bool,
    now: float,
) -> Hold | None:
    """Return what a request is to hold, whose response Bedrock `streams`; None for one that AWS does not bill.

    Raises an `ApiError`: 403 for a model without a price, 503 without accounts.
    """
    if not calls[0].billed:
        return None
    if on_unpriced == "reject" and not record.priced and any(budget.usd and budget.enforced for budget in budgets):
        raise _unpriced(record.model)
    charges = _charges(budgets, calls, meter, streams, now)
    if accounts is None:
        raise unavailable()
    return Hold(accounts, call, budgets, charges, record)


def _charges(
    budgets: Sequence[OwnedBudget], calls: Sequence[BedrockCall], meter: Meter, streams: bool, now: float
) -> list[Charge]:
    if type(calls) is CallSeries:  # of embeddings, which have no output
        tokens, limits = calls.tokens, list[int]()
    else:
        tokens = sum([input_estimate(call.body) for call in calls])
        limits = [call.most_output for call in calls if not call.inputs]
    output = sum([most or ASSUMED_OUTPUT for most in limits])
    begun = 0 if streams else sum([output_estimate(most) for most in limits])
    charges = []
    for budget in budgets:
        window = _CALENDAR.window(budget.per, budget.timezone, now)
        key = f"{budget.key} {user_key(calls[0].user)}" if budget.user else budget.key
        group = f"{budget.group} {window.start}" if budget.group else ""
        amount, counted = tokens + output, tokens + begun
        if budget.usd:
            amount, counted = meter.price(tokens, output), meter.price(tokens, begun)
        key = f"{key} {window.start}"
        charges.append(Charge(key, budget.limit, amount, window.end, counted, budget.enforced, group))
    return charges


def user_key(user: str | None) -> str:
    """Return the name of a user's account."""
    return sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32] if user else "none"


def _told(
    accounts: Accounts, budgets: Sequence[OwnedBudget], charges: Sequence[Charge], verdict: Verdict, record: Record
) -> Headers:
    """Tell the log and the record which budgets have reached `warn_at`; return what the caller is told of them."""
    most = 0
    for place, (budget, charge, balance) in enumerate(zip(budgets, charges, verdict.balances, strict=True)):
        if charge.group and not (balance.spent or balance.held):
            continue  # clients make up as many users as they like, and what is told about one is kept
        used = _percent(balance, charge)
        name = _name(budgets, place, verdict)
        key = others(charge.group) if place in verdict.shared else charge.key
        if used >= budget.warn_at:
            most = max(most, used)
            record.budget_warned = record.budget_warned or _OWNERS[budget.key.partition(" ")[0]]
            accounts.tell(f"warned {key}", charge.end, f"the {name} is used to {used} % (account {key})")
        if balance.spent + charge.amount > charge.limit:
            becomes = "requests are rejected" if budget.enforced else "audit: requests are served all the same"
            text = f"the {name} does not have what a request may cost: {becomes} (used to {used} %, account {key})"
            # A request may be too large for any budget, and is no reason to be silent about the end of this one.
            kind = "exceeded" if used >= budget.warn_at else "exceeded early"
            accounts.tell(f"{kind} {key}", charge.end, text)
    return ((HEADER, str(most)),) if most else ()


def _percent(balance: Balance, charge: Charge) -> int:
    return balance.spent * 100 // charge.limit if charge.limit else 100


def _name(budgets: Sequence[OwnedBudget], place: int, verdict: Verdict) -> str:
    name = f"{_ADJECTIVES[budgets[place].per]} budget of {budgets[place].owner}"
    return f"{name} (all beyond the first {MOST_IN_GROUP} share one)" if place in verdict.shared else name


def _rejected(budgets: Sequence[OwnedBudget], charge: Charge, verdict: Verdict, now: float) -> ApiError:
    """Return the 429. It says neither how large the budget is nor what is spent."""
    name = _name(budgets, verdict.rejected, verdict)
    if not verdict.exhausted:
        return ApiError(
            429,
            f"Calls in flight hold the rest of the {name}. Send this one again when some of them have ended, or with a "
            "smaller limit of its output.",
            type="requests",
            code="rate_limit_exceeded",
            headers={"retry-after": RETRY_SECONDS},
        )
    reset = datetime.fromtimestamp(charge.end, UTC).isoformat().replace("+00:00", "Z")
    balance = verdict.balances[verdict.rejected]
    state = "is used up" if balance.spent >= charge.limit else "has less left than this request may cost"
    smaller = "" if balance.spent >= charge.limit else " A shorter one, or a smaller limit of its output, may fit."
    return ApiError(
        429,
        f"You exceeded your current quota: the {name} {state}. It begins anew at {reset}.{smaller}",
        type="insufficient_quota",
        code="insufficient_quota",
        headers={"retry-after": str(max(charge.end - int(now), 1)), "x-should-retry": "false"},
    )


def _unpriced(model: str) -> ApiError:
    return ApiError(
        403,
        f"The model `{model}` has no price here, and your calls have a budget in US dollars. Use another model, or ask "
        "the operator of this gateway to add its `prices`.",
        param="model",
        code="model_unpriced",
    )


def unavailable() -> ApiError:
    """Return the error for a store that does not work."""
    return ApiError(
        503,
        "The gateway cannot count what you spend at the moment, and your calls have a budget. Try again.",
        type="server_error",
        code="budgets_unavailable",
        headers={"retry-after": RETRY_SECONDS},
    )
