"""Ranks of the true parameters among posterior draws (SBC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._checks import check_fraction, check_option
from mlsbi._corner import Array, line_style
from mlsbi.plots._axes import figure_of, panels
from mlsbi.plots._bands import curve_of, draw_calibrated
from mlsbi.plots._parts import fractions, names_of

__all__ = ["rank_plot"]

_LEVELS = 39  # where the curve is looked at
_TINY = 1e-9  # both the curve and the band go in steps of 1 / n


def rank_plot(
    check: Any,
    *,
    kind: str = "ecdf",
    labels: Sequence[str] | None = None,
    level: float = 0.95,
    axes: Any = None,
) -> Figure:
    """Ranks of the true parameters among posterior draws, a panel a parameter.

    They are uniform where the posterior is calibrated. By default, the share of ranks up to a
    point, less what it would be if they were uniform, on the grey band where the whole curve of a
    calibrated fit lies. Above zero on the left and below on the right is a posterior that is too
    narrow, the other way round too wide; on one side all along, one that is off: above, too high.
    Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv:1804.06788; Säilynoja, Bürkner and
    Vehtari (2022), arXiv:2103.10522.

    Args:
        check: A `Check`, its `scores`, or ranks in [0, 1], shape `(n, d)`.
        kind: "ecdf", or "histogram": counts on the band where all bars of a calibrated fit lie
            (binomial, by Bonferroni); there a hollow is too narrow, a hill too wide.
        labels: Names of the `d` parameters; by default those of the check.
        level: Probability that no panel of a calibrated fit leaves its band.
        axes: `d` axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a rank is outside of [0, 1], there is none, or another argument has a value
            that is not allowed.
    """
    ranks = fractions(check, "rank", name="check", ndim=2)
    level = check_fraction(level, name="level")
    check_option(kind, name="kind", allowed=("ecdf", "histogram"))
    names = names_of(check, labels, dim=ranks.shape[1])
    each = 1 - (1 - level) / len(names)  # Bonferroni: all panels together
    size = (4.6, 3.0) if len(names) == 1 else (2.5, 2.1)
    grid = panels(axes, len(names), columns=2, size=size, sharex=True, sharey=True)
    for ax, name, column in zip(grid, names, ranks.T, strict=True):
        outside = (_draw_ecdf if kind == "ecdf" else _draw_histogram)(ax, column, each)
        ax.set_title(f"{name}: outside the band" if outside else name, fontsize="medium")
        ax.set_xlim(0, 1)
    if axes is None:
        _name_axes(grid, "ECDF - uniform" if kind == "ecdf" else "runs")
    return figure_of(grid[0])


def _draw_ecdf(ax: Axes, ranks: Array, level: float) -> bool:
    """Draw the difference; return whether it leaves the band."""
    levels, share = curve_of(ranks, _LEVELS)
    low, high = draw_calibrated(ax, len(ranks), levels, level=level, difference=True)
    ax.axhline(0, color="0.4", linewidth=1)
    points, ends = np.concatenate([[0.0], levels, [1.0]]), ([0.0], [0.0])
    ax.plot(points, np.concatenate([ends[0], share - levels, ends[1]]), **line_style(0))
    return bool(((share < low - _TINY) | (share > high + _TINY)).any())


def _draw_histogram(ax: Axes, ranks: Array, level: float) -> bool:
    """Draw the counts; return whether one leaves the band."""
    from scipy.stats import binom

    bins = int(np.clip(len(ranks) // 8, 4, 20))
    counts, edges = np.histogram(ranks, bins=bins, range=(0, 1))
    tail = (1 - level) / bins / 2  # all bars together
    low, high = binom.ppf([tail, 1 - tail], len(ranks), 1 / bins)
    ax.axhspan(low, high, color="0.85", linewidth=0, zorder=0)
    ax.axhline(len(ranks) / bins, color="0.4", linewidth=1)
    ax.stairs(counts, edges, fill=True, color=line_style(0)["color"], alpha=0.5)
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.05 * float(counts.max()), 1.05 * high))
    return bool(((counts < low) | (counts > high)).any())


def _name_axes(grid: Sequence[Axes], quantity: str) -> None:
    """Names at the outer panels alone: the others share their axes."""
    columns = min(2, len(grid))
    for index, ax in enumerate(grid):
        if index % columns == 0:
            ax.set_ylabel(quantity)
        if index + columns >= len(grid):
            ax.set_xlabel("rank of the truth")
            ax.tick_params(labelbottom=True)
