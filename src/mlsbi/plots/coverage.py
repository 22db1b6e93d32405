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

__all__ = ["coverage_plot"]


def coverage_plot(
    curves: Mapping[str, Coverage | tuple[Any, Any]], *, ax: Axes | None = None
) -> Figure:
    """Empirical against nominal coverage of credible regions; on the diagonal is calibrated.

    Where all curves are `Coverage` results, a grey band shows where a calibrated fit's curve lies
    with 95 % probability, at each level by itself.

    Args:
        curves: Name of each fit -> what `mlsbi.metrics.expected_coverage` returned, or a pair
            `(nominal, empirical)` of arrays of shape `(k,)` in [0, 1].
        ax: Axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If the two arrays of a pair differ in shape, or leave [0, 1].
    """
    pairs = _coverage_curves(curves)
    counts = [len(c.ranks) if isinstance(c, Coverage) else 0 for c in curves.values()]
    ax = one_axes(ax, size=(4.2, 4.2))
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=1, label="calibrated")
    if min(counts) > 0:
        nominal = np.linspace(0, 1, 201)
        half = 1.96 * np.sqrt(nominal * (1 - nominal) / min(counts))
        low, high = np.clip(nominal - half, 0, 1), np.clip(nominal + half, 0, 1)
        ax.fill_between(nominal, low, high, color="0.88", linewidth=0)
    for index, (name, (nominal, empirical)) in enumerate(pairs.items()):
        ax.plot(nominal, empirical, label=name, **line_style(index))
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal coverage", ylabel="empirical coverage")
    ax.set_aspect("equal")
    ax.text(0.97, 0.03, "below: over-confident", color="0.4", ha="right", fontsize="small")
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return figure_of(ax)


def _coverage_curves(
    curves: Mapping[str, Coverage | tuple[Any, Any]],
) -> dict[str, tuple[Array, Array]]:
    check_type(curves, Mapping, name="curves", remedy="Pass {name: coverage}.")
    if not curves:
        raise ValueError("curves must hold at least one curve; got none.")
    pairs = {}
    for name, given in curves.items():
        curve = (given.levels, given.empirical) if isinstance(given, Coverage) else given
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
        pairs[str(name)] = (nominal, empirical)
    return pairs
