"""The fuzzer's targets without the fuzzer: their seeds, and small mutations of them, keep each invariant."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.targets import NAMES, Target, load

ROOT = Path(__file__).parents[2]
MUTATIONS = 200


def mutations(target: Target) -> Iterator[bytes]:
    """Yield the seeds, and as many mutations of them, the same on each run."""
    seeds = list(target.seeds())
    yield from seeds
    choice = random.Random(0)
    for _ in range(MUTATIONS):
        data = bytearray(choice.choice(seeds))
        for _ in range(choice.randint(1, 4)):
            at = choice.randint(0, len(data))
            data[at : at + choice.randint(0, 3)] = choice.choice(
                [choice.randbytes(2), choice.choice(target.WORDS), b""]
            )
        yield bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_on_its_seeds_and_on_mutations_of_them(name: str) -> None:
    target = load(name)
    for data in mutations(target):
        target.check(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_states_its_invariant_and_has_small_seeds_that_never_change(name: str) -> None:
    target = load(name)
    assert re.search(r"^Invariants?: ", target.__doc__ or "", re.MULTILINE)
    seeds = list(target.seeds())
    assert seeds == list(target.seeds())
    assert len(set(seeds)) >= 10
    assert max(map(len, seeds)) <= 1024


def test_every_target_is_listed() -> None:
    modules = {path.stem for path in (ROOT / "fuzz" / "targets").glob("*.py")}
    assert modules - {"__init__", "reading"} == set(NAMES)
