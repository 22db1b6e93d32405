"""Losses of a training."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._checks import check_type
from mlsbi._corner import Array, line_style
from mlsbi.history import History
from mlsbi.plots._axes import figure_of, one_axes

__all__ = ["history_plot"]


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
    ax = one_axes(ax, size=(5.6, 3.4))
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
    return figure_of(ax)


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
