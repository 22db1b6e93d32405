"""Coverage of regions around random points."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._corner import line_style
from mlsbi.plots._axes import figure_of, one_axes
from mlsbi.plots._bands import curve_of, draw_calibrated, draw_own
from mlsbi.plots._parts import fractions

__all__ = ["tarp_plot"]


def tarp_plot(
    check: Any, *, level: float = 0.95, num_levels: int = 19, ax: Axes | None = None
) -> Figure:
    """Expected against nominal coverage of regions around random points (TARP).

    On the diagonal is calibrated. A curve that crosses it from above is of a posterior that is too
    narrow, from below, too wide; one on one side of it all along is of one whose centre is off.
    Lemos, Coogan, Hezaveh and Perreault-Levasseur (2023), "Sampling-based accuracy testing of
    posterior estimators for general inference", arXiv:2302.03026.

    Args:
        check: A `Check`, its `scores`, or TARP credibilities, shape `(n,)`.
        level: Of the two bands: grey, where the whole curve of a calibrated fit lies; coloured,
            where the fit's true coverage may lie, at each credibility by itself.
        num_levels: Credibilities k of the curve: 1 / (k + 1), ..., k / (k + 1).
        ax: Axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If a credibility is outside of [0, 1], there is none, or `level` is not between
            0 and 1.
    """
    ranks = fractions(check, "tarp", name="check", ndim=1)
    levels, share = curve_of(ranks, num_levels)
    ax = one_axes(ax, size=(4.2, 4.2))
    draw_calibrated(ax, len(ranks), levels, level=level)
    draw_own(ax, ranks, levels, level=level)
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=1, label="calibrated")
    ax.plot(levels, share, label=f"{len(ranks)} runs", **line_style(0))
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal coverage", ylabel="expected coverage")
    ax.set_aspect("equal")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return figure_of(ax)
