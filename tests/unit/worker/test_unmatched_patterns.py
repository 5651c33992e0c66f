"""The log of patterns of models that match nothing: of both lists, once each, and no more than there may be."""

import logging
from collections.abc import Callable

import pytest

from extproc import config
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.listing import ON_DEMAND, FoundationModel
from extproc.worker import unmatched_patterns
from extproc.worker.unmatched_patterns import MOST_COMPARED, MOST_LINES

REGION = "us-east-1"
NEW = FoundationModel("amazon.brand-new-v1:0", frozenset({"TEXT"}), frozenset({"TEXT"}), frozenset({ON_DEMAND}), 0)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    def tell(organisations: str, tokens: str = "[]") -> list[str]:
        settings = config.parse(f"organisations: {organisations}\ntokens: {tokens}".encode())
        with caplog.at_level(logging.WARNING):
            unmatched_patterns.tell(settings, Catalogue.build([NEW], [], REGION), REGION)
        return caplog.messages

    return tell


def test_a_pattern_is_compared_with_both_lists(told: Callable[..., list[str]]) -> None:
    allow = "[amazon.brand-new*, anthropic.*, us.anthropic.*, 'arn:aws:bedrock:*', amazn.*]"
    [line] = told(f"{{acme: {{models: {{allow: {allow}, deny: [AMAZON.NOVA*]}}}}}}")
    assert line.startswith("organisation 'acme' has the pattern `amazn.*` in `models.allow`, which no model matches")
    assert "us-east-1" in line


def test_a_pattern_is_named_once_for_whom_it_is(told: Callable[..., list[str]]) -> None:
    token = f"{{name: ci, sha256: '{'a' * 64}', organisations: [acme], models: {{allow: [amazn.*]}}}}"
    lines = told("{acme: {models: {allow: [amazn.*, amazn.*]}}, other: {models: {allow: [amazn.*]}}}", f"[{token}]")
    whose = [line.partition(" has")[0] for line in lines]
    assert whose == ["organisation 'acme'", "organisation 'other'", "token 'ci'"]


def test_lines_and_patterns_are_bounded(told: Callable[..., list[str]]) -> None:
    wrong = ", ".join(f"x{number}.*" for number in range(MOST_LINES + 5))
    many = ", ".join(f"amazon.nova{'*' * number}" for number in range(1, MOST_COMPARED))
    assert len(told(f"{{acme: {{models: {{allow: [{wrong}]}}}}}}")) == MOST_LINES
    more = told(f"{{first: {{models: {{allow: [{many}]}}}}, second: {{models: {{allow: [amazn.*, x.*]}}}}}}")
    assert not [line for line in more if "'second'" in line]
