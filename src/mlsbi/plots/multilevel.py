"""What each level adds to the loss: `fit.multilevel` as a figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mlsbi._checks import check_type
from mlsbi._corner import line_style
from mlsbi.multilevel_table import MultilevelLosses
from mlsbi.plots._axes import figure_of, panels

__all__ = ["multilevel_plot"]


def multilevel_plot(fit: Any, *, axes: Any = None) -> Figure:
    """Loss of the fit at the runs of every level, and how much pairs reduce its variance.

    Left, the mean loss at each level's own runs, at the coarse halves of the pairs of the level
    above, and the loss of level L from all levels' rows together (telescoped), all with 95 %
    intervals. Where the first two of a level differ, the pairs are not like the level's own runs.
    Right, the variance over rows of the loss itself and of its difference over pairs, on a
    logarithmic axis: the further the second lies below the first, the more a pair is worth.

    Args:
        fit: A fit, or its `multilevel`.
        axes: Two axes to draw into.

    Returns:
        The figure.

    Raises:
        TypeError: If `fit` is something else.
        ValueError: If the fit has no such losses, or `axes` are not two.
    """
    losses = getattr(fit, "multilevel", fit)
    if losses is None:
        raise ValueError(
            "fit must have multilevel losses; got one saved by a version of mlsbi that did not "
            "make them. Fit again with fit_posterior or fit_likelihood."
        )
    check_type(losses, MultilevelLosses, name="fit", remedy="Pass a fit or fit.multilevel.")
    left, right = panels(axes, 2, columns=2, size=(2.6, 3.0))
    _draw_means(left, losses)
    _draw_variances(right, losses)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(-0.4, len(losses.n) - 0.6)
        ax.set_xlabel("level")
        ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1))
    return figure_of(left)


def _draw_means(ax: Axes, losses: MultilevelLosses) -> None:
    rows = np.asarray(losses.rows, dtype=float)
    levels = np.arange(len(rows))
    own = 1.96 * np.sqrt(np.asarray(losses.loss_variance) / rows)
    halves = 1.96 * np.sqrt(np.asarray(losses.coarse_variance) / rows)
    top = len(rows) - 1
    total, error = losses.telescoped
    look: dict[str, Any] = {"capsize": 3, "linestyle": "none", "markersize": 5}
    ax.errorbar(
        levels, losses.loss_mean, own, marker="o", label="own runs",
        color=line_style(0)["color"], **look,
    )  # fmt: skip
    if top:
        ax.errorbar(
            levels[1:] - 1 + 0.14, losses.coarse_mean[1:], halves[1:], marker="s",
            label="coarse halves of pairs", color=line_style(1)["color"], **look,
        )  # fmt: skip
        ax.errorbar(
            [top + 0.14], [total], [1.96 * error], marker="D", label="all levels, telescoped",
            color=line_style(2)["color"], **look,
        )  # fmt: skip
    ax.set_ylabel("mean loss (nats)")


def _draw_variances(ax: Axes, losses: MultilevelLosses) -> None:
    levels = np.arange(len(losses.n))
    own = np.asarray(losses.loss_variance)
    difference = np.where(np.asarray(losses.identical), np.nan, losses.difference_variance)
    ax.plot(levels, _drawable(own), marker="o", label="of the loss", **line_style(0))
    if len(levels) > 1:
        ax.plot(
            levels[1:], _drawable(difference[1:]), marker="s", label="of pairs' difference",
            **line_style(1),
        )  # fmt: skip
    if np.isfinite(_drawable(own)).any():
        ax.set_yscale("log")
        _plain_ticks(ax)
    ax.set_ylabel("variance (nats$^2$)")


def _plain_ticks(ax: Axes) -> None:
    """Numbers rather than powers of ten, for less than two decades."""
    low, high = ax.get_ylim()
    if high < 100 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(low / 1.3, high * 1.3)


def _drawable(values: Any) -> Any:
    """`values` with gaps where a logarithmic axis has no place for them."""
    array = np.asarray(values, dtype=float)
    return np.where(array > 0, array, np.nan)
