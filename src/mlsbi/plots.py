"""Figures: sample sets laid over each other, coverage curves, training histories.

Every function draws with matplotlib's object interface alone, so that nothing here opens a window,
switches a backend or adds to pyplot's list of figures. Each returns the `Figure`: save it with
`figure.savefig("posterior.png")`. Give `ax` (or `axes`) to draw into a figure of your own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlsbi._checks import as_tensor, check_type
from mlsbi._corner import Array, draw_corner, line_style
from mlsbi.history import History
from mlsbi.metrics import Coverage

__all__ = ["coverage_plot", "history_plot", "pairplot"]


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
    names = _labels(labels, dim=dim)
    point = None if truth is None else _array(truth, name="truth", shape=(dim,))
    ends = _limits(limits, sets=sets, truth=point)
    grid = _axes_grid(axes, dim=dim)
    draw_corner(grid, sets=sets, names=names, ends=ends, point=point)
    return _figure_of(grid[0, 0])


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
    ax = _one_axes(ax, size=(4.2, 4.2))
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
    return _figure_of(ax)


def history_plot(history: History, *, ax: Axes | None = None) -> Figure:
    """Training and held-out loss against training steps; a thin line where a stage begins.

    Args:
        history: `fit.history`.
        ax: Axes to draw into.

    Returns:
        The figure. Losses that are not finite leave a gap.

    Raises:
        TypeError: If `history` is not a `History`.
        ValueError: If it is empty.
    """
    check_type(history, History, name="history", remedy="Pass fit.history.")
    if len(history) == 0:
        raise ValueError("history must hold at least one row; got none. Pass a trained fit's.")
    steps, starts = _steps(history)
    ax = _one_axes(ax, size=(5.6, 3.4))
    losses = [column for column in history.columns if column.endswith("_loss")]
    marker = "o" if len(history) == 1 else None  # a single point is no line
    for index, name in enumerate(losses):
        values = np.asarray(history[name])
        values = np.where(np.isfinite(values), values, np.nan)
        label = name.removesuffix("_loss").replace("_", " ")
        ax.plot(steps, values, label=label, marker=marker, **line_style(index))
    for start in starts[1:]:
        ax.axvline(start, color="0.6", linewidth=0.8)
    ax.set(xlabel="training step", ylabel="loss (nats)")
    ax.legend(frameon=False, fontsize="small")
    return _figure_of(ax)


def _steps(history: History) -> tuple[Array, list[float]]:
    """Horizontal positions of the rows, and those where a stage begins.

    Steps that count from zero again in each stage are laid end to end.
    """
    positions: list[float] = []
    starts: list[float] = []
    offset, stage = 0.0, None
    for row in history:
        step = row.get("step", float(len(positions)))
        if row.get("stage", 0.0) != stage:
            stage = row.get("stage", 0.0)
            if positions and step + offset < positions[-1]:
                offset = positions[-1]
            starts.append(positions[-1] if positions else step)
        positions.append(step + offset)
    return np.asarray(positions), starts


# --- input ------------------------------------------------------------------------------------


def _array(value: Any, *, name: str, **checks: Any) -> Array:
    array: Array = as_tensor(value, name=name, dtype=torch.float64, **checks).cpu().numpy()
    return array


def _sample_sets(samples: Mapping[str, Any]) -> dict[str, Array]:
    check_type(samples, Mapping, name="samples", remedy="Pass {name of the set: its samples}.")
    if not samples:
        raise ValueError("samples must hold at least one set; got none. Pass {name: samples}.")
    sets: dict[str, Array] = {}
    dim = None
    for name, value in samples.items():
        array = _array(value, name=f"samples[{name!r}]", shape=(None, dim), remedy="Pass (n, d).")
        if array.size == 0:
            raise ValueError(f"samples[{name!r}] must not be empty; got shape {array.shape}.")
        dim = array.shape[1]
        sets[str(name)] = array
    return sets


def _labels(labels: Sequence[str] | None, *, dim: int) -> list[str]:
    if labels is None:
        return [rf"$\theta_{{{i + 1}}}$" for i in range(dim)]
    check_type(labels, Sequence, name="labels", remedy="Pass one string a parameter.")
    if isinstance(labels, str) or len(labels) != dim:
        count = "a single string" if isinstance(labels, str) else f"{len(labels)}"
        raise ValueError(f"labels must hold {dim} names, one a parameter; got {count}.")
    return [str(label) for label in labels]


def _limits(limits: Any, *, sets: Mapping[str, Array], truth: Array | None) -> Array:
    """Ends of each axis, shape `(d, 2)`."""
    if limits is not None:
        dim = next(iter(sets.values())).shape[1]
        ends = _array(limits, name="limits", shape=(dim, 2))
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
        nominal = _array(curve[0], name=f"curves[{name!r}][0]", ndim=1)
        empirical = _array(curve[1], name=f"curves[{name!r}][1]", shape=nominal.shape)
        if nominal.size == 0:
            raise ValueError(f"curves[{name!r}] must hold at least one point; got none.")
        if min(nominal.min(), empirical.min()) < 0 or max(nominal.max(), empirical.max()) > 1:
            raise ValueError(
                f"curves[{name!r}] must hold fractions in [0, 1]; got values outside. "
                "Divide percentages by 100."
            )
        pairs[str(name)] = (nominal, empirical)
    return pairs


# --- axes ----------------------------------------------------------------------------------------


def _figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax must belong to a figure; got axes removed from theirs.")
    return figure


def _one_axes(ax: Axes | None, *, size: tuple[float, float]) -> Axes:
    if ax is None:
        return Figure(figsize=size, layout="constrained").add_subplot()
    check_type(ax, Axes, name="ax", remedy="Pass one matplotlib Axes, or leave it out.")
    return ax


def _axes_grid(axes: Any, *, dim: int) -> NDArray[np.object_]:
    if axes is None:
        side = 3.6 if dim == 1 else 1.2 + 1.9 * dim
        figure = Figure(figsize=(side, 0.8 * side if dim == 1 else side), layout="constrained")
        return figure.subplots(dim, dim, squeeze=False)
    grid = np.atleast_2d(np.asarray(axes, dtype=object))
    if grid.shape != (dim, dim) or not all(isinstance(ax, Axes) for ax in grid.flat):
        raise ValueError(
            f"axes must hold matplotlib Axes in shape ({dim}, {dim}); got shape {grid.shape}. "
            f"Make them with figure.subplots({dim}, {dim})."
        )
    return grid
