"""Sample sets laid over each other in a corner plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mlsbi._checks import check_type
from mlsbi._corner import Array, draw_corner
from mlsbi.plots._axes import axes_grid, figure_of, parameter_labels, to_array

__all__ = ["pairplot"]


def pairplot(
    samples: Mapping[str, Any],
    *,
    labels: Sequence[str] | None = None,
    truth: Any = None,
    limits: Any = None,
    axes: Any = None,
) -> Figure:
    """A corner plot with one or more sample sets laid over each other.

    The diagonal holds smoothed histograms, the panels below it the regions of highest density with
    90 % and 50 % of the mass.

    Args:
        samples: Name of each set -> samples, shape `(n, d)`; `n` may differ from set to set.
        labels: Names of the `d` parameters.
        truth: A point to mark, shape `(d,)`.
        limits: Lower and upper end of each axis, shape `(d, 2)`; by default, what the sets cover.
        axes: Axes to draw into, shape `(d, d)` (for `d = 1` also one axes).

    Returns:
        The figure.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If shapes disagree, or a sample is not finite.
    """
    sets = _sample_sets(samples)
    dim = next(iter(sets.values())).shape[1]
    names = parameter_labels(labels, dim=dim)
    point = None if truth is None else to_array(truth, name="truth", shape=(dim,))
    ends = _limits(limits, sets=sets, truth=point)
    grid = axes_grid(axes, dim=dim)
    draw_corner(grid, sets=sets, names=names, ends=ends, point=point)
    return figure_of(grid[0, 0])


def _sample_sets(samples: Mapping[str, Any]) -> dict[str, Array]:
    check_type(samples, Mapping, name="samples", remedy="Pass {name of the set: its samples}.")
    if not samples:
        raise ValueError("samples must hold at least one set; got none. Pass {name: samples}.")
    sets: dict[str, Array] = {}
    dim = None
    for name, value in samples.items():
        array = to_array(value, name=f"samples[{name!r}]", shape=(None, dim), remedy="Pass (n, d).")
        if array.size == 0:
            raise ValueError(f"samples[{name!r}] must not be empty; got shape {array.shape}.")
        dim = array.shape[1]
        sets[str(name)] = array
    return sets


def _limits(limits: Any, *, sets: Mapping[str, Array], truth: Array | None) -> Array:
    """Ends of each axis, shape `(d, 2)`."""
    if limits is not None:
        dim = next(iter(sets.values())).shape[1]
        ends = to_array(limits, name="limits", shape=(dim, 2))
        if not (ends[:, 0] < ends[:, 1]).all():
            raise ValueError(f"limits must hold (low, high) with low < high; got {ends.tolist()}.")
        return ends
    # Quantiles rather than extremes: one stray sample must not squeeze the rest into a corner.
    corners = [np.quantile(array, (0.002, 0.998), axis=0) for array in sets.values()]
    if truth is not None:
        corners.append(truth[None])
    points = np.concatenate(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    pad = np.where(high > low, 0.05 * (high - low), np.maximum(1e-3 * np.abs(high), 1e-6))
    return np.stack([low - pad, high + pad], axis=1)
