"""The rules for a request, by its caller and the settings."""

import msgspec
import pytest

from extproc.config import AwsSettings, GuardrailSettings, Models, Organisation, Settings
from extproc.exchange.budget import MemoryBudget, Reservation
from extproc.exchange.chat_endpoint import CHAT
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.rules import default_model, rules_of
from extproc.exchange.states import Admitted
from extproc.tenancy.directory import Caller
from extproc.translate.rules import NO_RULES, Rules

NONE = Settings(aws=AwsSettings(request_metadata=()))


def caller(own: Organisation, token: str = "ci") -> Caller:
    return Caller(token, "acme", Models(), own=own)


def test_without_any_setting_there_are_no_rules() -> None:
    assert rules_of(NONE, caller(Organisation()), "r1") is NO_RULES


@pytest.mark.parametrize(
    ("settings", "pairs"),
    [
        (NONE, {}),
        (Settings(), {"oai.organisation": "acme", "oai.token": "Zo=C3=AB"}),
        (Settings(aws=AwsSettings(request_metadata=("request_id",))), {"oai.request_id": "r1"}),
    ],
)
def test_the_gateways_pairs_and_the_organisations(settings: Settings, pairs: dict[str, str]) -> None:
    own = Organisation(request_metadata={"team": "search"})
    assert rules_of(settings, caller(own, "Zoë"), "r1") == Rules({**pairs, "team": "search"})


def test_the_organisations_limits_are_those_of_its_caller() -> None:
    own = Organisation(max_tokens=100, guardrail=GuardrailSettings("gr1", "2"))
    assert rules_of(NONE, caller(own), "r1") == Rules({}, 100, ("gr1", "2"))
    assert rules_of(NONE, caller(Organisation(max_tokens=100)), "r1") == Rules({}, 100)


def test_the_rules_of_a_caller_with_budgets_say_so() -> None:
    who = msgspec.structs.replace(caller(Organisation()), budgets=())
    assert rules_of(NONE, who, "r1") == Rules(budgeted=True)


def test_embeddings_have_no_default_model() -> None:
    who, reservation = (
        caller(Organisation(default_model="usual")),
        Reservation(MemoryBudget(1 << 20, 1 << 20), "acme", 1),
    )
    assert default_model(Admitted(CHAT, who, reservation)) == "usual"
    assert default_model(Admitted(EMBEDDINGS, who, reservation)) is None
    assert default_model(Admitted(CHAT, caller(Organisation()), reservation)) is None
