"""One level's runs by themselves, and how many of them it takes to match a result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlsbi.data import MultilevelData

__all__ = ["Match", "level_alone", "runs_to_match"]


def level_alone(data: MultilevelData, level: int) -> MultilevelData:
    """One level's own runs as a data set of one level, with the cost of those runs alone."""
    costs = None if data.costs is None else (data.costs[level],)
    rows = [(data.theta(level), data.x(level))]
    return MultilevelData.from_arrays(data.prior, rows, costs=costs)


@dataclass(frozen=True)
class Match:
    """How many single-level runs reach a loss.

    Attributes:
        runs: The number, interpolated; the end of the curve where it lies beyond.
        relation: "about", or "at most" / "more than" where the curve ends before it gets there.
    """

    runs: float
    relation: str

    def __str__(self) -> str:
        """For a sentence: "about 170"."""
        return f"{self.relation} {self.runs:.0f}"


def runs_to_match(curve: Mapping[int, float], loss: float) -> Match:
    """Where a curve of losses over numbers of runs first comes down to `loss`.

    Linear in log n between points. The first crossing counts, so that noise in the curve makes the
    saving look smaller rather than larger.

    Args:
        curve: Number of runs -> loss, lower is better.
        loss: The loss to match.

    Raises:
        ValueError: The curve is empty.
    """
    if not curve:
        raise ValueError("curve must hold at least one point; got none.")
    points = sorted(curve.items())
    if points[0][1] <= loss:
        return Match(points[0][0], "at most")
    for (n, above), (m, below) in zip(points, points[1:], strict=False):
        if below <= loss:
            share = (above - loss) / (above - below) if math.isfinite(above) else 1.0
            return Match(n * (m / n) ** share, "about")
    return Match(points[-1][0], "more than")
