"""Empirical against nominal coverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._checks import check_type
from mlsbi._corner import Array, line_style
from mlsbi.metrics import Coverage
from mlsbi.plots._axes import figure_of, one_axes, to_array
from mlsbi.plots._bands import draw_calibrated, draw_own
from mlsbi.plots._parts import in_print

__all__ = ["coverage_plot"]

_MOST_BANDS = 2  # more of them hide each other


def coverage_plot(
    curves: Any, *, level: float = 0.95, parameters: bool = False, ax: Axes | None = None
) -> Figure:
    """Empirical against nominal coverage of credible regions; on the diagonal is calibrated.

    Where the number of runs is known, a grey band shows where the whole curve of a calibrated fit
    lies, and, around one or two curves, a band in their colour where the true coverage of the fit
    may lie (at each credibility by itself).

    Args:
        curves: A `Check`; or name of each fit -> what `mlsbi.metrics.expected_coverage` returned,
            or a pair `(nominal, empirical)` of arrays of shape `(k,)` in [0, 1]; or one such curve.
        level: Probability of the bands.
        parameters: Of a `Check`: a curve for each parameter, too.
        ax: Axes to draw into.

    Returns:
        The figure. Of a `Check` whose `two_level` helps, that curve as well, with its intervals.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If the two arrays of a pair differ in shape, or leave [0, 1].
    """
    named = _named(curves, parameters=parameters)
    pairs = _coverage_curves(named)
    known = {k: np.asarray(c.ranks) for k, c in named.items() if isinstance(c, Coverage)}
    ax = one_axes(ax, size=(4.2, 4.2))
    if len(known) == len(pairs):
        least = min(known.values(), key=len)
        draw_calibrated(ax, len(least), _inner(next(iter(pairs.values()))[0]), level=level)
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=1, label="calibrated")
    for index, (name, (nominal, empirical)) in enumerate(pairs.items()):
        if name in known and len(pairs) <= _MOST_BANDS:
            draw_own(ax, known[name], nominal, level=level, index=index)
        ax.plot(nominal, empirical, label=name, **line_style(index))
    _draw_two_level(ax, getattr(curves, "two_level", None), level=level, index=len(pairs))
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal coverage", ylabel="empirical coverage")
    ax.set_aspect("equal")
    ax.text(0.97, 0.03, "below: over-confident", color="0.4", ha="right", fontsize="small")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return figure_of(ax)


def _named(curves: Any, *, parameters: bool) -> dict[str, Any]:
    """Every curve by its name."""
    joint = getattr(curves, "coverage", None)
    if joint is not None:
        found = {"all parameters": joint}
        if parameters:
            names = [in_print(name) for name in curves.labels]
            found |= dict(zip(names, curves.marginal_coverage, strict=True))
        return found
    if isinstance(curves, Coverage):
        return {f"{len(curves.ranks)} runs": curves}
    check_type(curves, Mapping, name="curves", remedy="Pass a Check, or {name: coverage}.")
    if not curves:
        raise ValueError("curves must hold at least one curve; got none.")
    return {str(name): curve for name, curve in curves.items()}


def _inner(nominal: Array) -> Array:
    """Credibilities strictly between 0 and 1, rising: at the ends the band has no width."""
    levels = np.unique(nominal)
    return levels[(levels > 0) & (levels < 1)]


def _draw_two_level(ax: Axes, two_level: Any, *, level: float, index: int) -> None:
    if two_level is None or not two_level.used:
        return
    nominal, empirical = (np.asarray(v) for v in _points(two_level.coverage))
    low, high = (np.asarray(end) for end in two_level.band(level=level))
    # isotonic regression may have moved a point beyond its own interval
    errors = np.clip([empirical - low, high - empirical], 0, None)
    ax.errorbar(
        nominal, empirical, errors, elinewidth=1, capsize=0, label="with cheap runs",
        **line_style(index),
    )  # fmt: skip


def _points(curve: Coverage) -> tuple[Any, Any]:
    return curve.levels, curve.empirical


def _coverage_curves(curves: Mapping[str, Any]) -> dict[str, tuple[Array, Array]]:
    pairs = {}
    for name, given in curves.items():
        curve = _points(given) if isinstance(given, Coverage) else given
        if not isinstance(curve, (tuple, list)) or len(curve) != 2:
            raise TypeError(
                f"curves[{name!r}] must be a Coverage or a pair (nominal, empirical); "
                f"got {type(curve).__name__}. Pass what expected_coverage returned."
            )
        nominal = to_array(curve[0], name=f"curves[{name!r}][0]", ndim=1)
        empirical = to_array(curve[1], name=f"curves[{name!r}][1]", shape=nominal.shape)
        if nominal.size == 0:
            raise ValueError(f"curves[{name!r}] must hold at least one point; got none.")
        if min(nominal.min(), empirical.min()) < 0 or max(nominal.max(), empirical.max()) > 1:
            raise ValueError(
                f"curves[{name!r}] must hold fractions in [0, 1]; got values outside. "
                "Divide percentages by 100."
            )
        pairs[name] = (nominal, empirical)
    return pairs
