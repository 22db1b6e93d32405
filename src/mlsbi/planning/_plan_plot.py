"""A plan's figure: the optimal rows as the budget grows, and what to expect of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mlsbi._corner import Array, line_style
from mlsbi.planning.allocation import expected_error, optimal

if TYPE_CHECKING:
    from mlsbi.planning._plan import Plan

__all__ = ["draw_plan"]

_POINTS = 61  # budgets, from a tenth of the plan's to ten times it


@dataclass(frozen=True)
class _Path:
    """The best real numbers of rows along a range of budgets; entry i belongs to budget i."""

    budget: tuple[float, ...]
    n: tuple[tuple[float, ...], ...]
    error: tuple[float, ...]
    total: tuple[float, ...]  # cost of all rows, the existing ones included


def draw_plan(plan: Plan, axes: Any = None) -> Figure:
    """Draw both panels; see `Plan.plot`."""
    left, right = _two_axes(axes)
    path = _path(plan)
    _draw_rows(left, plan, path)
    _draw_expected(right, plan, path)
    figure = left.get_figure(root=True)
    if figure is None:
        raise ValueError("axes must belong to a figure; got axes removed from theirs.")
    return figure


def _path(plan: Plan) -> _Path:
    centre = plan.budget or plan.cost or plan.total_cost
    budgets, rows = [], []
    for budget in np.geomspace(centre / 10, centre * 10, _POINTS).tolist():
        n = _best(plan, budget)
        if n is not None:
            budgets.append(budget)
            rows.append(n)
    costs = plan.row_costs
    return _Path(
        tuple(budgets),
        tuple(rows),
        tuple(expected_error(plan.needs.b, n) for n in rows),
        tuple(sum(a * k for a, k in zip(n, costs, strict=True)) for n in rows),
    )


def _best(plan: Plan, budget: float) -> tuple[float, ...] | None:
    """The optimum under the plan's other limits; None if its least rows are not affordable."""
    try:
        return optimal(
            plan.needs.b, plan.row_costs, budget, existing=plan.existing, minimum=plan.minimum,
            seconds=plan.run_seconds, deadline=plan.deadline, cores=plan.cores,
        )  # fmt: skip
    except ValueError:  # the plan's own arguments are sound: the budget is too small
        return None


def _draw_rows(ax: Axes, plan: Plan, path: _Path) -> None:
    spent = plan.budget or plan.cost
    for level, count in enumerate(plan.n):
        style = line_style(level)
        ax.plot(path.budget, [n[level] for n in path.n], label=f"level {level}", **style)
        if spent > 0:  # else there is no place for it on a logarithmic axis
            ax.plot([spent], [count], "o", color=style["color"])
    if spent > 0:
        ax.axvline(spent, color="0.6", linewidth=0.8, zorder=0)
    unit = f" ({plan.cost_unit})" if plan.cost_unit else ""
    ax.set(xscale="log", yscale="log", xlabel=f"budget{unit}", ylabel="rows of a level")
    _legend(ax)


def _draw_expected(ax: Axes, plan: Plan, path: _Path) -> None:
    """Errors on the left axis, on the right one how many runs of level L alone are as good."""
    top = len(plan.n) - 1
    rows = np.asarray([n[-1] for n in path.n])
    costs = np.asarray(path.total)
    x, mark, label = rows, float(plan.n[-1]), f"rows of level {top}"
    if rows.max() < 1.01 * rows.min():  # held by the minimum: all would lie on one vertical line
        x, mark, label = costs, plan.total_cost, "cost of all rows"
    error = _above_zero(path.error)
    alone = _above_zero(plan.needs.single * plan.costs[-1] / costs)
    ax.plot(x, error, label="error of the plan", **line_style(0))
    ax.plot(x, alone, label=f"error of level {top} alone, same cost", **line_style(1))
    ax.plot([mark], [plan.error], "o", color=line_style(0)["color"])
    ax.axvline(mark, color="0.6", linewidth=0.8, zorder=0)
    unit = f" ({plan.needs.unit})" if plan.needs.unit else ""
    drawable = np.isfinite([*error, *alone]).any()  # else nothing is above zero
    scale = "log" if drawable else "linear"
    ax.set(xscale="log", yscale=scale, xlabel=label, ylabel=f"error{unit}")
    _plain_ticks(ax, x)
    _draw_factor(ax, plan, (x, plan.needs.single / error / rows), mark)
    _legend(ax)


def _draw_factor(ax: Axes, plan: Plan, curve: tuple[Array, Array], mark: float) -> None:
    top, style = len(plan.n) - 1, line_style(2)
    twin = ax.twinx()
    twin.plot(*curve, **style)
    twin.plot([mark], [plan.factor], "o", color=style["color"])
    known = [f for f in (*curve[1], plan.factor) if np.isfinite(f)]
    twin.set_ylim(0, 1.2 * max(known, default=1.0) or 1.0)
    twin.set_ylabel(f"equivalent runs of level {top} alone / rows", color=style["color"])
    ax.plot([], [], label="factor (right axis)", **style)  # one legend for both axes


def _legend(ax: Axes) -> None:
    """Above the panel, where no curve runs through it."""
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))


def _plain_ticks(ax: Axes, values: Array) -> None:
    """Numbers rather than powers of ten, for less than two decades."""
    if values.size and values.max() < 100 * values.min():
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())


def _above_zero(values: Any) -> Array:
    """`values` with gaps where a logarithmic axis has no place for them."""
    array = np.asarray(values, dtype=float)
    return np.where(array > 0, array, np.nan)


def _two_axes(axes: Any) -> Sequence[Axes]:
    if axes is None:
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        return list(figure.subplots(1, 2))
    pair = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(pair) != 2 or not all(isinstance(ax, Axes) for ax in pair):
        raise ValueError(
            f"axes must be two matplotlib Axes; got {len(pair)} of "
            f"{type(pair[0]).__name__ if pair else 'none'}. Make them with figure.subplots(1, 2)."
        )
    return pair
