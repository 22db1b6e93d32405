"""How many rows of each level: the least error for a budget, the least cost for an error.

    minimise sum_l b_l / n_l  subject to  sum_l (n_l - m_l) k_l <= budget,  n_l >= low_l

b_l is what level l adds to the error (its need), k_l = C_l + C_(l-1) the cost of one of its rows,
m_l the rows that exist already, low_l the larger of m_l and a minimum. Where nothing binds,
n_l = budget sqrt(b_l / k_l) / sum_j sqrt(b_j k_j) (Hikida et al. 2025, theorem 2; Giles 2008); else
n_l = max(low_l, w sqrt(b_l / k_l)) as water of level w fills vessels. A deadline is a second
constraint, with seconds for costs: if both bind, k_l is a mixture of the two. A level without need
gets low_l and no more; if no level has any, nothing is spent beyond that.

References:
    Hikida, Bharti, Jeffrey, Briol (2025), Multilevel neural simulation-based inference,
    arXiv:2506.06087. Giles (2008), Multilevel Monte Carlo path simulation, Operations Research 56.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlsbi._checks import check_count, check_positive
from mlsbi._facts import row_sums
from mlsbi.planning._level_input import level_counts, level_numbers, level_seconds
from mlsbi.planning._rounding import exchanged, rounded_costs, rounded_errors
from mlsbi.planning._waterfill import (
    Limit,
    Problem,
    error_part,
    least_cost,
    least_error,
)

__all__ = [
    "affordable_minimum",
    "cheapest",
    "cheapest_integers",
    "expected_error",
    "integers",
    "optimal",
    "row_sums",
]


def expected_error(needs: Sequence[float], n: Sequence[float]) -> float:
    """sum_l b_l / n_l; a level with a need and no rows makes it infinite."""
    return math.fsum(error_part(b, count) for b, count in zip(needs, n, strict=True))


def affordable_minimum(
    minimum: Sequence[int], existing: Sequence[int], limits: Sequence[tuple[Sequence[float], float]]
) -> tuple[int, ...]:
    """`minimum`, all levels cut to the same height until the limits allow it; at least one row.

    Args:
        minimum: Least rows wished for, of each level.
        existing: Rows that each level has already.
        limits: Of each limit, what a new row of each level uses, and how much there is.
    """
    for height in range(max(minimum), 1, -1):
        cut = tuple(min(count, height) for count in minimum)
        new = [max(count - had, 0) for count, had in zip(cut, existing, strict=True)]
        if all(math.fsum(map(math.prod, zip(new, w, strict=True))) <= c for w, c in limits):
            return cut
    return tuple(min(count, 1) for count in minimum)


def optimal(
    needs: Sequence[float],
    row_costs: Sequence[float],
    budget: float | None,
    *,
    existing: Sequence[int] | None = None,
    minimum: int | Sequence[int] = 0,
    seconds: Sequence[float | None] | None = None,
    deadline: float | None = None,
    cores: int = 1,
) -> tuple[float, ...]:
    """The real numbers n_l with the least error that a budget pays, exactly.

    Args:
        needs: b_l of each level, at least 0.
        row_costs: k_l of each level.
        budget: What new rows may cost; None: a deadline alone limits them.
        existing: Rows that each level has already, free of charge.
        minimum: Least number of rows, in total: one for all levels, or one a level.
        seconds: Of one run of each level; a deadline needs them.
        deadline: Seconds until all new rows are there, the work being shared evenly.
        cores: Workers.

    Returns:
        Rows of each level, the existing ones included.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If one is out of range, the least numbers of rows are not affordable, or one run
            takes longer than the deadline.
    """
    problem = _problem(needs, row_costs, existing, minimum)
    problem = _limited(problem, budget, seconds=seconds, deadline=deadline, cores=cores)
    return tuple(least_error(problem, problem.low, problem.needed)[0])


def integers(
    needs: Sequence[float],
    row_costs: Sequence[float],
    budget: float | None,
    *,
    existing: Sequence[int] | None = None,
    minimum: int | Sequence[int] = 1,
    seconds: Sequence[float | None] | None = None,
    deadline: float | None = None,
    cores: int = 1,
) -> tuple[int, ...]:
    """Whole numbers of rows: never above the budget or deadline, no row left out that still fits.

    Arguments and errors are those of `optimal`; every level gets at least one row. The dearest
    levels are rounded down and up in turn, the others made optimal for what is left, and rows added
    where the error falls most for their price until none fits. Of the best of these, rows are
    exchanged one by one as long as that helps.
    """
    problem = _problem(needs, row_costs, existing, minimum, least=1)
    problem = _limited(problem, budget, seconds=seconds, deadline=deadline, cores=cores)
    best = min(rounded_errors(problem), key=lambda n: (problem.error(n), _cost(problem, n)))
    return exchanged(problem, best)


def cheapest(
    needs: Sequence[float],
    row_costs: Sequence[float],
    *,
    error: float,
    existing: Sequence[int] | None = None,
    minimum: int | Sequence[int] = 0,
) -> tuple[float, ...]:
    """The real numbers n_l of least cost with sum_l b_l / n_l <= error.

    Where nothing binds, n_l = sqrt(b_l / k_l) sum_j sqrt(b_j k_j) / error.

    Args:
        needs: b_l of each level, at least 0.
        row_costs: k_l of each level.
        error: What to reach.
        existing: Rows that each level has already, free of charge.
        minimum: Least number of rows, in total: one for all levels, or one a level.

    Returns:
        Rows of each level, the existing ones included.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If one is out of range.
    """
    target = check_positive(error, name="error")
    problem = _problem(needs, row_costs, existing, minimum)
    weights = problem.limits[0].weights
    n = least_cost(problem, weights, problem.low, problem.needed, target)
    return tuple(n or ())  # all levels are free: an error above zero can be reached


def cheapest_integers(
    needs: Sequence[float],
    row_costs: Sequence[float],
    *,
    error: float,
    existing: Sequence[int] | None = None,
    minimum: int | Sequence[int] = 1,
) -> tuple[int, ...]:
    """Whole numbers of rows that reach an error, none of which can be taken away.

    Arguments and errors are those of `cheapest`; every level gets at least one row.
    """
    target = check_positive(error, name="error")
    problem = _problem(needs, row_costs, existing, minimum, least=1)
    candidates = rounded_costs(problem, target)
    return min(candidates, key=lambda n: (_cost(problem, n), problem.error(n)))


def _cost(problem: Problem, n: Sequence[float]) -> float:
    return problem.used(n, problem.limits[0])


# --- input ---------------------------------------------------------------------------------------


def _problem(needs: Any, row_costs: Any, existing: Any, minimum: Any, *, least: int = 0) -> Problem:
    """The arguments, checked; costs without a bound."""
    b = level_numbers(needs, name="needs", strict=False)
    costs = level_numbers(row_costs, name="row_costs", length=len(b))
    had = (
        (0,) * len(b)
        if existing is None
        else level_counts(existing, name="existing", length=len(b))
    )
    lowest = level_counts(minimum, name="minimum", length=len(b))
    low = tuple(max(*pair, least) for pair in zip(had, lowest, strict=True))
    return Problem(b, had, low, (Limit(costs, math.inf),))


def _limited(problem: Problem, budget: Any, *, seconds: Any, deadline: Any, cores: Any) -> Problem:
    """The problem with its limits, which the least numbers of rows must keep."""
    limits = []
    if budget is not None:
        total = check_positive(budget, name="budget", strict=False)
        limits.append(Limit(problem.limits[0].weights, total))
        _check_affordable(problem, limits[-1])
    if deadline is not None:
        limits.append(_time_limit(problem, seconds=seconds, deadline=deadline, cores=cores))
    if not limits:
        raise ValueError(
            "budget or deadline must be given; got neither. Pass budget=, in the unit of the costs."
        )
    return replace(problem, limits=tuple(limits))


def _check_affordable(problem: Problem, limit: Limit) -> None:
    least = problem.used(problem.low, limit)
    if least > limit.capacity:
        raise ValueError(
            f"budget must pay the least numbers of rows, {problem.low}, which cost {_up(least)} "
            f"beyond the existing {problem.existing}; got {limit.capacity:.6g}. Raise it to "
            f"{_up(least)} or more{_or_lower(problem)}."
        )


def _time_limit(problem: Problem, *, seconds: Any, deadline: Any, cores: Any) -> Limit:
    end = check_positive(deadline, name="deadline")
    workers = check_count(cores, name="cores")
    known = level_seconds(seconds, length=len(problem.needs))
    times = tuple(s for s in known if s is not None)
    if len(times) < len(known):
        raise ValueError(
            f"seconds must say how long a run of each level takes, for a deadline; got {seconds}. "
            "Pass one number a level."
        )
    rows = row_sums(times)
    longest = max(range(len(rows)), key=lambda level: rows[level])
    if rows[longest] > end:
        raise ValueError(
            f"deadline must leave time for one row of every level; one of level {longest} (its run "
            f"and the coarse one) takes {_up(rows[longest])} seconds, got {end:.6g}. Raise it, or "
            "leave the level out: more cores don't shorten one run."
        )
    limit = Limit(rows, end * workers)
    least = problem.used(problem.low, limit)
    if least > limit.capacity:
        raise ValueError(
            f"deadline must leave time for the least numbers of rows, {problem.low}, which take "
            f"{_up(least / workers)} seconds on cores = {workers}; got {end:.6g}. Raise it to "
            f"{_up(least / workers)} or more, or take {math.ceil(least / end)} cores"
            f"{_or_lower(problem)}."
        )
    return limit


def _up(value: float) -> str:
    """A few digits, but never less than `value`: who takes it as the remedy must not be refused."""
    texts = (f"{value:.{digits}g}" for digits in range(6, 18))
    return next((text for text in texts if float(text) >= value), repr(value))


def _or_lower(problem: Problem) -> str:
    return ", or lower minimum" if max(problem.low) > 1 else ""
