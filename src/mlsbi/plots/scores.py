"""Held-out log density, run by run."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._corner import Array, line_style
from mlsbi.plots._axes import figure_of, one_axes, to_array

__all__ = ["score_plot"]


def score_plot(
    check: Any,
    against: Any = None,
    *,
    names: tuple[str, str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Log posterior density of each held-out run's parameters: this fit's against another's.

    Each point is a run; above the diagonal this fit gave the truth more density than the other.
    With nothing to compare, the runs' scores in rising order against their share, and a line at
    the median. Runs far below the rest (and minus infinity) are triangles at the edge.

    Args:
        check: A `Check`, its `scores`, or log densities, shape `(n,)`, in nats.
        against: Log densities of the same runs under another fit, shape `(n,)`; by default those
            of the check's comparison, if it made one.
        names: Of this fit and of the other, for the axes; by default those of the comparison.
        ax: Axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If the shapes differ, or a value is NaN or plus infinity.
    """
    own = _scores(check, name="check")
    rival = getattr(check, "comparison", None) if against is None else None
    titles = ("this fit", getattr(rival, "name", "the other fit"))
    titles = titles if names is None else _two_names(names)
    if rival is not None:
        own, against = own[np.asarray(rival.rows)], rival.log_prob
    if against is None:
        ax = one_axes(ax, size=(4.8, 3.2))
        _draw_sorted(ax, own, titles[0])
        return figure_of(ax)
    other = _scores(against, name="against", rows=len(own))
    ax = one_axes(ax, size=(4.4, 4.4))
    _draw_pairs(ax, own, other, titles)
    return figure_of(ax)


def _scores(given: Any, *, name: str, rows: int | None = None) -> Array:
    scores = getattr(given, "scores", given)
    array = to_array(
        getattr(scores, "posterior_log_prob", scores), name=name, shape=(rows,), finite=False,
        remedy="Pass a log density a run, of the same runs.",
    )  # fmt: skip
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one run; got none.")
    if np.isnan(array).any() or (array == np.inf).any():
        raise ValueError(f"{name} must hold numbers or minus infinity; got NaN or plus infinity.")
    return array


def _two_names(names: Any) -> tuple[str, str]:
    if isinstance(names, str) or not isinstance(names, (tuple, list)) or len(names) != 2:
        raise ValueError(f"names must be two strings, of this fit and of the other; got {names!r}.")
    return str(names[0]), str(names[1])


def _floor(*scores: Array) -> float:
    """Where the axis ends below: stray runs must not squeeze the rest into a corner."""
    finite = np.concatenate([s[np.isfinite(s)] for s in scores])
    if finite.size == 0:
        return 0.0
    low, high = np.quantile(finite, (0.25, 0.75))
    kept = finite[finite >= low - 3 * max(high - low, 1.0)]
    if len(kept) == sum(len(s) for s in scores):
        return float(kept.min())
    return float(kept.min() - 0.1 * (kept.max() - kept.min()))


def _draw_pairs(ax: Axes, own: Array, other: Array, names: tuple[str, str]) -> None:
    floor = _floor(own, other)
    top = float(max(own.max(), other.max(), floor))
    pad = 0.06 * (top - floor) or 1.0
    style = line_style(0)["color"]
    x, y = np.maximum(other, floor), np.maximum(own, floor)
    inside = (other >= floor) & (own >= floor)
    size = float(np.clip(60 / np.sqrt(len(own)), 2.5, 6.0))
    ax.plot([floor - pad, top + pad], [floor - pad, top + pad], color="0.4", linewidth=1)
    look: dict[str, Any] = {"color": style, "alpha": 0.7, "markeredgewidth": 0, "linestyle": "none"}
    ax.plot(x[inside], y[inside], marker="o", markersize=size, **look)
    for marker, rows in (("<", (other < floor) & ~(own < floor)), ("v", own < floor)):
        if rows.any():
            ax.plot(x[rows], y[rows], marker=marker, markersize=size + 2, **look)
    ax.set(xlim=(floor - pad, top + pad), ylim=(floor - pad, top + pad))
    ax.set_aspect("equal")
    ax.set_xlabel(f"log density, {names[1]} (nats)")
    ax.set_ylabel(f"log density, {names[0]} (nats)")
    better = f"{names[0]} better in {int((own > other).sum())} of {len(own)} runs"
    ax.set_title(better, fontsize="small", loc="left", color="0.3")


def _draw_sorted(ax: Axes, own: Array, name: str) -> None:
    ordered = np.sort(own)
    floor = _floor(own)
    share = (np.arange(len(own)) + 1) / len(own)
    inside = ordered >= floor
    colour = line_style(0)["color"]
    look: dict[str, Any] = {"color": colour, "linestyle": "none", "markeredgewidth": 0}
    ax.plot(ordered[inside], share[inside], marker="o", markersize=4, **look)
    if not inside.all():
        ax.plot(np.full((~inside).sum(), floor), share[~inside], marker="<", markersize=6, **look)
    ax.axvline(np.median(ordered), color="0.4", linewidth=1)
    ax.set(
        ylim=(0, 1.02), xlabel=f"log density, {name} (nats)", ylabel="share of runs at most this"
    )
