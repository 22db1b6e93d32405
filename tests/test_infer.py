"""Adaptive runs: never above the budget, planned anew on what each fit tells, checked, told of."""

from __future__ import annotations

import logging
import math
import random
from types import SimpleNamespace

import pytest
import torch

import mlsbi
from infer_ladder import QUICK, Runs, know_needs, ladder, noise, same, simulator
from linear_gaussian import box_prior
from mlsbi import Hierarchy, Level, Multilevel, SingleLevel
from mlsbi.planning import _infer_call, _infer_rounds
from quick import rough_processes, short_trainings
from tiny import posterior_builder


@pytest.fixture(autouse=True)
def _no_syncing(monkeypatch):
    """What a lost machine leaves is tested elsewhere, and waiting for the disk takes long."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def runs(monkeypatch):
    return Runs(monkeypatch)


@pytest.fixture
def stub_needs(monkeypatch):
    know_needs(monkeypatch)


@pytest.fixture
def stub_fits(monkeypatch):
    """No training: what a fit is made of, and nothing else."""

    def fit(self, data, *, seed, folder):
        return SimpleNamespace(multilevel=None, status=mlsbi.Status.CONVERGED, n=data.n, seed=seed)

    monkeypatch.setattr(_infer_call.Call, "fit", fit)


COSTS = [(2.5,), (1.0, 4.0), (0.1, 0.3), (1.0, 1000.0), (1.0, 7.3, 55.1), (0.7, 0.9, 11.0, 13.0)]


@pytest.mark.usefixtures("stub_needs", "stub_fits")
@pytest.mark.parametrize("costs", COSTS, ids=str)
@pytest.mark.parametrize("rounds", [1, 3, pytest.param(5, marks=pytest.mark.slow)])
def test_the_budget_is_spent_and_never_exceeded(runs, costs, rounds):
    draw = random.Random(rounds)
    pilot = 10 * math.fsum(costs)
    for budget in [pilot, pilot + 0.9 * costs[0], *(pilot * draw.uniform(1, 40) for _ in range(2))]:
        runs.clear()
        made = mlsbi.infer(ladder(costs), budget=budget, seed=1, pilot=8, folds=0, rounds=rounds)
        assert runs.spent == pytest.approx(made.spent, rel=1e-9)  # what really ran
        assert made.spent <= budget * (1 + 1e-9)
        assert budget - made.spent < costs[0] * (1 + 1e-9)
        assert made.spent == pytest.approx(pilot + math.fsum(r.cost for r in made.rounds))
        assert made.data.n == made.rounds[-1].n == made.rounds[-1].plan.n
        if len(made.rounds) == rounds:  # else there was no money for some
            for number, entry in enumerate(made.rounds, start=1):
                assert entry.spent <= pilot + (budget - pilot) * 2.0 ** (number - rounds) + 1e-6
        for before, after in zip(made.rounds, made.rounds[1:], strict=False):
            assert all(b <= a for b, a in zip(before.n, after.n, strict=True))


@pytest.mark.usefixtures("stub_needs", "stub_fits")
def test_plans_are_optimal_for_what_each_round_knows():
    budget, costs = 4000.0, (1.0, 4.0)
    made = mlsbi.infer(ladder(costs), budget=budget, seed=1, pilot=8, folds=0)
    assert [r.needs.source for r in made.rounds] == ["the pilot", "all", "all"]
    needs = made.rounds[-1].needs
    assert needs.b == (1.0, 0.3 * (1 + sum(made.rounds[-2].n) / 1000))
    weights = [math.sqrt(b / k) for b, k in zip(needs.b, (1.0, 5.0), strict=True)]
    scale = (budget - 50 + 8 * 6) / (weights[0] + 5 * weights[1])  # the pilot's rows are credit
    for n, weight in zip(made.data.n, weights, strict=True):
        assert n == pytest.approx(scale * weight, abs=3)


@pytest.mark.usefixtures("stub_needs")
def test_the_pilot_counts_and_may_be_one_that_exists(runs, tmp_path):
    hierarchy = ladder()
    pilot = mlsbi.pilot(hierarchy, 8, seed=3)
    given = QUICK | {"pilot": pilot}
    made = mlsbi.infer(hierarchy, budget=400, seed=5, **given)
    assert made.pilot is pilot
    assert runs.spent == made.spent <= 400
    for level in range(2):
        assert torch.equal(made.data.x(level)[:8], pilot.data.x(level))
    assert made.table()[0]["spent"] == pilot.cost == 50
    with pytest.raises(ValueError, match="pilot must be one of this very hierarchy"):
        mlsbi.infer(ladder(), budget=400, seed=5, **given)
    mlsbi.infer(hierarchy, budget=400, seed=5, store=tmp_path / "s", **given)
    with pytest.raises(ValueError, match="pilot was"):
        mlsbi.infer(
            hierarchy,
            budget=400,
            seed=5,
            store=tmp_path / "s",
            **QUICK | {"pilot": mlsbi.pilot(hierarchy, 8, seed=4)},
        )


@pytest.mark.usefixtures("stub_needs")
def test_runs_that_fail_cost_what_others_do(runs, tmp_path):
    hierarchy = ladder(failing=0.1)
    arguments = {"budget": 2000, "seed": 5, "max_failed": 0.3} | QUICK
    made = mlsbi.infer(hierarchy, store=tmp_path / "s", **arguments)
    failed = made.data.dropped[1]
    assert failed > 0
    assert runs.spent == made.spent
    assert 1999 < made.spent <= 2000
    n = made.data.n
    assert n[0] + 5 * (n[1] + failed) == made.spent - 50 + 6 * 8
    assert any("left out" in text and f"{failed} at level 1" in text for text in made.warnings)
    same(made, mlsbi.infer(hierarchy, store=tmp_path / "s", **arguments))
    with pytest.raises(RuntimeError, match="max_failed|failed"):
        mlsbi.infer(ladder(failing=0.3), **arguments | {"max_failed": 0.02})


@pytest.mark.usefixtures("stub_needs")
@pytest.mark.parametrize("costs", [(3.0,), (1.0, 3.0, 9.0)], ids=str)
def test_one_level_and_three(costs):
    options = QUICK | {"x_o": [0.5, 0.5], "levels": "all"}
    made = mlsbi.infer(ladder(costs), budget=60 * sum(costs), seed=1, **options)
    assert made.data.num_levels == len(costs) == len(made.fit.n)
    assert made.check.log_prob.shape == (made.data.n[-1],)
    assert made.samples(7, seed=0).shape == (7, 2)


@pytest.mark.usefixtures("stub_needs")
def test_costs_that_are_not_given_are_measured(runs, tmp_path):

    def loop(seconds):  # busy for a while: level 1 costs about four times what level 0 does
        def run(theta, u):
            for _ in range(int(seconds * len(theta))):
                torch.sin(torch.arange(2000.0))
            return theta + u / 2

        return run

    levels = [Level(loop(4)), Level(loop(16), cost=4.0)]
    hierarchy = Hierarchy(box_prior(), levels, noise=noise)
    pilot = mlsbi.pilot(hierarchy, 8, seed=3)
    arguments = {"budget": 20 * pilot.cost, "seed": 5} | QUICK | {"pilot": pilot}
    made = mlsbi.infer(hierarchy, store=tmp_path / "s", **arguments)
    assert made.cost_unit == "seconds"
    assert made.rounds[0].plan.costs == pilot.costs
    assert made.rounds[1].plan.costs != pilot.costs  # all runs were looked at
    assert "seconds" in str(made)
    assert sum(made.data.n) > 16
    runs.clear()
    again = mlsbi.infer(hierarchy, store=tmp_path / "s", **arguments)  # whatever time it took
    same(made, again)
    assert runs.rows == 0


@pytest.mark.usefixtures("stub_needs")
def test_a_likelihood_and_an_estimator_of_ones_own(tmp_path):
    arguments = {"budget": 300, "seed": 5, "store": tmp_path / "s"} | QUICK
    made = mlsbi.infer(ladder(), **arguments, kind="likelihood", x_o=torch.zeros(3, 2), rounds=1)
    assert made.check.coverage is None
    assert made.x_o.shape == (3, 2)
    with pytest.raises(ValueError, match="fit.posterior"):
        made.samples(5)
    arguments["store"] = tmp_path / "own"
    made, again = (
        mlsbi.infer(ladder(), **arguments, estimator=posterior_builder, rounds=1) for _ in range(2)
    )
    same(made, again)
    with pytest.raises(ValueError, match="x_o must be known"):
        made.samples(5)


@pytest.mark.parametrize(
    "strategy", [SingleLevel(), Multilevel(start="fresh"), None], ids=["single", "multi", "default"]
)
def test_plans_of_the_real_needs(monkeypatch, strategy):
    rough_processes(monkeypatch)
    short_trainings(monkeypatch, steps=4)
    arguments = {"budget": 500, "seed": 5, "rounds": 2, "x_o": [0.0, 0.0]}
    quick = QUICK | {"strategy": strategy, "pilot": 16, "folds": 0}
    made = mlsbi.infer(ladder(), **arguments, **quick)
    assert 499 < made.spent <= 500
    assert len(made.rounds) == 2
    if isinstance(strategy, SingleLevel):
        assert made.data.n[0] < 100  # it has no use for level 0
    else:
        least = 16 if strategy else 17  # a network of four steps says little of what level 1 needs
        assert made.data.n[0] > made.data.n[1] >= least
    assert made.samples(5, seed=0).shape == (5, 2)


@pytest.mark.usefixtures("stub_needs")
def test_the_history_reads_well(capsys, caplog):
    with caplog.at_level(logging.WARNING, logger="mlsbi"):
        made = mlsbi.infer(ladder(), budget=400, seed=5, **QUICK)
    assert capsys.readouterr() == ("", "")  # silent unless asked
    table = made.table()
    assert str(table) in capsys.readouterr().out
    assert table.column("round") == ["pilot", "1", "2", "3"]
    assert table.column("n_1") == [8, *(r.n[1] for r in made.rounds)]
    assert table.column("spent")[-1] == made.spent
    assert "then all" in table.notes[-1]
    text = str(made)
    assert f"{made.data.n[0]:,} at level 0" in text
    assert "held-out NLPD" in text
    for warning in made.warnings:
        assert warning in text
        assert warning in caplog.text
    assert all(r.nlpd == r.nlpd and r.seconds > 0 for r in made.rounds)
    assert made.rounds[-1].nlpd == made.fit.multilevel.loss_mean[-1]


@pytest.mark.usefixtures("stub_needs")
def test_pairs_that_are_not_coupled_are_told_of():
    own = torch.Generator().manual_seed(0)

    def uncoupled(theta, u):
        return theta + torch.randn(theta.shape, generator=own) / 2

    levels = [Level(uncoupled, cost=1.0), Level(simulator(1), cost=4.0)]
    hierarchy = Hierarchy(box_prior(), levels, noise=noise)
    arguments = {"budget": 900, "seed": 5, "rounds": 1} | QUICK
    made = mlsbi.infer(hierarchy, **arguments | {"strategy": Multilevel(), "pilot": 64})
    assert any("not coupled" in text for text in made.warnings)
    assert sum(made.data.n) > 128  # it goes on
    alone = mlsbi.infer(hierarchy, **arguments | {"pilot": 64})  # SingleLevel doesn't mind
    assert not any("not coupled" in text for text in alone.warnings)


@pytest.mark.usefixtures("stub_needs", "stub_fits")
def test_a_minimum_is_kept_from_the_first_round_on(runs):
    arguments = {"budget": 400, "seed": 5, "pilot": 8, "folds": 0}
    made = mlsbi.infer(ladder(), minimum=(8, 40), **arguments)
    assert made.rounds[0].n[1] == 40
    assert made.spent <= 400
    exact = mlsbi.infer(ladder(), minimum=(8, 40), **arguments | {"budget": 210})
    assert exact.spent == 210
    assert exact.data.n == (8, 40)
    for budget in (209.9, 40):
        runs.clear()
        with pytest.raises(ValueError, match="budget must pay the pilot"):
            mlsbi.infer(ladder(), minimum=(8, 40), **arguments | {"budget": budget})
        assert runs.rows == 0  # refused before anything ran


@pytest.mark.usefixtures("stub_needs")
def test_a_check_that_cannot_be_made_costs_nothing_else(monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("a density is not a number")

    monkeypatch.setattr(_infer_rounds, "crossfit", fails)
    made = mlsbi.infer(ladder(), budget=200, seed=5, rounds=1, **QUICK)
    assert made.check is None
    assert any("a density is not a number" in text for text in made.warnings)
    assert "No check was made" in str(made)


BAD = [
    ({"hierarchy": None}, TypeError, "hierarchy must be Hierarchy"),
    ({"budget": 0}, ValueError, "budget must be finite and positive"),
    ({"budget": "much"}, TypeError, "budget must be a number"),
    ({"budget": 49.9}, ValueError, "budget must pay the pilot, which costs 50; got 49.9. Raise"),
    ({"seed": -1}, ValueError, "seed must lie in"),
    ({"kind": "both"}, ValueError, "kind must be one of"),
    ({"strategy": "multilevel"}, TypeError, "strategy must be Strategy"),
    ({"strategy": SingleLevel(level=2)}, ValueError, "level must be one of the data's"),
    ({"estimator": "mdm"}, ValueError, "mdm"),
    ({"ensemble": 0}, ValueError, "ensemble must be at least 1"),
    ({"training": {}}, TypeError, "training must be Training"),
    ({"pilot": 7}, ValueError, "pilot must be at least 8"),
    ({"pilot": 8.0}, TypeError, "pilot must be an integer"),
    ({"rounds": 0}, ValueError, "rounds must be at least 1"),
    ({"folds": 1}, ValueError, "folds must be 0 or at least 2"),
    ({"minimum": (1, 2, 3)}, ValueError, "minimum must have one entry a level, 2; got 3"),
    ({"minimum": 0}, ValueError, "minimum must be at least 1"),
    ({"on_failure": "ignore"}, ValueError, "on_failure must be one of"),
    ({"max_failed": 2}, ValueError, "max_failed must be"),
    ({"progress": 1}, TypeError, "progress must be bool"),
    ({"x_o": "here"}, TypeError, "x_o must be a NumPy array"),
    ({"x_o": [math.nan, 0.0]}, ValueError, "x_o must be finite"),
    ({"store": ""}, ValueError, "path must not be empty"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=lambda v: str(v)[:30])
def test_bad_input_is_refused_before_anything_runs(runs, change, error, words):
    arguments = {"hierarchy": ladder(), "budget": 400, "seed": 5} | QUICK | change
    with pytest.raises(error, match=words):
        mlsbi.infer(arguments.pop("hierarchy"), **arguments)
    assert runs.rows == 0


@pytest.mark.parametrize("x_o", [torch.zeros(3), torch.zeros(2, 2)], ids=str)
def test_an_observation_of_another_shape_is_refused_after_the_pilot(runs, x_o):
    with pytest.raises(ValueError, match="x_o must"):
        mlsbi.infer(ladder(), budget=400, seed=5, x_o=x_o, **QUICK)
    assert runs.rows == 20  # the pilot
