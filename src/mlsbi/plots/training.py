"""Losses of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._checks import check_type
from mlsbi._corner import Array, line_style
from mlsbi.history import History
from mlsbi.plots._axes import figure_of, one_axes

__all__ = ["history_plot"]


def history_plot(history: Any, *, ax: Axes | None = None) -> Figure:
    """Training and held-out loss against training steps; a thin line where a stage begins.

    The axis shows what each stage learned, up to its best held-out loss: what runs away after that
    (the best weights are kept) is cut off.

    Args:
        history: A fit, or `fit.history`. Of a fit of several candidates, these are named.
        ax: Axes to draw into.

    Returns:
        The figure. Losses that are not finite leave a gap.

    Raises:
        TypeError: If `history` is neither.
        ValueError: If it holds no losses.
    """
    rows = getattr(history, "history", history)
    check_type(rows, History, name="history", remedy="Pass a fit, or fit.history.")
    names = [column for column in rows.columns if column.endswith("_loss")]
    stages = _stages([row for row in rows if any(name in row for name in names)])
    if not stages:
        raise ValueError(
            "history must hold at least one row with a loss; got none. Pass a trained fit's."
        )
    ax = one_axes(ax, size=(5.6, 3.4))
    for index, name in enumerate(names):
        label: str | None = name.removesuffix("_loss").replace("_", " ")
        for stage in stages:
            marker = "o" if len(stage.rows) == 1 else None  # a single point is no line
            ax.plot(
                stage.steps, stage.losses(name), label=label, marker=marker, **line_style(index)
            )
            label = None
    for stage in stages[1:]:
        ax.axvline(stage.steps[0], color="0.6", linewidth=0.8)
    ax.set_ylim(*_limits(stages, names))
    _name_candidates(ax, stages, getattr(history, "strategy", None))
    ax.set(xlabel="training step", ylabel="loss (nats)")
    ax.legend(framealpha=0.8, edgecolor="none", fontsize="small")
    return figure_of(ax)


@dataclass
class _Stage:
    """Rows of one training."""

    candidate: float | None
    steps: list[float] = field(default_factory=list)
    rows: list[Mapping[str, float]] = field(default_factory=list)

    def losses(self, name: str) -> Array:
        """One loss, NaN where it is not finite or missing."""
        values = np.asarray([row.get(name, np.nan) for row in self.rows], dtype=float)
        return np.where(np.isfinite(values), values, np.nan)


def _stages(rows: Sequence[Mapping[str, float]]) -> list[_Stage]:
    """The trainings one after another; steps that count from zero again are laid end to end."""
    found: list[_Stage] = []
    key, offset, last = None, 0.0, 0.0
    for number, row in enumerate(rows):
        step = row.get("step", float(number))
        begun = (row.get("candidate"), row.get("stage", 0.0))
        if not found or begun != key:
            key = begun
            if step + offset < last:
                offset = last
            found.append(_Stage(row.get("candidate")))
        last = step + offset
        found[-1].steps.append(last)
        found[-1].rows.append(row)
    return found


def _limits(stages: Sequence[_Stage], names: Sequence[str]) -> tuple[float, float]:
    """Ends of the axis: all losses, unless some run away after the best held-out one."""
    every = np.concatenate([stage.losses(name) for stage in stages for name in names])
    every = every[np.isfinite(every)]
    if every.size == 0:
        return 0.0, 1.0
    kept = [_until_best(stage, names) for stage in stages]
    learned = np.concatenate([*kept, [every[0]]] if all(k.size == 0 for k in kept) else kept)
    low, high = float(learned.min()), float(learned.max())
    if every.max() - every.min() <= 3 * (high - low):
        low, high = float(every.min()), float(every.max())
    pad = 0.08 * (high - low) or 0.5
    return low - pad, high + pad


def _until_best(stage: _Stage, names: Sequence[str]) -> Array:
    """Finite losses up to the best held-out one; all where nothing is held out."""
    end = len(stage.rows)
    if "held_out_loss" in names:
        held_out = stage.losses("held_out_loss")
        if np.isfinite(held_out).any():
            end = int(np.nanargmin(held_out)) + 1
    values = np.concatenate([stage.losses(name)[:end] for name in names])
    return values[np.isfinite(values)]


def _name_candidates(ax: Axes, stages: Sequence[_Stage], strategy: Any) -> None:
    """A name where each candidate of a stack begins."""
    numbers = [stage.candidate for stage in stages]
    if len(set(numbers)) < 2:
        return
    candidates = getattr(strategy, "candidates", ())
    for index, (number, stage) in enumerate(zip(numbers, stages, strict=True)):
        if number is None or number in numbers[:index]:
            continue
        known = int(number) < len(candidates)
        name = type(candidates[int(number)]).__name__ if known else f"candidate {int(number)}"
        ax.annotate(
            name, (stage.steps[0], 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", rotation=25, rotation_mode="anchor", ha="left",
            va="bottom", color="0.3", fontsize="small",
        )  # fmt: skip
