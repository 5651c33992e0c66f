"""docs/architecture.md and CONTRIBUTING.md name files, targets and functions that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
PAGES = PAGE + (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:extproc|tests|bedrock_local|docs|\.ci)[\w./]*)`", PAGES)))
)
def test_a_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("name", "path"), re.findall(r"`([A-Za-z_][\w.]*)` \(`(extproc/[\w/]+\.py)`\)", PAGE))
def test_each_name_is_defined_in_the_file_that_the_page_names(name: str, path: str) -> None:
    *owner, function = name.split(".")
    text = (ROOT / path).read_text()
    assert re.search(rf"^ *(def|class) {function}\b", text, re.MULTILINE)
    assert not owner or f"class {owner[0]}" in text


def test_every_package_is_on_the_page() -> None:
    packages = {path.parent.name for path in (ROOT / "extproc").glob("*/__init__.py")}
    layers = PAGE.partition("## The way of a request")[0]
    assert {package for package in packages if not re.search(rf"\b{package}\b", layers)} == set()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|\n)make ([a-z][a-z-]+)", PAGES))))
def test_a_target_exists(target: str) -> None:
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()
