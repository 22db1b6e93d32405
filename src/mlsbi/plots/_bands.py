"""The two bands around a curve of coverage: a calibrated fit's, and the curve's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mlsbi._checks import check_fraction
from mlsbi._corner import Array, line_style
from mlsbi.checking.bands import coverage_band, simultaneous_band
from mlsbi.metrics import coverage_of_ranks

__all__ = ["curve_of", "draw_calibrated", "draw_own"]


def curve_of(ranks: Array, num_levels: int) -> tuple[Array, Array]:
    """Even credibilities and the share of ranks `(n,)` up to each, both `(k,)`."""
    curve = coverage_of_ranks(ranks, num_levels=num_levels)
    return np.asarray(curve.levels), np.asarray(curve.empirical)


def draw_calibrated(
    ax: Axes, n: int, levels: Array, *, level: float, difference: bool = False, label: str = ""
) -> tuple[Array, Array]:
    """In grey, where the whole curve of a calibrated fit of `n` runs lies.

    Args:
        ax: Where to draw.
        n: Number of runs.
        levels: Increasing, in (0, 1), shape `(k,)`.
        level: Probability.
        difference: Draw it less the diagonal.
        label: In the legend; by default it says what the band is.

    Returns:
        Its lower and upper end at `levels`, of the curve itself, each of shape `(k,)`.
    """
    level = check_fraction(level, name="level")
    inner = [np.asarray(end) for end in simultaneous_band(n, levels, level=level)]
    points = np.concatenate([[0.0], levels, [1.0]])
    low, high = (np.concatenate([[0.0], end, [1.0]]) for end in inner)
    base = points if difference else 0.0
    ax.fill_between(
        points, low - base, high - base, color="0.85", linewidth=0, zorder=0,
        label=label or f"{100 * level:g} % of calibrated fits",
    )  # fmt: skip
    return inner[0], inner[1]


def draw_own(ax: Axes, ranks: Array, levels: Array, *, level: float, index: int = 0) -> None:
    """In the curve's colour, where the fit's true coverage may lie, at each level by itself."""
    low, high = coverage_band(ranks, levels, level=level)
    look: dict[str, Any] = {"color": line_style(index)["color"], "alpha": 0.2, "linewidth": 0}
    ax.fill_between(levels, np.asarray(low), np.asarray(high), zorder=1, **look)
