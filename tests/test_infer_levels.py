"""Adaptive runs with some of the levels: which, at what cost, and that a resumed run keeps them."""

from __future__ import annotations

import pytest
import torch

import mlsbi
from infer_ladder import QUICK, Runs, know_needs, ladder
from mlsbi.planning.pilot import Pilot
from mlsbi.planning.subsets import Choices

COSTS = (1.0, 3.0, 9.0)
CALL = QUICK | {"budget": 1500.0, "seed": 4, "folds": 0}


@pytest.fixture
def runs(monkeypatch):
    know_needs(monkeypatch)
    return Runs(monkeypatch)


def recommend(monkeypatch, levels):
    """A pilot that recommends these levels."""
    usual = Pilot.choose_levels

    def choose(self, budget, **options):
        found = usual(self, budget, **options)
        best = next(choice for choice in found if choice.levels == levels)
        monkeypatch.setattr(Choices, "best", property(lambda _: best))
        return found

    monkeypatch.setattr(Pilot, "choose_levels", choose)


def test_levels_of_ones_own(runs):
    made = mlsbi.infer(ladder(COSTS), levels=[0, 2], **CALL)
    assert made.levels == (0, 2)
    assert made.data.costs == (1.0, 9.0)
    assert made.pilot.cost == 10 * sum(COSTS)  # all levels were run for it
    assert runs.spent == pytest.approx(made.spent)
    assert CALL["budget"] - 1 < made.spent <= CALL["budget"]
    assert torch.equal(made.data.x_coarse(1)[:8], made.pilot.columns.x[0])
    assert "Of the hierarchy's levels [0, 2] were used." in str(made)
    assert any("[0, 2]" in note for note in made.table().notes)
    every = mlsbi.infer(ladder(COSTS), levels="all", **CALL)
    assert (every.levels, every.data.num_levels) == ((0, 1, 2), 3)
    assert "were used" not in str(every)


@pytest.mark.parametrize("levels", [(0, 2), (1, 2), (2,), (0, 1, 2)])
def test_what_the_pilot_recommends_is_used(runs, monkeypatch, levels):
    recommend(monkeypatch, levels)
    made = mlsbi.infer(ladder(COSTS), **CALL)
    assert made.levels == levels
    assert made.data.costs == tuple(COSTS[level] for level in levels)
    assert runs.spent == pytest.approx(made.spent)
    assert len(made.rounds) == 3


def test_levels_that_cannot_be_compared_are_all_kept(runs, monkeypatch):
    def refuse(self, budget, **options):
        raise ValueError("shapes")

    monkeypatch.setattr(Pilot, "choose_levels", refuse)
    assert mlsbi.infer(ladder(COSTS), **CALL).levels == (0, 1, 2)


def test_a_larger_budget_keeps_the_levels(runs, monkeypatch, tmp_path):
    recommend(monkeypatch, (0, 2))
    first = mlsbi.infer(ladder(COSTS), store=tmp_path / "s", **CALL)
    recommend(monkeypatch, (1, 2))
    runs.clear()
    again = mlsbi.infer(ladder(COSTS), store=tmp_path / "s", **CALL)
    assert (again.levels, runs.rows) == ((0, 2), 0)
    more = mlsbi.infer(ladder(COSTS), store=tmp_path / "s", **CALL | {"budget": 3000.0})
    assert (first.levels, more.levels) == ((0, 2), (0, 2))
    with pytest.raises(ValueError, match="levels was auto, now all"):
        mlsbi.infer(ladder(COSTS), store=tmp_path / "s", levels="all", **CALL)


def test_a_minimum_is_that_of_the_levels_kept(runs):
    made = mlsbi.infer(ladder(COSTS), levels=[1, 2], minimum=(300, 90, 40), **CALL)
    assert made.data.n[0] >= 90
    assert made.data.n[1] >= 40


@pytest.mark.parametrize(
    ("levels", "error", "words"),
    [
        ("some", ValueError, "levels must be one of"),
        ([0, 1], ValueError, "must be ascending and end with the finest, 2"),
        ([2, 0], ValueError, "must be ascending"),
        ([], ValueError, "must be ascending"),
        ([0, 3], ValueError, "level"),
        (2, TypeError, "levels must be"),
        ([0.0, 2.0], TypeError, "level"),
    ],
)
def test_bad_levels(levels, error, words):
    with pytest.raises(error, match=words):
        mlsbi.infer(ladder(COSTS), levels=levels, **CALL)
