"""The listed model that a wrong id probably means."""

import difflib
from typing import Any

import pytest

from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.listing import FoundationModel, InferenceProfile
from extproc.bedrock.seed import seed
from extproc.bedrock.similar import similar

PROFILE_ONLY = frozenset({"INFERENCE_PROFILE"})


def catalogue() -> Catalogue:
    """Return two models, one of which has two versions and profiles."""
    text = frozenset({"TEXT"})
    names = ("maker.talker-2-20240101-v1:0", "maker.talker-2-20250101-v1:0", "maker.talker-3-v1:0")
    models = [FoundationModel(name, text, inference=PROFILE_ONLY) for name in names]
    profiles = [InferenceProfile(f"eu.{name}", "", (name,)) for name in names]
    return Catalogue.build([*models, FoundationModel("other.listener-9", text)], profiles, "eu-west-1")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("maker.talker-3", "maker.talker-3-v1:0"),
        ("maker.talker-3-v1", "maker.talker-3-v1:0"),
        ("talker-3", "maker.talker-3-v1:0"),
        ("maker/talker-3", "maker.talker-3-v1:0"),
        ("MAKER.Talker-3-V1:0", "maker.talker-3-v1:0"),
        ("us.maker.talker-3-v1:0", "maker.talker-3-v1:0"),
        ("eu.maker.talker-3", "eu.maker.talker-3-v1:0"),
        ("maker.talker-2", "maker.talker-2-20250101-v1:0"),
        ("maker.talker-2-latest", "maker.talker-2-20250101-v1:0"),
        ("maker.talker-2-20240101", "maker.talker-2-20240101-v1:0"),
        ("maker.talkr-3-v1:0", "maker.talker-3-v1:0"),
        ("other.listner-9", "other.listener-9"),
        ("gpt-4o", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_a_suggestion(asked: str, meant: str | None) -> None:
    assert similar(asked, catalogue().entries()) == meant


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-southeast-2"])
def test_no_model_is_its_own_suggestion(region: str) -> None:
    entries = seed(region).entries()
    assert entries
    for entry in entries:
        assert similar(entry.id, entries) != entry.id


def test_each_known_model_is_found_without_its_version() -> None:
    entries = seed("us-east-1").entries()
    for entry in entries:
        foundation = entry.targets[0].foundation
        assert foundation is not None
        meant = similar(foundation.rpartition(":")[0] or foundation[:-1], entries)
        assert meant is not None
        assert meant.partition(".")[0] in (entry.owned_by, "us", "global"), (entry.id, meant)


def test_of_thousands_of_models_a_few_are_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    close_matches = difflib.get_close_matches

    def counted(name: str, names: list[str], **options: Any) -> list[str]:
        compared.append(len(names))
        return close_matches(name, names, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    text = frozenset({"TEXT"})
    models = [FoundationModel(f"maker.talker-{number}x-v1:0", text) for number in range(4_000)]
    entries = Catalogue.build([*models, FoundationModel("other.listener-9", text)], [], "eu-west-1").entries()
    assert similar("other.listner-9", entries) == "other.listener-9"
    assert similar("talkr-3217x", entries) == "maker.talker-3217x-v1:0"
    assert max(compared) <= 8
