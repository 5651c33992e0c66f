"""No Envoy that this project configures has a runtime flag that crashes it; `check --envoy` reports it elsewhere."""

import contextlib
import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc import config
from extproc.bedrock.endpoints import Endpoint
from extproc.envoy_config import EnvoyPlan, Fragment, render
from extproc.envoy_config.forbidden import GRACEFUL_CLOSE, UnreadableError, find
from extproc.net import Address

ROOT = Path(__file__).parents[2]
FLAG = f"envoy.reloadable_features.{GRACEFUL_CLOSE}"
SHIPPED = sorted([*ROOT.glob("envoy/**/*.yaml"), *ROOT.glob("deploy/**/*.yaml"), *ROOT.glob("docker-compose*.yml")])
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("envoy/*.md")])


def plans() -> list[EnvoyPlan]:
    """Return plans that cover every change of the whole bootstrap."""
    bedrock = Endpoint("https", "bedrock-runtime.us-east-1.amazonaws.com", 443)
    plain = EnvoyPlan(
        settings=config.parse(b"{}"),
        listen=Address("0.0.0.0", 80),
        processors=(Address(path="/w.sock"),),
        bedrock=bedrock,
    )
    whole = EnvoyPlan(
        settings=config.parse(b"{}"),
        listen=Address("0.0.0.0", 80),
        processors=(Address(path="/w.sock"),),
        bedrock=bedrock,
        admin=Address(path="/admin.sock"),
        health=Address("0.0.0.0", 81),
        access_log=True,
    )
    return [plain, whole]


@pytest.mark.parametrize("only", [None, *get_args(Fragment)])
@pytest.mark.parametrize("plan", plans(), ids=["plain", "whole"])
def test_no_rendering_has_it(plan: EnvoyPlan, only: Fragment | None) -> None:
    assert GRACEFUL_CLOSE not in render(plan, only=only)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_that_is_deployed_has_it(path: Path) -> None:
    assert GRACEFUL_CLOSE not in path.read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_turns_it_on(path: Path) -> None:
    assert not re.search(rf"{GRACEFUL_CLOSE}[`\"']*\s*[:=]\s*[\"']?true", path.read_text())


ISTIO = f'annotations: {{proxy.istio.io/config: \'{{"runtimeValues": {{"{FLAG}": "true"}}}}\'}}'
PATCH = f"a: 1\n---\nspec:\n  bootstrap:\n    value: |\n      layered_runtime:\n        {FLAG}: 1\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            f"layered_runtime: {{layers: [{{static_layer: {{{FLAG}: true}}}}]}}",
            "layered_runtime.layers[0].static_layer.",
        ),
        (f"static_layer: {{envoy: {{reloadable_features: {{{GRACEFUL_CLOSE}: 'TRUE'}}}}}}", "static_layer."),
        (json.dumps({"entries": {FLAG: {"final_value": "true", "layer_values": ["true"]}}}), "entries."),
        (PATCH, "spec.bootstrap.value.layered_runtime."),
        (ISTIO, "annotations.proxy.istio.io/config.runtimeValues."),
    ],
)
def test_the_flag_is_reported_wherever_it_is_on(text: str, path: str) -> None:
    [flag] = find(text)
    assert flag.path == f"{path}{FLAG}"
    assert str(flag).startswith(f"{path}{FLAG}: remove this runtime flag")


def test_a_mention_in_a_string_that_is_no_document_counts() -> None:
    assert [flag.path for flag in find(f"args: ['--set {FLAG}=true']")] == ["args[0]"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        f"{FLAG}: false",
        f"{FLAG}: 'false'",
        json.dumps({"entries": {FLAG: {"final_value": "false"}}}),
        "a: [1, x]",
    ],
)
def test_nothing_is_reported_where_the_flag_is_off(text: str) -> None:
    assert find(text) == []


@pytest.mark.parametrize(
    "text", ["a: [", "[" * 2000, "a:\n" + "".join(f"{' ' * n}k:\n" for n in range(1, 200)), "\x00"]
)
def test_an_unsearchable_document_is_reported(text: str) -> None:
    with pytest.raises(UnreadableError):
        find(text)


@given(st.text())
def test_any_text_is_searched_or_unreadable(text: str) -> None:
    with contextlib.suppress(UnreadableError):
        find(text)
