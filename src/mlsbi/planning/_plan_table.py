"""A plan as a table: what each level gets, and what to expect."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlsbi._table import Table
from mlsbi.planning._waterfill import error_part

if TYPE_CHECKING:
    from mlsbi.planning._plan import Plan

__all__ = ["amount", "plan_table"]


def plan_table(plan: Plan) -> Table:
    """A row a level; below it the spend, the expected error, and what limits the plan."""
    cost, error = plan.cost, plan.error
    rows = [
        {
            "level": level,
            "n": n,
            "new": plan.new[level],
            "cost of a row": plan.row_costs[level],
            "share of the budget": _share(plan.new[level] * plan.row_costs[level], cost),
            "b": plan.needs.b[level],
            "share of the error": _share(error_part(plan.needs.b[level], n), error),
        }
        for level, n in enumerate(plan.n)
    ]
    return Table("Plan", tuple(rows), (*_spend(plan), *_expected(plan), *plan.notes))


def amount(value: float) -> str:
    """A cost or a time as people write it."""
    whole = not math.isfinite(value) or value == round(value) or abs(value) >= 1e4
    return f"{value:,.0f}" if whole else f"{value:,.4g}"


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _spend(plan: Plan) -> Iterator[str]:
    unit = f" {plan.cost_unit}" if plan.cost_unit else ""
    text = f"Cost of the new rows: {amount(plan.cost)}{unit}"
    if plan.budget is not None and plan.left is not None:
        text += f" of {amount(plan.budget)}, {amount(plan.left)} left over"
    yield f"{text}."
    if plan.seconds is not None:
        cores = f" on {plan.cores} cores, shared evenly" if plan.cores > 1 else ""
        yield f"Wall-clock time: about {amount(plan.seconds)} seconds{cores}."


def _expected(plan: Plan) -> Iterator[str]:
    top = len(plan.n) - 1
    unit = f" {plan.needs.unit}" if plan.needs.unit else ""
    yield f"Expected error: {plan.error:.3g}{unit} ({plan.needs.source})."
    if top == 0 or not math.isfinite(plan.factor):
        return
    equal = plan.total_cost / plan.costs[-1]
    yield (
        f"As good as about {plan.factor:.3g} times as many runs of level {top} alone "
        f"({plan.single_n:,.0f}); level {top} alone at the same cost would have {equal:,.0f}."
    )
    if plan.cost_factor < 1:
        yield f"Warning: level {top} alone is expected to be better at this cost."
