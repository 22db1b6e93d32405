"""What levels need: formulas, sources, and what the pilot and all runs say of the same data."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import mlsbi
from linear_gaussian import box_prior
from mlsbi._table import Table
from mlsbi.planning.explained import PairGain
from mlsbi.planning.needs import (
    Needs,
    bound_needs,
    loss_needs,
    pilot_needs,
    quick_losses,
    reestimate,
    step_needs,
    telescopes,
)
from mlsbi.planning.subsets import choose_levels
from mlsbi.strategies import Bridge, Emulator, Multilevel, SingleLevel, Stack, Transfer
from mlsbi.tasks import linear_gaussian

COSTS = (1.0, 4.0, 16.0)


@pytest.fixture(scope="module")
def pilot():
    return mlsbi.pilot(linear_gaussian(3).hierarchy, 64, seed=0)


def gain(level: int, **more: float) -> PairGain:
    values = {
        "nats": 2.0, "error": 0.1, "information": 0.5, "agreement": 0.9, "theta_alone": 0.5,
        "reach": 0.8, "step_need": 10.0, "coarse_need": 20.0, "alone_need": 30.0,
    }  # fmt: skip
    return PairGain(level, level - 1, **values | more)


# --- the steps -----------------------------------------------------------------------------------


def test_a_level_counts_by_what_the_steps_above_carry():
    gains = [gain(1, step_need=6.0), gain(2, reach=0.5)]
    needs = step_needs(gains, COSTS, Stack(), kind="posterior")
    assert needs.b == pytest.approx((1.5 * 20 * 0.5, 6 * 0.5, 10))
    assert needs.single == pytest.approx(20 * 30)
    likelihood = step_needs(gains, COSTS, Stack(), kind="likelihood")
    assert likelihood.b[0] / needs.b[0] == pytest.approx(4 / 1.5)
    assert likelihood.b[1:] == needs.b[1:]


def test_levels_that_tell_nothing_get_nothing():
    nothing = {"nats": -0.3, "reach": 0.1, "step_need": 35.0}
    needs = step_needs([gain(1, **nothing)], COSTS[:2], Stack(), kind="posterior")
    assert needs.b == (0.0, 30.0)
    assert needs.source == "level L alone"


@pytest.mark.parametrize("sign", [{"nats": 0.5, "error": 0.4}, {"nats": -0.1, "reach": 0.9}])
def test_one_sign_of_a_gain_is_enough(sign):
    dear = gain(1, step_need=40.0, **sign)
    assert step_needs([dear], COSTS[:2], Stack(), kind="posterior").b[0] > 0


def test_strategies_that_use_no_low_level():
    for strategy in (SingleLevel(), Emulator()):
        assert step_needs([gain(1)], COSTS[:2], strategy, kind="posterior").b == (0.0, 30.0)


def test_who_telescopes():
    assert telescopes(Multilevel())
    assert telescopes(Transfer())
    assert not any(map(telescopes, (Stack(), Bridge(), SingleLevel())))


# --- from a pilot --------------------------------------------------------------------------------


def test_the_pilot_and_its_data_say_the_same(pilot):
    assert reestimate(pilot.data, pilot.costs) == pilot.needs()
    likelihood = pilot.needs(kind="likelihood")
    assert reestimate(pilot.data, pilot.costs, kind="likelihood") == likelihood != pilot.needs()


def test_methods(pilot):
    bound = pilot.needs(method="bound")
    assert bound == bound_needs(pilot)
    found = pilot.statistics
    assert bound.b == (found.variance[0], *found.difference[1:])
    loss = pilot.needs(Multilevel(), seed=3)
    assert loss == pilot.needs(method="loss", seed=3)
    losses = quick_losses(pilot, kind="posterior", seed=3)
    assert loss == loss_needs(losses)
    assert loss.b == losses.difference_variance
    assert reestimate(pilot.data, pilot.costs, Multilevel(), losses=losses) == loss
    assert pilot.needs(Multilevel(), method="steps").source != loss.source


def test_the_loss_differences_of_close_levels_vary_little(pilot):
    b = pilot.needs(Multilevel()).b
    assert b[0] > b[1] > b[2] > 0


def test_a_level_without_a_variance_needs_nothing_more(pilot):
    losses = quick_losses(pilot, kind="posterior", seed=0)
    one = replace(losses, difference_variance=(2.0, math.nan, 1.0))
    assert loss_needs(one).b == (2.0, 0.0, 1.0)


def test_one_level(pilot):
    top = pilot.subset([2])
    assert top.needs() == Needs((1.0,), 1.0, "one level") == reestimate(top.data, top.costs)


def test_levels_that_cannot_be_compared():
    def of_size(size):
        return mlsbi.Level(lambda theta, u: theta[:, :1] + torch.zeros(size), cost=1.0)

    hierarchy = mlsbi.Hierarchy(box_prior(), [of_size(3), of_size(4)])
    other = mlsbi.pilot(hierarchy, 16, seed=0)
    for method in ("steps", "bound"):
        with pytest.raises(ValueError, match=r"one shape.*\(3,\), \(4,\).*same summaries or grid"):
            other.needs(method=method)
    with pytest.raises(ValueError, match="one shape"):
        reestimate(other.data, (1.0, 1.0))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"strategy": "stack"}, TypeError, "strategy must be Strategy"),
        ({"method": "guess"}, ValueError, "method must be one of"),
        ({"kind": "both"}, ValueError, "kind must be one of"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_input(pilot, options, error, words):
    with pytest.raises(error, match=words):
        pilot_needs(pilot, **options)


# --- which levels --------------------------------------------------------------------------------


def test_every_subset_with_the_finest_level_is_planned(pilot):
    choices = pilot.choose_levels(4000)
    assert {c.levels for c in choices} == {(2,), (0, 2), (1, 2), (0, 1, 2)}
    errors = [c.plan.error for c in choices]
    assert errors == sorted(errors)
    for choice in choices:
        assert choice.plan.cost <= 4000
        assert len(choice.plan) == len(choice.levels)
    alone = next(c for c in choices if c.levels == (2,))
    assert alone.plan == (250,)
    assert alone.plan.single_n == pytest.approx(250)


def test_a_level_that_costs_as_much_as_the_finest_is_dropped(pilot):
    dear = replace(pilot, costs=(1.0, 15.9, 16.0))
    assert dear.choose_levels(4000).best.levels == (0, 2)


def test_all_levels_are_kept_unless_fewer_are_clearly_better(pilot):
    choices = pilot.choose_levels(4000)
    whole = next(c for c in choices if len(c.levels) == 3)
    near = replace(choices.choices[0].plan.needs, b=tuple(0.95 * b for b in whole.plan.needs.b))
    rival = replace(whole, levels=(0, 2), plan=replace(whole.plan, needs=near))
    assert replace(choices, choices=(rival, whole)).best is whole


def test_the_table_of_choices(pilot, capsys):
    choices = pilot.choose_levels(4000)
    table = choices.table()
    assert isinstance(table, Table)
    assert capsys.readouterr().out == f"{table}\n"
    assert table.column("")[[c is choices.best for c in choices].index(True)] == "recommended"
    assert str(choices) == str(table)


@pytest.mark.parametrize("budget", [10.0, -1.0])
def test_budgets_that_pay_for_nothing(pilot, budget):
    with pytest.raises(ValueError, match="budget"):
        choose_levels(pilot, budget)
