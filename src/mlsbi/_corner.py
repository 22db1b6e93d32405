"""The panels of a corner plot: smoothed histograms and regions of highest density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

__all__ = ["Array", "draw_corner", "line_style"]

Array = NDArray[np.float64]

# Okabe and Ito's palette (distinct for colour-blind readers), with a line style each so that the
# curves stay apart in black and white too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")

_BINS = 48
_MASSES = (0.9, 0.5)  # highest-density regions drawn in the off-diagonal panels, outer first


def line_style(index: int) -> dict[str, Any]:
    """Colour, line style and width of the `index`-th curve of a figure."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _LINES[index % len(_LINES)],
        "linewidth": 1.8,
    }


def draw_corner(
    grid: NDArray[np.object_],
    *,
    sets: Mapping[str, Array],
    names: Sequence[str],
    ends: Array,
    point: Array | None,
) -> None:
    """Fill a grid of axes.

    Args:
        grid: Axes, shape `(d, d)`.
        sets: Name of each sample set -> samples, shape `(n, d)`.
        names: Names of the `d` parameters.
        ends: Lower and upper end of each parameter's axis, shape `(d, 2)`.
        point: The point to mark, shape `(d,)`, or none.
    """
    for (row, column), ax in np.ndenumerate(grid):
        if column > row:
            ax.set_axis_off()
            continue
        if row == column:
            _draw_marginals(ax, sets=sets, column=column, ends=ends[column])
        else:
            _draw_regions(ax, sets=sets, row=row, column=column, ends=ends)
        if point is not None:
            _draw_truth(ax, point=point, row=row, column=column)
        _name_axes(ax, names=names, row=row, column=column)
    _draw_legend(grid, many=len(sets) > 3)


def _draw_marginals(ax: Axes, *, sets: Mapping[str, Array], column: int, ends: Array) -> None:
    edges = np.linspace(ends[0], ends[1], _BINS + 1)
    centres = 0.5 * (edges[:-1] + edges[1:])
    for index, (name, array) in enumerate(sets.items()):
        counts, _ = np.histogram(array[:, column], bins=edges)
        density = counts / (len(array) * np.diff(edges))
        density = _smooth(density, array=array[:, [column]], ends=ends[None])
        style = line_style(index)
        ax.fill_between(centres, density, color=style["color"], alpha=0.15, linewidth=0)
        ax.plot(centres, density, label=name, **style)
    ax.set_xlim(ends[0], ends[1])
    ax.set_ylim(bottom=0)
    ax.set_yticks([])


def _smooth(density: Array, *, array: Array, ends: Array) -> Array:
    """Smooth the histogram of `array`, mirrored at the ends so that no mass leaks out there.

    The width is Scott's rule on each axis, shrunk a little: posteriors need not be bell-shaped.
    """
    d = density.ndim
    low, high = np.quantile(array, (0.16, 0.84), axis=0)  # as wide as two standard deviations
    widths = 0.8 * 0.5 * (high - low) * len(array) ** (-1 / (d + 4))
    for axis, width in enumerate(widths / ((ends[:, 1] - ends[:, 0]) / _BINS)):
        width = min(max(width, 0.7), _BINS / 6)
        reach = int(np.ceil(3 * width))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        pads = [(reach, reach) if a == axis else (0, 0) for a in range(d)]
        padded = np.pad(density, pads, mode="symmetric")
        density = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
    return density


def _draw_regions(
    ax: Axes, *, sets: Mapping[str, Array], row: int, column: int, ends: Array
) -> None:
    edges = [np.linspace(ends[i, 0], ends[i, 1], _BINS + 1) for i in (column, row)]
    x, y = (0.5 * (e[:-1] + e[1:]) for e in edges)
    for index, array in enumerate(sets.values()):
        counts, _, _ = np.histogram2d(array[:, column], array[:, row], bins=edges)
        density = _smooth(counts, array=array[:, [column, row]], ends=ends[[column, row]])
        heights = _heights(density)
        if not heights:  # no sample inside the limits
            continue
        style = line_style(index)
        colour = style["color"]
        ax.contourf(x, y, density.T, levels=[*heights, np.inf], colors=[colour], alpha=0.12)
        ax.contour(
            x, y, density.T, levels=heights, colors=colour, linestyles=style["linestyle"],
            linewidths=1.3,
        )  # fmt: skip
    ax.set_xlim(*ends[column])
    ax.set_ylim(*ends[row])


def _heights(density: Array) -> list[float]:
    """The density levels that enclose `_MASSES`, rising, without repeats."""
    ordered = np.sort(density, axis=None)[::-1]
    mass = np.cumsum(ordered)
    if mass[-1] <= 0:
        return []
    found = [float(ordered[np.searchsorted(mass, m * mass[-1])]) for m in _MASSES]
    return sorted({height for height in found if height > 0})


def _draw_truth(ax: Axes, *, point: Array, row: int, column: int) -> None:
    ax.axvline(point[column], color="0.15", linewidth=1, linestyle=(0, (1, 1)), label="truth")
    if row != column:
        ax.axhline(point[row], color="0.15", linewidth=1, linestyle=(0, (1, 1)))


def _name_axes(ax: Axes, *, names: Sequence[str], row: int, column: int) -> None:
    last = len(names) - 1
    ax.locator_params(axis="x", nbins=4, prune="both")
    if row == last:
        ax.set_xlabel(names[column])
    else:
        ax.tick_params(labelbottom=False)
    if row != column:
        ax.locator_params(axis="y", nbins=4, prune="both")
    if column == 0 and row > 0:
        ax.set_ylabel(names[row])
    elif column > 0:
        ax.tick_params(labelleft=False)


def _draw_legend(grid: NDArray[np.object_], *, many: bool) -> None:
    handles, names = grid[0, 0].get_legend_handles_labels()
    dim = len(grid)
    if dim == 1:
        grid[0, 0].legend(handles, names, frameon=False, fontsize="small")
        return
    # The panel above the diagonal is empty: the legend costs no room there.
    columns = 2 if many and dim > 3 else 1
    grid[0, 1].legend(
        handles, names, frameon=False, fontsize="small", loc="upper left", ncols=columns
    )
