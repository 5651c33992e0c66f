"""Every cache of the package is bounded in bytes, so callers' strings do not accumulate.

`CACHES` names every `lru_cache` and `cache` that there is in the source, and what bounds it. One that is not in the
table, or that is in the table only, is a failure. Those that a caller's strings can enter are then offered long ones.

Decision: docs/decisions.md, D59.
"""

import ast
import gc
import importlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import extproc
from extproc import config
from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.catalogue import Catalogue, Target
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.model_ids import LONGEST_REMEMBERED, is_model_id
from extproc.bedrock.prices import LIST_PRICES
from extproc.bedrock.sigv4 import Signer, model_path
from extproc.exchange.client_headers import names_to_remove
from extproc.exchange.directives import Head, Reply
from extproc.tenancy.policy import choose
from extproc.translate.fitting import Limits, fit
from extproc.translate.grammar import grammar
from extproc.translate.schemas import Growth
from extproc.transport import messages
from extproc.transport.http2 import fields

ROOT = Path(extproc.__file__).parent

KIB, MIB = 1024, 1024 * 1024

CACHES: dict[str, int | str] = {
    # A caller's strings enter: the most that the cache holds when it is full, in bytes.
    "bedrock.model_ids._remembered": 1 * MIB,
    "bedrock.sigv4._known_path": 2 * MIB,
    "bedrock.sigv4._known_again": 2 * MIB,
    "bedrock.capability_table._cached": 4 * MIB,
    "bedrock.prices._cached": 1 * MIB,
    "tenancy.policy._cached": 8 * MIB,
    "translate.grammar._remembered": 16 * MIB,
    "translate.fitting._remembered": 16 * MIB,
    "exchange.client_headers._cached": 4 * MIB,
    "transport.messages._usually_removed": 4 * MIB,
    "transport.messages._usually_stripped": 4 * MIB,
    "transport.messages._usual": 4 * MIB,
    "transport.messages._usual_entry": 4 * MIB,  # with `_usual`, which the same response fills
    # No caller's strings enter: only the operator's, or those of a peer that is trusted with more.
    "cl100k_base._bytes": "4,096 tokens of the vocabulary, of 128 bytes at most",
    "cl100k_base._lines": "one entry: the vocabulary",
    "envoy_config.plain_messages.remembered": "a type of Envoy's messages",
    "telemetry.lines.writer": "one entry for each of the process's streams",
    "openai.unknown._place_of": "a type of this package",
    "translate.names._rule": "patterns of the table of capabilities",
    "tenancy.policy._compiled": "patterns of gateway.yaml",
    "bedrock.sigv4._timestamp": "a number, four entries",
    "transport.encoding.own_name": "names that the source has",
    "transport.headers_message._usual_rest": "what Envoy itself writes behind headers: 512 bytes, 64 entries",
}


def caches_in(tree: ast.AST) -> Iterator[str]:
    """Return the names of a module's caches."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() if any(map(is_cache, node.decorator_list)):
                yield node.name
            case ast.Assign(targets=[target], value=ast.Call(func=func)) if is_cache(func):
                yield target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)


def is_cache(node: ast.AST) -> bool:
    """Recognise `lru_cache(…)` and `cache`, with or without `functools.`; not a cached property."""
    if isinstance(node, ast.Call):
        return is_cache(node.func)
    return ast.unparse(node).removeprefix("functools.") in ("lru_cache", "cache")


def caches() -> Iterator[str]:
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name in caches_in(ast.parse(path.read_text())):
            yield f"{module}.{name}"


def mentions() -> int:
    """Count the occurrences of the words in the source, imports left out."""
    lines = (line for path in ROOT.rglob("*.py") for line in path.read_text().splitlines())
    return sum("lru_cache(" in line or line.strip() in ("@cache", "@functools.cache") for line in lines)


def test_every_cache_is_in_the_table() -> None:
    all_names = list(caches())
    assert sorted(all_names) == sorted(CACHES)
    assert mentions() == len(all_names)


# Long strings, offered to each cache by the way that callers have


def headers_with(name: str) -> dict[str, str]:
    path = {":method": "POST", ":path": "/oai/v1/chat/completions", "authorization": "Bearer qc_test"}
    return path | {f"{name}-{index}": "" for index in range(4)}


def reply(value: str) -> Reply:
    return Reply(200, (("x-oai-ignored-params", value),), b"", "oai_answer", metadata={"model": value})


def sign(path: str) -> None:
    Signer("us-east-1", "bedrock").sign(Credentials("AKID", "secret"), path, b"", (), 0.0)


def schema(text: str) -> bytes:
    return json.dumps(
        {"type": "object", "title": text, "properties": {"a": {"type": "string", "format": text}}}
    ).encode()


CATALOGUE = Catalogue.build((), (), "us-east-1")
RULES = config.Models(deny=("x.*",))


def through_names_to_remove(text: str) -> None:
    names_to_remove(tuple(f"{text[:-1]}{letter}" for letter in "abcd"))


OFFERS: dict[str, Callable[[str], object]] = {
    "bedrock.model_ids._remembered": is_model_id,
    "bedrock.sigv4._known_path": lambda text: model_path(text, "converse"),
    "bedrock.sigv4._known_again": lambda text: sign(f"/model/{text}/converse"),
    "bedrock.capability_table._cached": BUILT_IN.of,
    "bedrock.prices._cached": lambda text: LIST_PRICES.of(text, text[1:]),
    "tenancy.policy._cached": lambda text: choose(RULES, text, (Target(text, text[1:]),)),
    "translate.grammar._remembered": lambda text: grammar(schema(text)),  # type: ignore[arg-type]
    "translate.fitting._remembered": lambda text: fit(schema(text), schema(""), Limits(("lookaround",)), Growth(), "p"),  # type: ignore[arg-type]
    "exchange.client_headers._cached": through_names_to_remove,
    "transport.messages._usually_removed": lambda text: messages.head(Head(200, (), (text, text + "b"))),
    "transport.messages._usually_stripped": lambda text: messages.stripped((text, text + "b")),
    "transport.messages._usual": lambda text: messages.immediate(reply(text)),
    "transport.messages._usual_entry": lambda text: messages.immediate(reply(text)),
    "Catalogue.targets": CATALOGUE.targets,
}

LENGTHS = (32, LONGEST_REMEMBERED, 500, 1900, 16 * KIB)
"""Each is just within a limit, or beyond all of them."""


@pytest.mark.parametrize("name", [name for name, bound in CACHES.items() if isinstance(bound, int)])
def test_every_cache_that_callers_reach_is_offered_something(name: str) -> None:
    assert name in OFFERS


@pytest.mark.parametrize("name", OFFERS)
def test_a_cache_holds_no_more_than_its_row_in_the_table(name: str) -> None:
    """The cache is filled with the longest strings that it accepts."""
    offer, bound = OFFERS[name], CACHES.get(name, 4 * MIB)
    assert isinstance(bound, int)
    many = size_of(name) + 100
    held = max(held_after(offer, length, many) for length in LENGTHS)
    assert held <= bound, f"{held / MIB:.1f} MiB"


def size_of(name: str) -> int:
    """Return the number of entries that a cache holds."""
    if name == "Catalogue.targets":
        return 1024
    module, _, attribute = name.rpartition(".")
    objects: dict[str, object] = {"bedrock.capability_table._cached": BUILT_IN, "bedrock.prices._cached": LIST_PRICES}
    holder = objects.get(name) or importlib.import_module(f"extproc.{module}")
    maxsize: int = getattr(holder, attribute).cache_info().maxsize
    return maxsize


def held_after(offer: Callable[[str], object], length: int, many: int) -> int:
    """Return the bytes held after so many different strings of this length."""
    clear_all()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(many):
            offer(f"{index:x}.".ljust(length, "a"))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def clear_all() -> None:
    """Empty the caches that callers reach."""
    for name, bound in CACHES.items():
        module, _, attribute = name.rpartition(".")
        cache: Any = getattr(importlib.import_module(f"extproc.{module}"), attribute, None)
        if isinstance(bound, int) and cache is not None:
            cache.cache_clear()
    BUILT_IN._cached.cache_clear()
    CATALOGUE._cached.clear()


def test_blocks_of_a_connection_are_remembered_only_if_they_are_short() -> None:
    reader = fields.Reader()
    reader.forbid_table()
    for size in (10, 100, 10_000):
        for index in range(fields.MAX_KNOWN * 2):
            required = ((":method", "POST"), (":scheme", "http"), (":path", "/a"))
            reader.request(b"\x20" + fields.block(*required, ("tracestate", f"{index:x}".ljust(size, "a"))))
    assert reader._known
    assert sum(map(len, reader._known)) <= fields.MAX_KNOWN * fields.MAX_KNOWN_BYTES
