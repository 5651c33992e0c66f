"""Figures over rounds: the median, and how far the rounds lie apart.

Invariant: a ratio is made of two figures of the same round, and a round in which one of them is missing has none.
"""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` rounds."""

    count: int
    min: float
    lower: float
    median: float
    upper: float
    max: float


def spread(values: Iterable[float]) -> Spread | None:
    """The quartiles include the ends, as is right for all the rounds that there were; None without any."""
    ordered = sorted(values)
    if not ordered:
        return None
    lower, median, upper = statistics.quantiles(ordered, n=4, method="inclusive") if ordered[1:] else ordered * 3
    return Spread(len(ordered), ordered[0], lower, median, upper, ordered[-1])


def ratios(of: Mapping[int, float], to: Mapping[int, float]) -> dict[int, float]:
    """By round."""
    return {number: value / to[number] for number, value in of.items() if to.get(number)}


def differences(of: Mapping[int, float], to: Mapping[int, float]) -> dict[int, float]:
    """By round."""
    return {number: value - to[number] for number, value in of.items() if number in to}
