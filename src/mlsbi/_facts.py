"""What is known of runs beside the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from mlsbi._stored import failures_since
from mlsbi.failures import Failure

__all__ = ["Facts", "facts_since", "read", "row_sums", "total_cost"]


class Facts(TypedDict):
    """Arguments of `MultilevelData`, which says what they are."""

    costs: tuple[float, ...] | None
    dropped: tuple[int, ...]
    failures: Sequence[Failure]
    seconds: Sequence[float | None] | None
    seconds_sd: Sequence[float | None] | None
    seeds: frozenset[int]


def facts_since(facts: Facts, level: int) -> Facts:
    """The facts of a level and of the levels above it; what is not read yet stays so."""
    costs, seconds, spread = facts["costs"], facts["seconds"], facts["seconds_sd"]
    return Facts(
        costs=None if costs is None else costs[level:],
        dropped=facts["dropped"][level:],
        failures=failures_since(level, facts["failures"]),
        seconds=None if seconds is None else seconds[level:],
        seconds_sd=None if spread is None else spread[level:],
        seeds=facts["seeds"],
    )


def read(seconds: Sequence[float | None] | None) -> tuple[float | None, ...] | None:
    """Times of levels, read now if they were not before."""
    return None if seconds is None else tuple(seconds)


def total_cost(n: Sequence[int], costs: Sequence[float] | None) -> float | None:
    """The sum over l of `n_l * (C_l + C_{l-1})`, None where costs are not known."""
    if costs is None:
        return None
    return float(sum(count * k for count, k in zip(n, row_sums(costs), strict=True)))


def row_sums(figures: Sequence[float]) -> tuple[float, ...]:
    """Of a row of each level, from those of a run: f_0, f_1 + f_0, f_2 + f_1, ..."""
    return tuple(f + (figures[i - 1] if i else 0.0) for i, f in enumerate(figures))
