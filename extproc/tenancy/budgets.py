"""A token and its organisation -> the budgets that a request counts in.

Decision: docs/decisions.md, D241.
"""

from collections.abc import Sequence

from extproc import config
from extproc.config import budgets as keys
from extproc.limits.spending import OwnedBudget
from extproc.tenancy.token_accounts import account_of


def budgets_of(
    defaults: keys.BudgetSettings, token: config.Token, name: str, organisation: config.Organisation
) -> tuple[OwnedBudget, ...]:
    """Return the budgets of a token's request for the organisation `name`."""
    own = defaults.organisation if organisation.budgets is None else organisation.budgets
    each = defaults.user if organisation.user_budgets is None else organisation.user_budgets
    of_token = defaults.token if token.budgets is None else token.budgets
    found = _budgets(f"organisation {name}", f"the organisation `{name}`", own)
    if of_token:
        subjects = "" if token.sha256 else f"signed {name}"
        found += _budgets(account_of(token, name), f"the API key `{token.name}`", of_token, group=subjects)
    if each:
        found += _budgets(f"user {name}", f"this user of `{name}`", each, user=True, group=f"user {name}")
    return tuple(found)


def _budgets(
    key: str, owner: str, budgets: Sequence[keys.Budget], *, user: bool = False, group: str = ""
) -> list[OwnedBudget]:
    return [
        OwnedBudget(
            f"{key} {_kind(each)}",
            owner,
            each.usd is not None,
            keys.limit_of(each),
            each.per,
            each.timezone,
            each.warn_at,
            each.mode == "enforce",
            user,
            f"{group} {_kind(each)}" if group else "",
        )
        for each in budgets
    ]


def _kind(budget: keys.Budget) -> str:
    return f"{'tokens' if budget.usd is None else 'usd'} {budget.per} {budget.timezone}"
