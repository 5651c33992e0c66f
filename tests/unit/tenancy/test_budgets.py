"""The budgets of a request: own lists before defaults."""

from extproc.config import Organisation, Token
from extproc.config.budgets import Budget, BudgetSettings
from extproc.tenancy.budgets import budgets_of

SHA256 = "0" * 64
DAY = (Budget("day", tokens="1K"),)
MONTH = (Budget("month", usd="2.50", mode="audit"),)
DEFAULTS = BudgetSettings(organisation=DAY, token=DAY, user=DAY)


def keys(defaults: BudgetSettings, token: Token, organisation: Organisation) -> list[str]:
    return [budget.key for budget in budgets_of(defaults, token, "acme", organisation)]


def test_defaults_are_for_those_without_own_budgets() -> None:
    assert keys(DEFAULTS, Token("ci", SHA256), Organisation()) == [
        "organisation acme tokens day UTC",
        "token acme ci tokens day UTC",
        "user acme tokens day UTC",
    ]
    assert keys(DEFAULTS, Token("ci", SHA256, budgets=()), Organisation(budgets=MONTH, user_budgets=())) == [
        "organisation acme usd month UTC"
    ]


def test_limits_are_whole_numbers() -> None:
    [tokens] = budgets_of(BudgetSettings(), Token("ci", SHA256), "acme", Organisation(budgets=DAY))
    [money] = budgets_of(BudgetSettings(), Token("ci", SHA256), "acme", Organisation(budgets=MONTH))
    assert (tokens.limit, tokens.usd, tokens.enforced) == (1000, False, True)
    assert (money.limit, money.usd, money.enforced) == (2_500_000, True, False)


def test_signed_tokens_of_two_organisations_share_nothing() -> None:
    """Two issuers, of an organisation each, may have subjects of one name."""
    only = BudgetSettings(token=DAY)
    assert keys(only, Token("jwt:a", ""), Organisation()) == ["signed acme jwt:a tokens day UTC"]


def test_those_of_whom_callers_choose_how_many_there_are_have_a_group() -> None:
    """Whoever mints signed tokens makes up subjects as others make up users."""
    for token, group in ((Token("jwt:a", ""), "signed acme tokens day UTC"), (Token("ci", SHA256), "")):
        _, of_token, of_user = budgets_of(DEFAULTS, token, "acme", Organisation())
        assert (of_token.group, of_user.group) == (group, "user acme tokens day UTC")
