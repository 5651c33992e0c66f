"""`make wire-check`: nothing in the installed packages is new, and what becomes new is noticed."""

import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec
import pydantic
import pytest
from botocore.model import ServiceModel
from typing_extensions import TypedDict

from tests.wire.check import Difference, Table, check, compare, covers, report
from tests.wire.members import of_hint, of_json, of_shape
from tests.wire.sides import of_code, of_packages

ROOT = Path(__file__).parents[2]


def test_the_installed_packages_have_nothing_that_is_in_no_table() -> None:
    difference = check()
    assert difference.new == (), "docs/wire-check.md says what to do"


def test_both_sides_have_the_same_places() -> None:
    packages = of_packages()
    assert set(of_code()) <= set(packages)
    assert all(packages.values())
    assert {"Converse error", "ConverseStream response", "ListInferenceProfiles response"} <= set(packages)


@pytest.mark.parametrize(
    ("place", "member"),
    [
        ("openai chat request", "messages[].content[].image_url.detail"),
        ("openai chat request", "reasoning_effort = xhigh"),
        ("openai chat response", "choices[].finish_reason = length"),
        ("openai chat chunk", "choices[].delta.tool_calls[].function.arguments"),
        ("openai embeddings request", "encoding_format = base64"),
        ("Converse request", "messages[].content[].document.format = pdf"),
        ("Converse response", "output.message.content[].toolUse.toolUseId"),
        ("ConverseStream response", "stream.contentBlockDelta.delta.reasoningContent.signature"),
        ("ConverseStream error", "ModelStreamErrorException"),
    ],
)
def test_a_member_of_either_side_that_disappears_is_noticed(place: str, member: str) -> None:
    packages, code, nothing = of_packages(), of_code(), Table({}, {})
    code[place].discard(member)
    assert f"{place}: {member}" in compare(packages, code, nothing).new
    packages[place].discard(member)
    code[place].add(member)
    assert f"{place}: {member}" in compare(packages, code, nothing).gone


def test_an_entry_covers_what_is_below_its_path_and_one_without_effect_is_named() -> None:
    packages = {"here": {"a", "a.b", "a[].c", "a = x", "ab", "b.c.d"}}
    known = Table({"here": {"a": "why", "c": "why"}, "any": {"*c.d": "why"}}, {"here": {"z": "why"}})
    assert compare(packages, {"here": {"z.y"}}, known) == Difference(("here: ab",), (), ("here: c",))


def test_free_json_of_the_code_covers_what_is_below_it() -> None:
    assert compare({"here": {"a", "a.b"}}, {"here": {"a", "a.*"}}, Table({}, {})) == Difference((), (), ())


@pytest.mark.parametrize(
    ("path", "member", "covered"),
    [("a", "a", True), ("a", "ab", False), ("*b", "a.b[].c", True), ("*.b", "b", False), ("a = x", "a = xy", False)],
)
def test_covering(path: str, member: str, covered: bool) -> None:
    assert covers(path, member) is covered


class Inner(TypedDict):
    kind: Literal["x", "y"]


class Typed(TypedDict, total=False):
    one: Inner | None
    many: list[Inner | str]
    free: dict[str, object]
    open: str | Literal["suggested"]


class Model(pydantic.BaseModel):
    typed: Typed


class Tagged(msgspec.Struct, tag_field="type", tag="t", rename="camel"):
    long_name: Literal["a"] | None = None


def test_members_of_types() -> None:
    inner = {"one", "one.kind", "one.kind = x", "one.kind = y"}
    typed = inner | {member.replace("one", "many[]") for member in inner if member != "one"} | {"many"}
    typed |= {"free", "free.*", "open"}
    assert set(of_hint(Typed)) == typed
    assert set(of_hint(Model)) == {"typed", *(f"typed.{member}" for member in typed)}
    assert set(of_hint(Tagged)) == {"type", "type = t", "longName", "longName = a"}


def test_members_of_shapes_end_where_a_shape_is_within_itself() -> None:
    shapes = {
        "Tree": {"type": "structure", "members": {"kind": {"shape": "Kind"}, "trees": {"shape": "Trees"}}},
        "Trees": {"type": "list", "member": {"shape": "Tree"}},
        "Kind": {"type": "string", "enum": ["oak"]},
    }
    assert set(of_shape(ServiceModel({"shapes": shapes}).shape_for("Tree"))) == {"kind", "kind = oak", "trees"}


def test_members_of_json() -> None:
    assert set(of_json({"a": [{"b": 1}, {"c": None}], "d": 1})) == {"a", "a[].b", "a[].c", "d"}


def test_the_report_has_each_member_and_what_to_do() -> None:
    lines = list(report(Difference(("here: a",), ("there: b",), ())))
    assert [line for line in lines if line.startswith("  ")] == ["  here: a", "  there: b"]
    assert list(report(Difference((), (), ())))[1:] == ["Nothing is new."]


def test_the_command_succeeds_while_nothing_is_new() -> None:
    command = [sys.executable, "-P", "-m", "tests.wire"]
    environ = {"PYTHONPATH": str(ROOT)}
    completed = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.splitlines()[0].startswith("openai ")
