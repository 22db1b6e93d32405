"""Make a plan: the best numbers of rows for a budget, an error to reach, or a deadline.

What `mlsbi.planning.allocation` computes (Hikida et al. 2025, arXiv:2506.06087, theorem 2; Giles
2008), with least numbers of rows that a fit can hold some out of, and notes on what limits it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mlsbi._checks import check_count, check_positive, check_type
from mlsbi.planning._level_input import level_counts, level_numbers, level_seconds
from mlsbi.planning._plan import Plan
from mlsbi.planning.allocation import affordable_minimum, cheapest_integers, integers
from mlsbi.planning.needs import Needs

__all__ = ["Plan", "make_plan"]

_MINIMUM = 8  # rows of a level: some are held out, and a handful says little of the rest


def make_plan(
    needs: Needs,
    costs: Sequence[float],
    *,
    budget: float | None = None,
    error: float | None = None,
    minimum: int | Sequence[int] | None = None,
    existing: Sequence[int] | None = None,
    seconds: Sequence[float | None] | None = None,
    deadline: float | None = None,
    cores: int = 1,
    cost_unit: str = "",
) -> Plan:
    """The rows with the least expected error for a budget, or of the least cost for an error.

    Args:
        needs: What each level adds to the error.
        costs: C_l of a run of each level.
        budget: What the new rows may cost. Give it or `error`; with a deadline, neither is needed.
        error: To reach, in `needs.unit`.
        minimum: Least rows, in total: one number a level, or one for all. By default 8 of each
            level, for some are held out; fewer (the plan's notes say so) where those would take
            more than half of what there is.
        existing: Rows that each level has already: they count, and cost nothing.
        seconds: Wall-clock time of a run of each level, None where not known.
        deadline: Seconds until all new rows shall be there, shared evenly among the cores.
        cores: Workers.
        cost_unit: Of costs and budget, in words.

    Returns:
        The plan. It never exceeds the budget or deadline, and no row that would help still fits.

    Raises:
        TypeError: If an argument has a wrong type.
        ValueError: If one is out of range, both or none of `budget` and `error` are given, the
            budget or the deadline is too small for the least numbers of rows, or the error can't be
            reached before the deadline.
    """
    check_type(needs, Needs, name="needs", remedy="Take those of a pilot or a fit.")
    check_type(cost_unit, str, name="cost_unit")
    check_positive(needs.single, name="needs.single", strict=False)
    _check_goal(budget, error, deadline)
    levels = len(needs.b)
    empty = Plan(
        (0,) * levels,
        level_numbers(costs, name="costs", length=levels),
        needs,
        level_counts(0 if existing is None else existing, name="existing", length=levels),
        level_counts(_MINIMUM if minimum is None else minimum, name="minimum", length=levels),
        None if budget is None else float(budget),
        level_seconds(seconds, length=levels),
        None if deadline is None else float(deadline),
        check_count(cores, name="cores"),
        cost_unit,
    )
    plan = _within(empty, default=minimum is None) if error is None else _reaching(empty, error)
    return replace(plan, notes=(*plan.notes, *_binding(plan, spending=error is None)))


def _check_goal(budget: Any, error: Any, deadline: Any) -> None:
    if budget is not None:
        check_positive(budget, name="budget", strict=False)
    if error is not None:
        check_positive(error, name="error")
    if deadline is not None:
        check_positive(deadline, name="deadline")
    if budget is not None and error is not None:
        raise ValueError(
            f"budget or error must be given, not both; got budget={budget}, error={error}. "
            "Leave one out: the plan says what to expect of the other."
        )
    if budget is None and error is None and deadline is None:
        raise ValueError(
            "budget or error must be given; got neither. Pass budget=, in the unit of the costs, "
            "error= to reach, or deadline= in seconds."
        )


def _within(plan: Plan, *, default: bool) -> Plan:
    """The plan of the least error within its budget and deadline."""
    notes: tuple[str, ...] = ()
    if default:
        # Half of what there is at most, or a dear level's least rows leave none for the others.
        halves = [(use, limit / 2) for use, limit in plan.limits]
        lowest = affordable_minimum(plan.minimum, plan.existing, halves)
        if lowest != plan.minimum:
            notes = (
                f"Warning: {_MINIMUM} rows a level would take more than half of what there "
                f"is; the least number is {lowest[0]}. So few can't be held out: expect a fit that "
                "can't judge itself.",
            )
        plan = replace(plan, minimum=lowest)
    n = _integers(plan, deadline=plan.deadline)
    if plan.budget is not None and plan.deadline is not None:
        rich = _integers(plan, deadline=None)
        if rich != n:
            notes += (f"The deadline binds: the budget alone would run {rich}.",)
    elif plan.deadline is not None:
        notes += ("Time alone limits the plan.",)
    return replace(plan, n=n, notes=notes)


def _integers(plan: Plan, *, deadline: float | None) -> tuple[int, ...]:
    return integers(
        plan.needs.b, plan.row_costs, plan.budget, existing=plan.existing, minimum=plan.minimum,
        seconds=plan.run_seconds, deadline=deadline, cores=plan.cores,
    )  # fmt: skip


def _reaching(plan: Plan, error: float) -> Plan:
    """The plan of the least cost that reaches an error, if the deadline allows it."""
    plan = replace(
        plan,
        n=cheapest_integers(
            plan.needs.b, plan.row_costs, error=error, existing=plan.existing, minimum=plan.minimum
        ),
    )
    if plan.deadline is None:
        return plan
    if plan.seconds is None:
        raise ValueError(
            "seconds must say how long a run of each level takes, for a deadline; got "
            f"{plan.run_seconds}. Pass one number a level."
        )
    if plan.seconds > plan.deadline:
        raise ValueError(
            f"deadline must leave time for the rows that reach error = {error}, {plan.n}: "
            f"{plan.seconds:.6g} seconds on cores = {plan.cores}; got {plan.deadline:.6g}. Raise "
            "it, use more cores, or pass no error: the plan then says which can be reached."
        )
    return plan


def _binding(plan: Plan, *, spending: bool) -> Iterator[str]:
    """Which levels a need of zero, the minimum or the existing rows hold."""
    rows = list(enumerate(zip(plan.n, plan.minimum, plan.existing, plan.needs.b, strict=True)))
    idle = [level for level, (_, _, _, b) in rows if b == 0]
    held = [level for level, (n, low, had, b) in rows if b > 0 and n == low > max(had, 1)]
    rich = [level for level, (n, _, had, b) in rows if b > 0 and n == had]
    if idle:
        yield f"{_levels(idle)}: nothing is gained there, so no more than the least number of rows."
    if held:
        without = _without_minimum(plan) if spending else ""
        yield f"{_levels(held)}: held up by the minimum{without}."
    if rich:
        yield f"{_levels(rich)}: no new rows, for what exists is enough beside the other levels."


def _levels(levels: Sequence[int]) -> str:
    return f"Level {', '.join(map(str, levels))}"


def _without_minimum(plan: Plan) -> str:
    """What the minimum costs, in words."""
    free = replace(plan, minimum=(1,) * len(plan))
    free = replace(free, n=_integers(free, deadline=plan.deadline))
    return f"; without it {free.n}, with the error {free.error:.3g}"
