"""The pilot's figure: variances, costs and correlations of the levels, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsbi._corner import line_style
from mlsbi.planning.level_table import LevelStatistics

__all__ = ["draw_pilot"]

_MANY = 16  # outputs from which on correlations are lines rather than points
_MARKERS = "osD^vP*"


def draw_pilot(statistics: LevelStatistics, *, cost_unit: str, axes: Any = None) -> Figure:
    """Draw the figures of a multilevel table.

    Args:
        statistics: The figures.
        cost_unit: `"given"` or `"seconds"`.
        axes: Three axes to draw into; by default a figure is made.

    Returns:
        The figure.

    Raises:
        ValueError: If `axes` are not three axes of a figure.
    """
    left, middle, right = _three(axes)
    levels = len(statistics.costs)
    (_draw_bars if levels < 3 else _draw_lines)(left, statistics)
    _draw_costs(middle, statistics.costs, cost_unit)
    _draw_correlations(right, statistics)
    figure = left.get_figure(root=True)
    if figure is None:
        raise ValueError("axes must belong to a figure; got axes removed from theirs.")
    return figure


def _three(axes: Any) -> tuple[Axes, Axes, Axes]:
    if axes is None:
        figure = Figure(figsize=(11.0, 3.4), layout="constrained")
        first, second, third = figure.subplots(1, 3)
        return first, second, third
    flat = list(np.asarray(axes, dtype=object).flat)
    if len(flat) != 3 or not all(isinstance(ax, Axes) for ax in flat):
        raise ValueError(
            f"axes must be 3 matplotlib Axes; got {len(flat)} object(s). Make them with "
            "figure.subplots(1, 3)."
        )
    return flat[0], flat[1], flat[2]


def _log2(values: Sequence[float | None]) -> list[float]:
    return [math.log2(value) if value else math.nan for value in values]


def _draw_lines(ax: Axes, statistics: LevelStatistics) -> None:
    """Variances against the level, as Giles draws them."""
    shown = {
        "$x_l$": _log2(statistics.variance),
        "$x_l - x_{l-1}$": [math.nan, *_log2(statistics.difference_variance[1:])],
    }
    for index, (name, values) in enumerate(shown.items()):
        ax.plot(range(len(values)), values, marker=_MARKERS[index], label=name, **line_style(index))
    if statistics.beta is not None:
        ax.set_title(rf"rate of the difference: $\beta$ = {statistics.beta:.2g}", fontsize="medium")
    ax.set(xlabel="level", ylabel=r"$\log_2$ variance (standardised)")
    _ticks(ax, len(statistics.costs))
    ax.legend(frameon=False, fontsize="small")


def _draw_bars(ax: Axes, statistics: LevelStatistics) -> None:
    """The few variances of one or two levels."""
    bars = {f"$x_{level}$": value for level, value in enumerate(statistics.variance)}
    if len(statistics.costs) > 1:
        bars["$x_1 - x_0$"] = statistics.difference_variance[1]
    known = {name: value for name, value in bars.items() if value is not None}
    colours = [line_style(int("-" in name))["color"] for name in known]
    drawn = ax.bar(list(known), list(known.values()), color=colours, width=0.6)
    ax.bar_label(drawn, fmt="%.2g", fontsize="small", padding=2)
    ax.margins(y=0.12)
    ax.set(ylabel="variance (standardised)", xlim=(-0.6, len(known) - 0.4))


def _draw_costs(ax: Axes, costs: Sequence[float], unit: str) -> None:
    drawn = ax.bar(range(len(costs)), list(costs), color=line_style(2)["color"], width=0.6)
    ax.bar_label(drawn, fmt="%.3g", fontsize="small", padding=2)
    if max(costs) > 20 * min(costs):
        ax.set_yscale("log")
        ax.set_ylim(min(costs) / 2, max(costs) * 3)
    else:
        ax.margins(y=0.12)
    ax.set(xlabel="level", ylabel="seconds of one run" if unit == "seconds" else "cost of one run")
    _ticks(ax, len(costs))


def _draw_correlations(ax: Axes, statistics: LevelStatistics) -> None:
    """Of each output, with the same output of the level below."""
    pairs = [(level, c) for level, c in enumerate(statistics.correlation) if c is not None]
    lowest, outputs = 0.0, 1
    for index, (level, correlation) in enumerate(pairs):
        values = correlation.flatten().numpy()
        outputs = max(outputs, len(values))
        place = np.arange(len(values), dtype=np.float64)
        style = line_style(index) | {"linewidth": 1.2}
        if len(values) < _MANY:  # side by side, as those of good couplings lie on one another
            place += 0.5 * ((index + 0.5) / len(pairs) - 0.5)
            style |= {"linestyle": "none", "marker": _MARKERS[index % len(_MARKERS)]}
        ax.plot(place, values, label=f"levels {level - 1}, {level}", **style)
        lowest = min(lowest, float(np.nanmin(values, initial=0.0)))
    ax.set(xlabel="output", ylabel="correlation with the level below", ylim=(lowest - 0.05, 1.05))
    if outputs < _MANY:
        _ticks(ax, outputs)
    if pairs:
        ax.legend(frameon=False, fontsize="small", loc="lower left")
    else:
        text = "no two levels to compare"
        ax.text(0.5, 0.5, text, ha="center", transform=ax.transAxes, color="0.4")


def _ticks(ax: Axes, count: int) -> None:
    """A tick each, with room beside the first and the last."""
    ax.set_xticks(range(count))
    ax.set_xlim(-0.6, count - 0.4)
