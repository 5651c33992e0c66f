"""Why a model is not in a caller's list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.listing import ON_DEMAND, FoundationModel
from extproc.bedrock.seed import seed
from extproc.cli.missing_models import missing, objection
from extproc.config import Models
from extproc.tenancy.policy import Narrowed, choose

CATALOGUE = seed("us-east-1")
CLAUDE, NOVA, TITAN = "anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"
PATTERNS = ["*", "anthropic.*", "us.*", "global.*", "*nova*", NOVA, "AMAZON.*", "arn:*", "claude-*", "*.claude-*"]
NAMES = [*[entry.id for entry in CATALOGUE.entries()], "a1b2c3", "xx.amazon.nova-micro-v1:0", "no.such-model"]

models = st.builds(
    Models,
    st.lists(st.sampled_from(PATTERNS), max_size=3).map(tuple),
    st.lists(st.sampled_from(PATTERNS), max_size=2).map(tuple),
)


@settings(deadline=None)
@given(models | st.builds(Narrowed, models, models), st.sampled_from(NAMES))
def test_there_is_a_reason_for_exactly_what_is_not_permitted(rules: Models | Narrowed, name: str) -> None:
    targets = CATALOGUE.targets(name)
    assert (objection(rules, name, targets) is None) == (choose(rules, name, targets) is not None)


@pytest.mark.parametrize(
    ("rules", "name", "reason"),
    [
        (Models(), CLAUDE, None),
        (Models(deny=("*opus*", "*SONNET*")), CLAUDE, "denied by the pattern `*SONNET*` of `models.deny`"),
        (Models(allow=("amazon.*",)), CLAUDE, "not allowed by any pattern of `models.allow`"),
        (Models(allow=()), NOVA, "not allowed by any pattern of `models.allow`"),
        (Models(deny=("x",)), "a1b2c3", "since it is not known which model is behind it"),
        (Narrowed(Models(), Models(deny=("*nova*",))), NOVA, "the pattern `*nova*` of `models.deny` of the token"),
        (Narrowed(Models(allow=("x",)), Models(allow=())), NOVA, "not allowed by any pattern of `models.allow`"),
        (Models(allow=("us.*",), deny=("us.*",)), CLAUDE, f"as `us.{CLAUDE}` denied by the pattern `us.*`"),
    ],
)
def test_the_reason(rules: Models | Narrowed, name: str, reason: str | None) -> None:
    found = objection(rules, name, CATALOGUE.targets(name))
    assert found == reason or (reason is not None and found is not None and reason in found)


def reasons(catalogue: Catalogue, rules: Models | Narrowed, *, by_aws: bool = True, **aliases: str) -> dict[str, str]:
    return dict(missing(catalogue, rules, aliases, listed_by_aws=by_aws))


def test_what_the_region_has_not() -> None:
    one = FoundationModel(NOVA, frozenset({"TEXT"}), frozenset({"TEXT"}), frozenset({ON_DEMAND}), 0)
    images = FoundationModel("amazon.nova-canvas-v1:0", frozenset({"IMAGE"}), frozenset({"TEXT"}), one.inference, 0)
    catalogue = Catalogue.build([one, images], [], "eu-north-1", [CLAUDE])
    rules = Models(
        allow=("*", "maker.newest-v1", "amazon.nova-canvas-v1:0", "arn:aws:bedrock:eu-north-1:1:provisioned-model/abc")
    )
    found = reasons(catalogue, rules)
    assert NOVA not in found
    assert found[CLAUDE] == found["maker.newest-v1"] == "not listed by AWS in eu-north-1 for this account"
    assert found["amazon.nova-canvas-v1:0"] == "not for chat or embeddings, or only provisioned, in eu-north-1"
    assert reasons(catalogue, rules, by_aws=False)[CLAUDE] == "not in the built-in list for eu-north-1"
    assert not [name for name in found if name.startswith("arn:")]


def test_aliases() -> None:
    aliases = {"chat": CLAUDE, "small": NOVA, TITAN: NOVA}
    found = dict(missing(CATALOGUE, Models(deny=("*claude*",)), aliases, listed_by_aws=True))
    assert found["chat"] == f"is an alias of `{CLAUDE}`, which is denied by the pattern `*claude*` of `models.deny`"
    assert found[TITAN] == f"is a model of its own, so it is no alias of `{NOVA}`"
    assert "small" not in found
