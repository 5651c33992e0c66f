"""The compiled packages contain no construct whose meaning mypyc would change silently.

`make test-compiled` runs the same tests on the compiled packages.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from extproc.bedrock.endpoints import Endpoint
from extproc.config import Settings
from extproc.envoy_config import CallersTls, EnvoyPlan, ProcessorTls
from extproc.exchange.endpoint import ApiEndpoint
from extproc.exchange.routes import ENDPOINTS
from extproc.net import Address
from extproc.proxy import Proxy
from extproc.worker import translation_wire

ROOT = Path(__file__).parents[2]


def interpreted() -> dict[str, str]:
    """Return `INTERPRETED` of setup.py, which cannot be imported without building something."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "INTERPRETED":
            packages: dict[str, str] = ast.literal_eval(node.value)
            return packages
    raise AssertionError("setup.py names no packages")


FILES = [
    path
    for package, names in interpreted().items()
    for path in sorted((ROOT / "extproc" / package).glob("*.py"))
    if path.stem not in {"__init__", *names.split()}
]


def test_the_interpreted_modules_exist() -> None:
    for package, names in interpreted().items():
        for name in names.split():
            assert (ROOT / "extproc" / package / f"{name}.py").is_file(), f"{package}/{name}"


@pytest.fixture(params=FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def tree(request: pytest.FixtureRequest) -> ast.Module:
    return ast.parse(request.param.read_text())


def test_a_class_gets_its_options_from_its_base(tree: ast.Module) -> None:
    """mypyc drops the keywords of a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.keywords:
            assert ast.unparse(node.bases[0]) == "Value", node.name
            assert [ast.unparse(keyword) for keyword in node.keywords] == ["frozen=True"], node.name


def test_a_field_has_a_default_of_its_own_type(tree: ast.Module) -> None:
    """A `msgspec.field()` has another type than its annotation, and an `Enum("Name", "A B")` has no members."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("msgspec.field", "Enum", "IntEnum"), ast.unparse(node)


def test_an_exception_has_a_name_for_itself_in_a_function(tree: ast.Module) -> None:
    """A name has one type in a function: with a second one for the same name, the first would be a TypeError."""
    for function in functions(tree):
        caught: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                assert caught.setdefault(node.name, ast.unparse(node.type)) == ast.unparse(node.type), function.name


def test_a_list_is_extended_by_a_list(tree: ast.Module) -> None:
    """A generator becomes a list first: its items before an exception would be lost."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "extend":
            assert not isinstance(node.args[0], ast.GeneratorExp), ast.unparse(node)


def test_a_generator_is_looped_over(tree: ast.Module) -> None:
    """`[only] = generator()` misses an exception that the generator raises behind the first item."""
    generators = {
        function.name
        for function in functions(tree)
        if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.List | ast.Tuple):
            called = node.value.func if isinstance(node.value, ast.Call) else None
            assert called is None or ast.unparse(called).removeprefix("self.") not in generators, ast.unparse(node)


KEYWORDS_OF_C = {
    *("_alignof", "_asm", "_attribute", "_complex", "_const", "_imag", "_inline"),
    *("_real", "_restrict", "_signed", "_thread", "_typeof", "_volatile"),
}
"""Attributes that have an underscore more in the C code, where a keyword of gcc's is then."""


def test_no_attribute_becomes_a_keyword_of_c(tree: ast.Module) -> None:
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & KEYWORDS_OF_C


def test_no_sequence_is_unpacked_only_to_be_searched(tree: ast.Module) -> None:
    """mypyc stops at `x in (*a, b)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            assert not any(isinstance(part, ast.Starred) for part in ast.walk(node.comparators[0])), ast.unparse(node)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("message", [translation_wire.Header, translation_wire.ProcessReply])
def test_msgspec_decodes_no_type_of_a_compiled_module(message: type) -> None:
    """mypyc drops the annotations of a class, so msgspec could not read one."""
    compiled = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in FILES}
    assert {collected.__module__ for collected in structs(message)} & compiled == set()


@pytest.mark.parametrize("kind", [EnvoyPlan, ProcessorTls, CallersTls, Settings, Address, Endpoint, Proxy])
def test_what_the_renderer_is_sent_stays_python(kind: type) -> None:
    """mypyc's frozen dataclasses can be pickled, but not made again of that."""
    compiled = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in FILES}
    assert kind.__module__ not in compiled


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_an_endpoint_stays_python(endpoint: ApiEndpoint) -> None:
    """msgspec decodes its pending requests."""
    compiled = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in FILES}
    assert endpoint.decode.__module__ not in compiled, "name it in INTERPRETED in setup.py"


def structs(kind: object) -> set[type]:
    """Return all msgspec classes within a type."""
    collected: set[type] = set()
    waiting = [kind]
    while waiting:
        each = waiting.pop()
        waiting += get_args(each)
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each not in collected:
            collected.add(each)
            waiting += [field.type for field in msgspec.structs.fields(each)]
    return collected
