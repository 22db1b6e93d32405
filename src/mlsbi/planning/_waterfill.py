"""The optimal real numbers of rows: water of one level fills vessels of different heights.

    n_l = max(low_l, w sqrt(b_l / k_l)),  w such that the budget is spent, or the error reached

Levels stay at low_l until the water reaches it, at w = low_l / sqrt(b_l / k_l); between two of
these heights w has a closed form, so that the solution is exact after at most one step a level. Two
limits that both bind act as one whose weights are a mixture of theirs; the mixture is found by
halving.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Limit", "Problem", "error_part", "least_cost", "least_error"]

Counts = tuple[int, ...]

_HALVINGS = 64
_SLACK = 1e-13  # a limit counts as kept if it is passed by rounding alone


@dataclass(frozen=True)
class Limit:
    """What new rows may use in all: `sum_l (n_l - m_l) weights_l <= capacity`."""

    weights: tuple[float, ...]
    capacity: float


@dataclass(frozen=True)
class Problem:
    """Needs b_l, existing rows m_l, least rows low_l >= m_l, and one or two limits."""

    needs: tuple[float, ...]
    existing: Counts
    low: Counts
    limits: tuple[Limit, ...]

    @property
    def needed(self) -> Counts:
        """Levels whose rows lower the error."""
        return tuple(level for level, b in enumerate(self.needs) if b > 0)

    def used(self, n: Sequence[float], limit: Limit) -> float:
        """What the new rows use of a limit."""
        rows = zip(n, self.existing, limit.weights, strict=True)
        return math.fsum((count - had) * weight for count, had, weight in rows)

    def fits(self, n: Sequence[float]) -> bool:
        """Whether no limit is exceeded, not even by rounding."""
        return all(self.used(n, limit) <= limit.capacity for limit in self.limits)

    def error(self, n: Sequence[float]) -> float:
        """The sum of the levels' parts, infinite where a needed level has no row."""
        return math.fsum(error_part(b, count) for b, count in zip(self.needs, n, strict=True))


def error_part(need: float, count: float) -> float:
    """One level's part of the error, b / n."""
    if need == 0:
        return 0.0
    return need / count if count > 0 else math.inf


# --- least error within limits -------------------------------------------------------------------


def least_error(problem: Problem, low: Counts, free: Counts) -> tuple[list[float], list[float]]:
    """The best real numbers of rows, from `low` upwards, that the limits allow.

    Args:
        problem: Needs and limits; its own `low` is not used.
        low: Least rows of each level; levels that are not free keep these.
        free: Levels, each with a need, that may get more.

    Returns:
        Rows of each level, and the price of one more row of each, up to a factor.
    """
    spares = [limit.capacity - problem.used(low, limit) for limit in problem.limits]
    n = [float(count) for count in low]
    if not free or min(spares) <= 0:
        return n, list(problem.limits[0].weights)
    scaled = [
        [weight / spare for weight in limit.weights]
        for limit, spare in zip(problem.limits, spares, strict=True)
    ]
    for weights in scaled:
        n = _fill(problem.needs, weights, low, free)
        if all(_use(n, low, other) <= 1 + _SLACK for other in scaled if other is not weights):
            return n, weights
    return _mixed(problem.needs, scaled, low, free)


def _use(n: Sequence[float], low: Counts, weights: Sequence[float]) -> float:
    return math.fsum((a - b) * w for a, b, w in zip(n, low, weights, strict=True))


def _fill(
    needs: Sequence[float], weights: Sequence[float], low: Counts, free: Counts
) -> list[float]:
    """`n_l = max(low_l, water rate_l)` of the free levels, with `sum_l (n_l - low_l) w_l = 1`."""
    rates = {level: math.sqrt(needs[level]) / math.sqrt(weights[level]) for level in free}
    order = sorted(free, key=lambda level: low[level] / rates[level])
    room, slope, water = 1.0, 0.0, 0.0
    for position, level in enumerate(order):
        room += weights[level] * low[level]
        slope += weights[level] * rates[level]
        water = room / slope
        rest = order[position + 1 :]
        if not rest or water <= low[rest[0]] / rates[rest[0]]:
            break
    n = [float(count) for count in low]
    for level in free:
        n[level] = max(n[level], water * rates[level])
    return n


def _mixed(
    needs: Sequence[float], scaled: Sequence[Sequence[float]], low: Counts, free: Counts
) -> tuple[list[float], list[float]]:
    """Both limits bind: halve until the mixture of their weights uses both to the same part."""
    first, second = scaled
    # Of the second limit's share: too much of that limit is used at 0, too little at 1.
    lower, upper = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = 0.5 * (lower + upper)
        weights = [(1 - share) * a + share * b for a, b in zip(first, second, strict=True)]
        n = _fill(needs, weights, low, free)
        if _use(n, low, second) > _use(n, low, first):
            lower = share
        else:
            upper = share
    over = max(1.0, _use(n, low, first), _use(n, low, second))
    return [base + (count - base) / over for count, base in zip(n, low, strict=True)], weights


# --- least cost for an error ---------------------------------------------------------------------


def least_cost(
    problem: Problem, weights: Sequence[float], low: Counts, free: Counts, error: float
) -> list[float] | None:
    """The cheapest real numbers of rows, from `low` upwards, that reach an error.

    Args:
        problem: Needs; its limits are not used.
        weights: Cost of a row of each level.
        low: Least rows of each level; levels that are not free keep these.
        free: Levels, each with a need, that may get more.
        error: To reach.

    Returns:
        Rows of each level; None if the levels that are not free pass the error by themselves.
    """
    n = [float(count) for count in low]
    if problem.error(n) <= error:
        return n
    needs = problem.needs
    rates = {level: math.sqrt(needs[level]) / math.sqrt(weights[level]) for level in free}
    order = sorted(free, key=lambda level: low[level] / rates[level])
    slope = 0.0
    for position, level in enumerate(order):
        slope += weights[level] * rates[level]
        filled, rest = order[: position + 1], order[position + 1 :]
        kept = (error_part(needs[i], low[i]) for i in range(len(low)) if i not in filled)
        left = error - math.fsum(kept)
        if left > 0 and (not rest or slope / left <= low[rest[0]] / rates[rest[0]]):
            water = slope / left
            return [max(n[i], water * rates[i]) if i in filled else n[i] for i in range(len(n))]
    return None
