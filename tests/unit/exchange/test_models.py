"""The models of a caller, with its organisation's aliases."""

import json
from collections.abc import Mapping

import pytest

from extproc.bedrock.catalogue import Catalogue
from extproc.config import Models
from extproc.exchange import models
from extproc.exchange.models import model, model_list, resolved
from extproc.openai.errors import ApiError
from extproc.tenancy import policy
from extproc.tenancy.directory import Caller
from tests.unit.exchange.conftest import MODELS, PROFILES

CATALOGUE = Catalogue.build(MODELS, PROFILES, "us-east-1")
NOVA, CLAUDE = "amazon.nova-micro-v1:0", "anthropic.claude-sonnet-4-6"
ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2c3d4e5f6"


def caller(aliases: Mapping[str, str], *allow: str, deny: tuple[str, ...] = ()) -> Caller:
    return Caller("ci", "acme", Models(allow or ("*",), deny), None, aliases)


def listed(who: Caller) -> dict[str, str]:
    """Return the owners of what is listed, by id."""
    entries = json.loads(model_list(CATALOGUE, who))["data"]
    assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
    return {entry["id"]: entry["owned_by"] for entry in entries}


def test_an_alias_is_resolved_to_what_serves_its_model() -> None:
    who = caller({"gpt-4o": CLAUDE, "fixed": ARN})
    assert resolved(CATALOGUE, who, "gpt-4o").model_id == f"us.{CLAUDE}"
    assert resolved(CATALOGUE, who, "fixed").model_id == ARN
    assert resolved(CATALOGUE, who, NOVA).model_id == NOVA


def test_it_is_listed_as_the_organisations() -> None:
    who = caller({"gpt-4o": NOVA, "fixed": ARN})
    assert {"gpt-4o": "organisation", "fixed": "organisation", NOVA: "amazon"}.items() <= listed(who).items()
    expected = {"id": "gpt-4o", "object": "model", "created": 1_700_000_000, "owned_by": "organisation"}
    assert json.loads(model(CATALOGUE, who, "gpt-4o")) == expected


def test_the_rules_apply_to_what_it_stands_for() -> None:
    for who in (caller({"gpt-4o": CLAUDE}, "amazon.*", "gpt-*"), caller({"gpt-4o": CLAUDE}, deny=("anthropic.*",))):
        assert "gpt-4o" not in listed(who)
        for forbidden in (
            lambda who=who: resolved(CATALOGUE, who, "gpt-4o"),
            lambda who=who: model(CATALOGUE, who, "gpt-4o"),
        ):
            with pytest.raises(ApiError) as caught:
                forbidden()
            assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_a_name_that_aws_lists_is_that_model() -> None:
    who = caller({NOVA: CLAUDE})
    assert resolved(CATALOGUE, who, NOVA).model_id == NOVA
    assert listed(who)[NOVA] == "amazon"
    assert json.loads(model(CATALOGUE, who, NOVA))["owned_by"] == "amazon"


def test_a_rejection_suggests_an_alias() -> None:
    with pytest.raises(ApiError, match=r"Did you mean `gpt-4o`\?"):
        resolved(CATALOGUE, caller({"gpt-4o": ARN}, "arn:*"), "gpt4o")
    with pytest.raises(ApiError) as caught:
        resolved(CATALOGUE, caller({"gpt-4o": CLAUDE}, "amazon.*"), "gpt4o")
    assert "gpt-4o" not in str(caught.value)


def test_a_list_is_chosen_once_for_each_rules() -> None:
    """However many organisations, or tokens with rules of their own, ask in turns."""
    callers = [caller({}, "amazon.*", deny=(f"*-{number}",)) for number in range(3_000)]
    catalogue = Catalogue.build(MODELS, PROFILES, "us-east-1")
    first = [model_list(catalogue, who) for who in callers[:500]]
    before = policy._cached.cache_info()
    assert [model_list(catalogue, who) for who in callers[:500]] == first
    after = policy._cached.cache_info()
    assert (before.hits, before.misses) == (after.hits, after.misses)
    for who in callers:
        model_list(catalogue, who)
    assert 0 < len(catalogue.permitted) <= 1_024


def test_a_new_list_of_awss_is_chosen_from_anew() -> None:
    who = caller({}, "amazon.*")
    assert json.loads(model_list(CATALOGUE, who))["data"]
    assert not json.loads(model_list(Catalogue.build([], [], "us-east-1"), who))["data"]


def test_names_are_prepared_once_for_each_rules_and_aliases() -> None:
    """To prepare them takes ten times as long as to search them, and any caller can send ids that do not exist."""
    catalogue = Catalogue.build(MODELS, PROFILES, "us-east-1")
    plain, aliased = caller({}, "amazon.*"), caller({"best-one": NOVA}, "amazon.*")
    prepared = set()
    for number in range(100):
        for who, asked, meant in ((plain, f"x{number}", None), (aliased, f"best-on{number}", "best-one")):
            with pytest.raises(ApiError) as caught:
                resolved(catalogue, who, asked)
            assert (f"Did you mean `{meant}`" in caught.value.message) == (meant is not None), asked
        prepared.update(catalogue.names.values())
    assert len(prepared) == 2


def test_names_of_so_many_rules_are_remembered() -> None:
    catalogue = Catalogue.build(MODELS, PROFILES, "us-east-1")
    for number in range(3 * models._MOST_NAMES):
        with pytest.raises(ApiError):
            resolved(catalogue, caller({}, f"{number}*"), "x")
        assert len(catalogue.names) <= models._MOST_NAMES
