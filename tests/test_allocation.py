"""Allocations: against closed forms, a general optimiser, brute force, and their laws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from mlsbi.planning.allocation import (
    cheapest,
    cheapest_integers,
    expected_error,
    integers,
    optimal,
    row_sums,
)

REL = 1e-12


def instance(index, *, spare=(1.0, 100.0)):
    """A random problem: needs, row costs, budget, and the rest; odd ones have a deadline."""
    r = np.random.default_rng([7, index])
    levels = int(r.integers(2, 7))
    b = (10.0 ** r.uniform(-4, 1, levels)).tolist()
    costs = row_sums(np.sort(10.0 ** r.uniform(-1, 3, levels)).tolist())
    more = {
        "existing": [int(m) for m in r.integers(0, 40, levels) * (r.random(levels) < 0.4)],
        "minimum": [int(m) for m in r.integers(0, 20, levels) * (r.random(levels) < 0.4)],
    }
    new = [max(n - m, 0) for n, m in zip(more["minimum"], more["existing"], strict=True)]
    low, high = np.log(spare)
    budget = (total(new, costs) + sum(costs)) * float(np.exp(r.uniform(low, high)))
    if index % 2:
        seconds = (10.0 ** r.uniform(-1, 2, levels)).tolist()
        times, cores = row_sums(seconds), int(r.integers(1, 4))
        work = (total(new, times) + sum(times)) * float(np.exp(r.uniform(low, high)))
        more |= {"seconds": seconds, "deadline": max(work / cores, max(times)), "cores": cores}
    return b, costs, budget, more


def total(n, weights):
    return math.fsum(a * w for a, w in zip(n, weights, strict=True))


def limits_of(costs, budget, more):
    """(weights, capacity) of each limit."""
    limits = [(np.asarray(costs), budget)]
    if "deadline" in more:
        limits.append((np.asarray(row_sums(more["seconds"])), more["deadline"] * more["cores"]))
    return limits


def left_of(n, costs, budget, more):
    """Of each limit, the part that new rows leave."""
    new = np.asarray(n, dtype=float) - np.asarray(more.get("existing") or 0)
    return [1 - float(new @ w) / c for w, c in limits_of(costs, budget, more)]


def numerical(b, costs, budget, more):
    """The least error that SLSQP finds, in log n, from a feasible start."""
    b, had = np.asarray(b), np.asarray(more["existing"], dtype=float)
    low = np.maximum(np.maximum(had, more["minimum"]), 1e-3)
    limits = limits_of(costs, budget, more)
    step = min((c - (low - had) @ w) / w.sum() for w, c in limits)
    scale = (b / (low + step)).sum()
    constraints = [
        {
            "type": "ineq",
            "fun": lambda z, w=w, c=c: 1 - (np.exp(z) - had) @ w / c,
            "jac": lambda z, w=w, c=c: -np.exp(z) * w / c,
        }
        for w, c in limits
    ]
    found = minimize(
        lambda z: (b / np.exp(z)).sum() / scale,
        np.log(low + 0.9 * step),
        jac=lambda z: -b / np.exp(z) / scale,
        bounds=[(start, None) for start in np.log(low)],
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-13},
    )
    return found.fun * scale, found.success


# --- real numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(4))
def test_optimum_is_the_one_of_a_general_optimiser(block):
    checked = 0
    for index in range(100 * block, 100 * (block + 1)):
        b, costs, budget, more = instance(index)
        n = optimal(b, costs, budget, **more)
        assert min(left_of(n, costs, budget, more)) > -1e-9
        assert all(n >= np.maximum(more["existing"], more["minimum"]))
        error, (reference, success) = expected_error(b, n), numerical(b, costs, budget, more)
        assert error <= reference * (1 + 1e-4), index  # a run that stopped early proves this much
        if success:
            assert error >= reference * (1 - 1e-4), index
            checked += 1
    assert checked > 90


def test_optimum_meets_the_kkt_conditions():
    both = 0
    for index in range(300):
        b, costs, budget, more = instance(index)
        n = np.asarray(optimal(b, costs, budget, **more))
        low = np.maximum(more["existing"], more["minimum"])
        free = n > low * (1 + 1e-9)
        assert free.any()
        gains = np.asarray(b) / n**2
        weights = np.stack([w for w, _ in limits_of(costs, budget, more)])
        tight = np.asarray(left_of(n, costs, budget, more)) < 1e-9
        assert tight.any()
        both += tight.sum() == 2
        # b / n^2 = sum of multipliers times weights, with multipliers >= 0 of tight limits only.
        scaled = (weights[tight][:, free] / gains[free]).T
        multipliers, *_ = np.linalg.lstsq(scaled, np.ones(free.sum()), rcond=None)
        assert np.allclose(scaled @ multipliers, 1, rtol=1e-6)
        assert (multipliers >= -1e-9 * abs(multipliers).max()).all()
        price = multipliers @ weights[tight]
        assert (gains <= price * (1 + 1e-6)).all()  # levels at their least would gain too little
    assert both > 20  # both limits bind in a good part of the problems


def test_closed_form_where_nothing_binds():
    for index in range(100):
        b, costs, budget, _ = instance(index)
        b, k = np.asarray(b), np.asarray(costs)
        n = optimal(b, k, budget)
        assert n == pytest.approx(budget * np.sqrt(b / k) / np.sqrt(b * k).sum(), rel=REL)
        assert expected_error(b, n) == pytest.approx(np.sqrt(b * k).sum() ** 2 / budget, rel=REL)
        n = cheapest(b, k, error=0.03)
        assert n == pytest.approx(np.sqrt(b / k) * np.sqrt(b * k).sum() / 0.03, rel=REL)


def test_optimum_by_hand():
    # sqrt(b/k) = 1 and 1/4, sqrt(b k) = 1 and 4: the level 1 gets 4/5 of the budget.
    assert optimal((1.0, 1.0), (1.0, 16.0), 100.0) == pytest.approx((20.0, 5.0))
    # Level 0 has 60 rows already: all of the budget is level 1's.
    assert optimal((1, 1), (1, 16), 80, existing=(60, 0)) == pytest.approx((60.0, 5.0))
    # At least 10 rows of level 1 for 160 of the 170.
    assert optimal((1, 1), (1, 16), 170, minimum=(0, 10)) == pytest.approx((10.0, 10.0))
    # No time for more than 4 rows of level 1 in all, but money left: level 0 takes as little time.
    n = optimal((1, 1), (1, 16), None, seconds=(1, 15), deadline=100.0, cores=1)
    assert n == pytest.approx((20.0, 5.0))
    assert optimal((1, 1), (1, 16), None, seconds=(1, 15), deadline=50.0, cores=2) == n


@pytest.mark.parametrize("deadline", [False, True])
def test_rows_never_fall_as_the_budget_grows(deadline):
    for index in range(deadline, 60, 2):
        b, costs, budget, more = instance(index)
        errors, rows = [], []
        for factor in np.geomspace(1, 30, 12):
            n = optimal(b, costs, budget * factor, **more)
            errors.append(expected_error(b, n))
            rows.append(n)
        assert (np.diff(errors) <= 1e-9 * np.asarray(errors[:-1])).all()
        if not deadline:  # with two limits, one level's rows may fall for another's
            assert (np.diff(rows, axis=0) >= -1e-9 * np.asarray(rows[:-1])).all()


@pytest.mark.parametrize("solve", [optimal, integers])
def test_units_do_not_matter(solve):
    for index in range(40):
        b, costs, budget, more = instance(index)
        n = solve(b, costs, budget, **more)
        assert solve([v * 2**9 for v in b], costs, budget, **more) == pytest.approx(n, rel=REL)
        other = solve(b, [k * 2**-7 for k in costs], budget * 2**-7, **more)
        assert other == pytest.approx(n, rel=REL)


def test_a_deadline_nobody_feels_changes_nothing():
    for index in range(0, 40, 2):
        b, costs, budget, more = instance(index)
        lax = {"seconds": [1.0] * len(b), "deadline": 1e12}
        assert optimal(b, costs, budget, **more, **lax) == optimal(b, costs, budget, **more)
        assert integers(b, costs, budget, **more, **lax) == integers(b, costs, budget, **more)


# --- whole numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("spare", [(1.0, 4.0), (3.0, 3000.0)])
def test_integers_keep_the_limits_and_waste_no_row(spare):
    for index in range(150):
        b, costs, budget, more = instance(index, spare=spare)
        more["minimum"] = [max(m, 1) for m in more["minimum"]]
        n = integers(b, costs, budget * 2, **more)
        assert all(isinstance(count, int) for count in n)
        assert min(left_of(n, costs, budget * 2, more)) >= -1e-15
        assert all(np.asarray(n) >= np.maximum(more["existing"], more["minimum"]))
        for level in range(len(n)):
            one_more = np.asarray(n) + (np.arange(len(n)) == level)
            assert min(left_of(one_more, costs, budget * 2, more)) < 1e-12
        bound = expected_error(b, optimal(b, costs, budget * 2, **more))
        assert expected_error(b, n) >= bound * (1 - 1e-9)


def test_integers_are_as_good_as_real_numbers_where_rows_are_many():
    for index in range(100):
        b, costs, budget, more = instance(index, spare=(1000.0, 1e5))
        gap = expected_error(
            b,
            integers(
                b,
                costs,
                budget,
                **more,
            ),
        ) / expected_error(b, optimal(b, costs, budget, **more))
        assert gap < 1.002


def brute_force(b, costs, budget, more):
    """The least error of all whole numbers that keep the limits."""
    limits = limits_of(costs, budget, more)
    had = more["existing"]
    low = [max(pair) for pair in zip(had, more["minimum"], strict=True)]
    high = [
        min(int((c - total(np.subtract(low, had), w)) / w[i] + 1e-9) + low[i] for w, c in limits)
        for i in range(len(b))
    ]
    best = math.inf
    for rest in itertools.product(
        *(range(a, z + 1) for a, z in zip(low[1:], high[1:], strict=True))
    ):
        spare = [(c - total(np.subtract(rest, had[1:]), w[1:])) / w[0] for w, c in limits]
        first = had[0] + math.floor(min(spare) + 1e-12)
        if first >= low[0]:
            best = min(best, expected_error(b, (first, *rest)))
    return best


def small(index):
    """A problem whose dear levels have few rows."""
    r = np.random.default_rng([11, index])
    levels = int(r.integers(2, 5))
    b = (10.0 ** r.uniform(-3, 1, levels)).tolist()
    costs = row_sums(np.sort(10.0 ** r.uniform(0, 2, levels)).tolist())
    more = {"existing": r.integers(0, 4, levels).tolist(), "minimum": [1] * levels}
    scale = float(r.uniform(1.1, 8 if levels < 4 else 4))
    if index % 2:
        seconds = (10.0 ** r.uniform(0, 2, levels)).tolist()
        more |= {"seconds": seconds, "deadline": sum(row_sums(seconds)) * scale, "cores": 1}
    return b, costs, sum(costs) * float(r.uniform(1.1, 8 if levels < 4 else 4)), more


def test_integers_against_brute_force():
    ratios = []
    for index in range(150):
        b, costs, budget, more = small(index)
        best = brute_force(b, costs, budget, more)
        ratios.append(expected_error(b, integers(b, costs, budget, **more)) / best)
    ratios = np.asarray(ratios)
    assert ratios.min() > 1 - 1e-9  # else brute force or the limits are wrong
    assert (ratios < 1 + 1e-9).mean() > 0.97
    assert ratios.max() < 1.03


def test_a_crude_rounding_is_worse_than_ours():
    """The measure above tells good from bad: rounding down alone falls behind."""
    worse = 0
    for index in range(150):
        b, costs, budget, more = small(index)
        crude = [math.floor(n) for n in optimal(b, costs, budget, **more)]
        worse += expected_error(b, crude) > 1.03 * brute_force(b, costs, budget, more)
    assert worse > 50


def test_integers_by_hand_and_at_the_edges():
    assert integers((1, 1), (1, 16), 100) == (20, 5)
    assert integers((1.0,), (3.0,), 10.0) == (3,)
    assert integers((1, 1), (1, 16), 17) == (1, 1)  # just what one row each costs
    assert integers((1, 1), (1, 16), 0, existing=(5, 2)) == (5, 2)
    assert integers((1, 1), (1, 16), 15.5, existing=(5, 2)) == (20, 2)
    assert integers((1, 1), (0.1, 1.6), 10) == (20, 5)
    huge = integers((1.0, 1e-6), (1e-6, 1e6), 1e9)
    assert total(huge, (1e-6, 1e6)) <= 1e9
    assert 1e9 - total(huge, (1e-6, 1e6)) < 1e-6
    many = integers([10.0**-i for i in range(12)], [2.0**i for i in range(12)], 1e5)
    assert total(many, [2.0**i for i in range(12)]) == 1e5


def test_levels_without_need_get_their_least():
    assert integers((1.0, 0.0), (1.0, 41.0), 5000) == (4959, 1)
    assert integers((1.0, 0.0), (1.0, 41.0), 5000, minimum=8) == (4672, 8)
    assert integers((0.0, 1.0), (1.0, 41.0), 5000) == (1, 121)
    assert optimal((1.0, 0.0), (1.0, 41.0), 5000) == pytest.approx((5000, 0))
    assert integers((0.0, 0.0), (1.0, 41.0), 5000, minimum=3) == (3, 3)
    assert integers((0.0, 0.0), (1.0, 41.0), 5000, minimum=3, existing=(9, 0)) == (9, 3)
    assert cheapest_integers((1.0, 0.0), (1.0, 41.0), error=0.01, minimum=2) == (100, 2)
    assert expected_error((0.0, 1.0), (0, 4)) == 0.25
    assert expected_error((1.0, 1.0), (0, 4)) == math.inf


# --- the converse --------------------------------------------------------------------------------


def test_cheapest_is_the_inverse_of_optimal():
    for index in range(0, 200, 2):
        b, costs, budget, more = instance(index)
        n = optimal(b, costs, budget, **more)
        back = cheapest(b, costs, error=expected_error(b, n), **more)
        assert back == pytest.approx(n, rel=1e-9)


def test_cheapest_integers_reach_the_error_and_no_row_can_go():
    for index in range(150):
        b, costs, budget, more = instance(index)
        more = {key: more[key] for key in ("existing", "minimum")}
        target = expected_error(b, optimal(b, costs, budget, **more))
        n = cheapest_integers(b, costs, error=target, **more)
        assert expected_error(b, n) <= target
        low = np.maximum(np.maximum(more["existing"], more["minimum"]), 1)
        assert all(np.asarray(n) >= low)
        for level, count in enumerate(n):
            fewer = (*n[:level], count - 1, *n[level + 1 :])
            assert count == low[level] or expected_error(b, fewer) > target
        real = cheapest(b, costs, error=target, existing=more["existing"], minimum=low.tolist())
        assert total(n, costs) >= total(real, costs) * (1 - 1e-9)
        # Never dearer than to round up every level.
        assert total(n, costs) <= total(np.ceil(np.asarray(real) * (1 - 1e-12)), costs)


def test_cheapest_integers_against_brute_force():
    for index in range(60):
        b, costs, _, _ = small(2 * index)
        target = expected_error(b, [4] * len(b))
        n = cheapest_integers(b, costs, error=target)
        best = math.inf
        for rest in itertools.product(range(1, 13), repeat=len(b) - 1):
            room = target - expected_error(b[1:], rest)
            if room > 0:
                best = min(best, total((max(1, math.ceil(b[0] / room - 1e-9)), *rest), costs))
        assert total(n, costs) <= 1.03 * best


# --- bad input -----------------------------------------------------------------------------------

GOOD = {"needs": (1.0, 0.1), "row_costs": (1.0, 41.0), "budget": 1000.0}
TIME = {"seconds": (1.0, 40.0), "deadline": 500.0}


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"needs": (1.0, math.nan)}, ValueError, ("needs[1]", "nan", "finite")),
        ({"needs": (1.0, math.inf)}, ValueError, ("needs[1]", "inf", "finite")),
        ({"needs": (1.0, -0.1)}, ValueError, ("needs[1]", "-0.1", "zero or positive")),
        ({"needs": ()}, ValueError, ("needs", "at least one entry")),
        ({"needs": 3.0}, TypeError, ("needs", "float", "coarsest first")),
        ({"needs": ("a", 1.0)}, TypeError, ("needs[0]", "str")),
        ({"row_costs": (1.0,)}, ValueError, ("row_costs", "one entry a level, 2", "got 1")),
        ({"row_costs": (0.0, 1.0)}, ValueError, ("row_costs[0]", "positive", "0.0")),
        ({"budget": None}, ValueError, ("budget or deadline", "neither", "budget=")),
        ({"budget": -1}, ValueError, ("budget", "zero or positive", "-1")),
        ({"budget": 41.5}, ValueError, ("budget", "(1, 1)", "42", "41.5", "Raise it")),
        ({"minimum": 30}, ValueError, ("budget", "(30, 30)", "1260", "lower minimum")),
        ({"minimum": (1, 2, 3)}, ValueError, ("minimum", "2", "got 3")),
        ({"minimum": 1.5}, TypeError, ("minimum", "integer", "1.5")),
        ({"existing": (1, -1)}, ValueError, ("existing[1]", "-1", "at least 0")),
        ({"deadline": 10.0}, ValueError, ("seconds", "deadline", "one number a level")),
        (TIME | {"seconds": (1.0, None)}, ValueError, ("seconds", "None")),
        (TIME | {"seconds": (1.0, 0.0)}, ValueError, ("seconds[1]", "positive")),
        (TIME | {"deadline": 40.0}, ValueError, ("deadline", "level 1", "41", "40", "cores")),
        (TIME | {"cores": 0}, ValueError, ("cores", "at least 1")),
        (TIME | {"minimum": 20}, ValueError, ("deadline", "(20, 20)", "840", "2 cores")),
    ],
)
def test_errors_say_what_came_and_what_to_do(wrong, error, words):
    arguments = GOOD | wrong
    first = [arguments.pop(name) for name in GOOD]
    with pytest.raises(error) as caught:
        integers(*first, **arguments)
    for word in words:
        assert word in str(caught.value)


def test_the_least_budget_that_an_error_names_is_enough():
    for index in range(0, 60, 2):
        b, costs, _, more = instance(index)
        with pytest.raises(ValueError, match="Raise it to") as caught:
            integers(b, costs, 0.0, existing=None, minimum=[m + 1 for m in more["minimum"]])
        least = float(str(caught.value).split("Raise it to ")[1].split(" or more")[0])
        integers(b, costs, least, minimum=[m + 1 for m in more["minimum"]])


@pytest.mark.parametrize("target", [0, -1.0, math.nan, "small"])
def test_cheapest_refuses_errors_that_cannot_be(target):
    with pytest.raises((ValueError, TypeError), match="error must be"):
        cheapest_integers((1.0, 0.1), (1.0, 41.0), error=target)
