"""Axes to draw into, and arrays to draw: what all figures share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mlsbi._checks import as_tensor, check_type
from mlsbi._corner import Array

__all__ = [
    "axes_grid",
    "figure_of",
    "names_given",
    "one_axes",
    "panels",
    "parameter_labels",
    "to_array",
]


def to_array(value: Any, *, name: str, **checks: Any) -> Array:
    """`value` as a float64 array, checked by `as_tensor`."""
    array: Array = as_tensor(value, name=name, dtype=torch.float64, **checks).cpu().numpy()
    return array


def parameter_labels(labels: Sequence[str] | None, *, dim: int) -> list[str]:
    """One name a parameter; theta_1, theta_2, ... if none are given.

    Raises:
        TypeError: `labels` is not a sequence.
        ValueError: It does not hold `dim` names.
    """
    if labels is None:
        return [rf"$\theta_{{{i + 1}}}$" for i in range(dim)]
    return names_given(labels, name="labels", count=dim, of="a parameter")


def names_given(names: Any, *, name: str, count: int, of: str) -> list[str]:
    """One name for each of `count` things.

    Raises:
        TypeError: `names` is not a sequence.
        ValueError: It does not hold `count` names.
    """
    check_type(names, Sequence, name=name, remedy=f"Pass one string {of}.")
    if isinstance(names, str) or len(names) != count:
        got = "a single string" if isinstance(names, str) else f"{len(names)}"
        raise ValueError(f"{name} must hold {count} names, one {of}; got {got}.")
    return [str(given) for given in names]


def figure_of(ax: Axes) -> Figure:
    """The figure that `ax` is in.

    Raises:
        ValueError: It is in none.
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax must belong to a figure; got axes removed from theirs.")
    return figure


def one_axes(ax: Axes | None, *, size: tuple[float, float]) -> Axes:
    """`ax`, or new axes in a figure of `size` inches.

    Raises:
        TypeError: `ax` is something else.
    """
    if ax is None:
        return Figure(figsize=size, layout="constrained").add_subplot()
    check_type(ax, Axes, name="ax", remedy="Pass one matplotlib Axes, or leave it out.")
    return ax


def axes_grid(axes: Any, *, dim: int) -> NDArray[np.object_]:
    """Axes in shape `(dim, dim)`: those given, or new ones.

    Raises:
        ValueError: `axes` has another shape, or holds something else.
    """
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


def panels(
    axes: Any, count: int, *, columns: int, size: tuple[float, float], **options: Any
) -> list[Axes]:
    """`count` axes in a row-by-row order: those given, or new ones.

    Args:
        axes: What the user gave: any array of axes, one axes, or None.
        count: How many are needed.
        columns: At most so many side by side: a narrow figure can be read on a phone.
        size: Width and height of one panel in inches.
        **options: Of `Figure.subplots`.

    Raises:
        ValueError: `axes` holds another number of axes, or something else.
    """
    if axes is not None:
        flat = list(np.ravel(np.asarray(axes, dtype=object)))
        if len(flat) != count or not all(isinstance(ax, Axes) for ax in flat):
            kinds = ", ".join(sorted({type(ax).__name__ for ax in flat})) or "nothing"
            raise ValueError(
                f"axes must hold {count} matplotlib Axes; got {len(flat)} ({kinds}). "
                f"Make them with figure.subplots(1, {count})."
            )
        return flat
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in grid[count:]:
        ax.remove()
    return grid[:count]
