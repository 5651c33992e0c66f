"""Measure what an organisation's list of models costs in the code: `GET /models`, cut by its rules, with its aliases.

The list is of a real size: the built-in one, cut to some 150 models, and ten aliases. `bench.directory` asks a gateway
for such a list through Envoy.
"""

import time
from dataclasses import dataclass

import msgspec

from extproc import config
from extproc.bedrock.seed import seed
from extproc.exchange.models import model_list
from extproc.tenancy.directory import Caller

ROUNDS = 5

OWN = config.Organisation(
    models=config.Models(deny=("mistral.*", "writer.*", "minimax.*")),
    aliases={f"model-{number}": "anthropic.claude-sonnet-4-6" for number in range(10)},
)
"""An organisation with patterns and aliases."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a list has, and the µs of CPU that it takes: the first of a catalogue, and each further one."""

    models: int
    first: float
    further: float


def entries(body: bytes) -> int:
    """Return how many models a list has, aliases included."""
    return len(msgspec.json.decode(body)["data"])


def measure(region: str, count: int) -> Figures:
    """Make a list `count` times, in rounds of which the fastest counts.

    Each has a catalogue of its own, and a pattern: what a rule permits is remembered beyond the catalogue.
    """
    first, further, body = [], [], b""
    for number in range(ROUNDS):
        rules = config.Models(deny=(*OWN.models.deny, f"nothing-{number}"))
        caller = Caller("bench", "bench", rules, None, OWN.aliases, OWN)
        catalogue = seed(region)
        start = time.process_time()
        body = model_list(catalogue, caller)
        first.append(time.process_time() - start)
        start = time.process_time()
        for _ in range(count):
            model_list(catalogue, caller)
        further.append((time.process_time() - start) / count)
    return Figures(entries(body), min(first) * 1e6, min(further) * 1e6)
