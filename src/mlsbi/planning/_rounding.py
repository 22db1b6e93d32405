"""Whole numbers of rows near the optimal real ones.

The dearest levels, whose rows are few, are rounded down and up in turn (a tree of at most 2^6
leaves); after each choice the other levels are made optimal for what is left. At a leaf rows are
added where the error falls most for their price until none fits, or taken away while the error is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mlsbi.planning._waterfill import Counts, Problem, least_cost, least_error

__all__ = ["exchanged", "rounded_costs", "rounded_errors"]

_SPLITS = 6  # levels of which both roundings are tried,
_FEW = 1000.0  # and only where rows are fewer than this: above, a row more or less is nothing
_SHRINK = 1e-12  # sums of rounded figures stay within a limit


def rounded_errors(problem: Problem) -> Iterator[Counts]:
    """Whole numbers within the limits: candidates for the least error."""
    for limit in problem.limits:  # a level dear in money need not be dear in time
        yield from _split(problem, problem.low, problem.needed, _SPLITS, limit.weights)


def _split(
    problem: Problem, low: Counts, free: Counts, splits: int, weights: Sequence[float]
) -> Iterator[Counts]:
    real, _ = least_error(problem, low, free)
    if not free:
        yield fill_up(problem, low)
        return
    dearest = max(free, key=lambda level: weights[level])
    others = tuple(level for level in free if level != dearest)
    down = max(low[dearest], math.floor(real[dearest] * (1 - _SHRINK)))
    both = splits > 0 and real[dearest] < _FEW and bool(others)
    for count in (down, down + 1) if both else (down,):
        fixed = _with(low, dearest, count)
        if problem.fits(fixed):
            yield from _split(problem, fixed, others, splits - both, weights)
        elif count == down:  # by rounding alone: the rows are added one by one
            yield fill_up(problem, low)


def exchanged(problem: Problem, n: Counts) -> Counts:
    """Give a row of one level for rows of the others, as long as that lowers the error."""
    best, better = n, n
    while True:
        for level in problem.needed:
            if best[level] > problem.low[level]:
                fewer = fill_up(problem, _with(best, level, best[level] - 1), but=level)
                better = min(better, fill_up(problem, fewer), key=problem.error)
        if better == best:
            return best
        best = better


def fill_up(problem: Problem, low: Counts, *, but: int | None = None) -> Counts:
    """Add rows, of all levels `but` one, until none fits that would lower the error."""
    n = low
    levels = tuple(level for level in problem.needed if level != but)
    while free := tuple(i for i in levels if problem.fits(_with(n, i, n[i] + 1))):
        real, prices = least_error(problem, n, free)
        grown = tuple(
            max(count, math.floor(more * (1 - _SHRINK)))
            for count, more in zip(n, real, strict=True)
        )
        if grown == n or not problem.fits(grown):
            falls = {i: problem.needs[i] / (n[i] * (n[i] + 1.0)) / prices[i] for i in free}
            best = max(free, key=lambda i: falls[i])
            grown = _with(n, best, n[best] + 1)
        n = grown
    return n


def rounded_costs(problem: Problem, error: float) -> Iterator[Counts]:
    """Whole numbers that reach an error: candidates for the least cost."""
    return _split_costs(problem, problem.low, problem.needed, _SPLITS, error)


def _split_costs(
    problem: Problem, low: Counts, free: Counts, splits: int, error: float
) -> Iterator[Counts]:
    weights = problem.limits[0].weights
    real = least_cost(problem, weights, low, free, error)
    if real is None:
        return
    if not free or problem.error(low) <= error:
        yield _taken_away(problem, low, error)
        return
    dearest = max(free, key=lambda level: weights[level])
    others = tuple(level for level in free if level != dearest)
    up = max(low[dearest], math.ceil(real[dearest]))
    if not others:
        while problem.error(_with(low, dearest, up)) > error:  # by rounding alone
            up *= 2
        yield _taken_away(problem, _with(low, dearest, up), error)
        return
    both = splits > 0 and real[dearest] < _FEW and up > low[dearest]
    for count in (up - 1, up) if both else (up,):
        fixed = _with(low, dearest, count)
        yield from _split_costs(problem, fixed, others, splits - both, error)


def _taken_away(problem: Problem, n: Counts, error: float) -> Counts:
    """Without the rows that the error can spare, the dearest first."""
    weights = problem.limits[0].weights
    for level in sorted(problem.needed, key=lambda i: -weights[i]):
        lower, upper = problem.low[level] - 1, n[level]  # upper reaches the error, lower may not
        while upper - lower > 1:
            middle = (lower + upper) // 2
            if problem.error(_with(n, level, middle)) <= error:
                upper = middle
            else:
                lower = middle
        n = _with(n, level, upper)
    return n


def _with(n: Counts, level: int, count: int) -> Counts:
    return (*n[:level], count, *n[level + 1 :])
