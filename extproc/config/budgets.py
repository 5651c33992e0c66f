"""The keys of gateway.yaml about what organisations, tokens and users may spend.

Decision: docs/decisions.md, D241.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from extproc.config.document import ConfigError
from extproc.config.kinds import StateFile
from extproc.config.rate_limits import OnStoreError

MOST = 2**53
"""Largest limit, in micro-USD or tokens: JSON and Lua have no larger whole numbers."""

MOST_CENTS = MOST // 10_000

MOST_BUDGETS = 16
"""Most budgets of one list: each is an account that a call is held in."""

MICRO = 1_000_000

_FACTORS = {"K": 10**3, "M": 10**6, "G": 10**9}

Usd = Annotated[
    Annotated[str, Meta(pattern=r"\A[0-9]{1,10}(\.[0-9]{1,6})?\Z")] | Annotated[float, Meta(ge=0, le=MOST // MICRO)],
    Meta(description=f'an amount of US dollars from 0 to {MOST // MICRO}, as in "500.00"'),
]
Tokens = Annotated[
    Annotated[str, Meta(pattern=r"\A[0-9]{1,16}[KMG]?\Z")] | Annotated[int, Meta(ge=0, le=MOST)],
    Meta(description=f"a number of tokens from 0 to {MOST}, as in 10M"),
]
Per = Annotated[Literal["day", "week", "month"], Meta(description="`day`, `week` or `month`")]
TimeZone = Annotated[
    str, Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_+/-]{0,63}\Z", description="the name of a time zone, as in Europe/Berlin")
]
Percent = Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")]
Mode = Annotated[Literal["enforce", "audit"], Meta(description="`enforce` or `audit`")]
Cents = Annotated[
    int, Meta(ge=0, le=MOST_CENTS, description=f"a whole number of US cents from 0 to {MOST_CENTS}, as in 50000")
]
OnUnpriced = Annotated[Literal["reject", "free"], Meta(description="`reject` or `free`")]


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A budget of `usd` or `tokens` for each day, week or month of the calendar."""

    per: Per
    usd: Usd | None = None
    tokens: Tokens | None = None
    timezone: TimeZone = "UTC"
    warn_at: Percent = 80
    """Percentage of the budget from which responses and the log carry a warning."""
    mode: Mode = "enforce"
    """`audit` counts, and rejects nothing."""


Budgets = tuple[Budget, ...]


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The default budgets of organisations, tokens and users, and the place where all budgets are counted."""

    organisation: Budgets = ()
    token: Budgets = ()
    user: Budgets = ()
    sqlite: StateFile | None = None
    """The file with what is spent, which the workers of one machine share."""
    on_store_error: OnStoreError = "reject"
    on_unpriced: OnUnpriced = "reject"
    """The treatment of a model without a price under a budget of money: it is rejected, or costs nothing."""

    @property
    def any(self) -> bool:
        """Return whether there are budgets for all."""
        return bool(self.organisation or self.token or self.user)


def of_cents(
    budgets: Budgets | None, monthly: int | None, daily: int | None, warn_at: int | None
) -> tuple[Budget, ...] | None:
    """Return an organisation's budgets, and those that are written in cents by their own keys."""
    if monthly is None and daily is None:
        return budgets
    percent = 80 if warn_at is None else warn_at
    amounts: tuple[tuple[Literal["month", "day"], int | None], ...] = (("month", monthly), ("day", daily))
    more = [
        Budget(per, usd=f"{cents // 100}.{cents % 100:02}", warn_at=percent)
        for per, cents in amounts
        if cents is not None
    ]
    return (*(budgets or ()), *more)


def limit_of(budget: Budget) -> int:
    """Return the limit, in micro-USD or tokens."""
    if budget.usd is not None:
        return math.floor(Decimal(str(budget.usd)) * MICRO)
    tokens = budget.tokens
    if isinstance(tokens, str):
        factor = _FACTORS.get(tokens[-1])
        return int(tokens[:-1]) * factor if factor else int(tokens)
    return tokens or 0


def zone_of(name: str) -> tzinfo:
    """Return a time zone. Raises `ConfigError`."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(f"no time zone `{name}` is known; write a name as in Europe/Berlin") from error


def check_budgets(budgets: Sequence[Budget] | None, where: str) -> None:
    """Check what no type shows of a list of budgets at the path `where`; raises `ConfigError`."""
    seen: dict[tuple[object, ...], int] = {}
    if budgets and len(budgets) > MOST_BUDGETS:
        raise ConfigError(f"{where}: {len(budgets)} budgets, at most {MOST_BUDGETS} are accepted")
    for index, budget in enumerate(budgets or ()):
        path = f"{where}[{index}]"
        if (budget.usd is None) == (budget.tokens is None):
            found = "neither" if budget.usd is None else "both"
            raise ConfigError(f"{path}: expected either `usd` or `tokens`; found {found}")
        if limit_of(budget) > MOST:
            unit, most = ("tokens", MOST) if budget.usd is None else ("usd", MOST // MICRO)
            raise ConfigError(f"{path}.{unit}: more than {most}, the largest that can be counted")
        try:
            zone_of(budget.timezone)
        except ConfigError as error:
            raise ConfigError(f"{path}.timezone: {error}") from error.__cause__
        first = seen.setdefault(_window(budget), index)
        if first != index:
            raise ConfigError(f"{path}: for the same window as {where}[{first}]; keep one")


def check_below(
    own: Sequence[Budget] | None, where: str, organisations: Sequence[str], limits: Mapping[str, Sequence[Budget]]
) -> None:
    """Check that no budget of a token is above those of all of its organisations; raises `ConfigError`.

    `limits` are the budgets of the organisations in the file, by name; `where` is the path of the token.
    """
    for index, budget in enumerate(own or ()):
        above = [_same_window(limits.get(name, ()), budget) for name in organisations]
        if above and all(each is not None and limit_of(each) < limit_of(budget) for each in above):
            raise ConfigError(
                f"{where}.budgets[{index}]: more than organisation `{organisations[0]}` has for the same window, and "
                "could never be spent; write less, or leave it out"
            )


def check_defaults(settings: BudgetSettings) -> None:
    """Check the budgets for all; raises `ConfigError`."""
    for key in ("organisation", "token", "user"):
        check_budgets(getattr(settings, key), f"budgets.{key}")


def check_store(
    settings: BudgetSettings,
    elsewhere: bool,
    organisations: Mapping[str, tuple[Budgets | None, Budgets | None]],
    tokens: Iterable[Budgets | None],
) -> None:
    """Check that budgets have a file, where there are any and they are not kept `elsewhere`; raises `ConfigError`.

    `organisations` are the budgets of each, and of its users, by name; `tokens` are those of each token in its order.
    """
    if elsewhere:
        return
    if settings.sqlite is None and (place := next(_places(settings, organisations, tokens), None)) is not None:
        raise ConfigError(
            f"budgets.sqlite: missing; `{place}` needs a file that keeps what is spent, as in "
            "/var/lib/oai/spent.sqlite, or `redis`"
        )


def any_budgets(
    settings: BudgetSettings,
    organisations: Mapping[str, tuple[Budgets | None, Budgets | None]],
    tokens: Iterable[Budgets | None],
) -> bool:
    """Return whether anybody has a budget; the arguments are those of `check_store`."""
    return any(True for _ in _places(settings, organisations, tokens))


def placed(settings: BudgetSettings, folder: Path) -> BudgetSettings:
    """Return the settings with the whole path of their file."""
    if settings.sqlite is None:
        return settings
    return msgspec.structs.replace(settings, sqlite=str(folder / settings.sqlite))


def _places(
    settings: BudgetSettings,
    organisations: Mapping[str, tuple[Budgets | None, Budgets | None]],
    tokens: Iterable[Budgets | None],
) -> Iterator[str]:
    """Yield the paths of all budgets."""
    for key in ("organisation", "token", "user"):
        if getattr(settings, key):
            yield f"budgets.{key}"
    for name, (own, each) in organisations.items():
        if own or each:
            yield f"organisations.{name}.{'budgets' if own else 'user_budgets'}"
    for index, budgets in enumerate(tokens):
        if budgets:
            yield f"tokens[{index}].budgets"


def _window(budget: Budget) -> tuple[object, ...]:
    return budget.usd is None, budget.per, budget.timezone


def _same_window(budgets: Sequence[Budget], budget: Budget) -> Budget | None:
    return next((each for each in budgets if _window(each) == _window(budget) and each.mode == "enforce"), None)
