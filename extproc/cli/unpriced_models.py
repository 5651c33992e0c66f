"""What `check` says of models without a price that organisations with budgets of money may call."""

from collections.abc import Iterator

from extproc.bedrock.prices import PriceList
from extproc.cli.model_warnings import KnownModels
from extproc.config import Models, Organisation, Settings
from extproc.config.budgets import Budgets
from extproc.config.prices import price_list
from extproc.tenancy.policy import choose, within

MAX_GROUPS = 20
"""Most sets of rules that are compared with the built-in list."""

MAX_NAMES = 20
"""Most models, and organisations, that a line names."""


def unpriced_models(settings: Settings, region: str) -> Iterator[str]:
    """Yield a line for the organisations with the same rules of models, and a budget of money."""
    groups: dict[tuple[Models, str | None, str], list[str]] = {}
    of_token = _money(settings.budgets.token) or any(_money(token.budgets) for token in settings.tokens)
    for name, own in settings.organisations.items():
        budgets = (
            settings.budgets.organisation if own.budgets is None else own.budgets,
            settings.budgets.user if own.user_budgets is None else own.user_budgets,
        )
        if of_token or any(map(_money, budgets)):
            groups.setdefault((own.models, own.region, own.geography), []).append(name)
    known, prices = KnownModels(region), price_list(settings.prices)
    happens = "rejected" if settings.budgets.on_unpriced == "reject" else "free"
    for names in list(groups.values())[:MAX_GROUPS]:
        if found := _unpriced(settings.organisations[names[0]], known, prices):
            yield (
                f"Without a price, and so {happens} under a budget in US dollars (`budgets.on_unpriced`): "
                f"{_listed(found)}. This is for: {_listed(names)}."
            )
    if len(groups) > MAX_GROUPS:
        yield f"The models of {len(groups) - MAX_GROUPS} more sets of rules were not compared with the prices."


def _money(budgets: Budgets | None) -> bool:
    return any(budget.usd is not None and budget.mode == "enforce" for budget in budgets or ())


def _unpriced(own: Organisation, known: KnownModels, prices: PriceList) -> list[str]:
    """Return the ids of the built-in list that the organisation may call, and that have no price."""
    catalogue, found = known.of(own), []
    for entry in catalogue.entries():
        target = choose(own.models, entry.id, within(catalogue, own, catalogue.targets(entry.id)))
        if target is not None and prices.of(target.model_id, target.foundation) is None:
            found.append(entry.id)
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
