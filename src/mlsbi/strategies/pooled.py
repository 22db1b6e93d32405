"""Pooling: one network learns from the runs of all levels at once and sees which level each is of.

    loss = 1 / (n_0 + ... + n_L) sum_l sum_(runs of level l) -log q(. | ., l / L)

It is evaluated at l / L = 1. What the levels have in common is learned from all runs; how they
differ has to be told from the runs of each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Part
from mlsbi.estimators.level_input import with_level
from mlsbi.problem import LevelRows, Objective, Problem, Term
from mlsbi.strategies.base import Solution, Strategy
from mlsbi.training import StageResult, train

__all__ = ["Pooled"]


@dataclass(frozen=True)
class Pooled(Strategy):
    """One density of all levels, with l / L as one more input beside the (embedded) context.

    Every run counts once, so that a level weighs as many runs as it has; each step sees up to
    `Training.batch_size` rows of each level, and the held-out runs of level L decide when to stop.
    Needs no coupling: it reads the fine member of each pair only.

    It hurts where cheap runs are many and differ from level L's: they make up nearly all of the
    loss, and from few expensive runs the network learns neither the difference nor when to leave
    the cheap levels' answer. It pays where the levels differ by little or in a simple way.
    """

    def solve(self, problem: Problem) -> Solution:
        """Train a density that sees the level; with one level there is none to see."""
        top = len(problem.levels) - 1
        if top == 0:
            return super().solve(problem)
        told = tuple(
            LevelRows(rows.value, with_level(rows.context, level / top))
            for level, rows in enumerate(problem.levels)
        )
        density = problem.build(seed=problem.density_seed, level_input=True)
        result = self.train(density, replace(problem, levels=told))
        parts = (Part(None, density.members, level_input=True),)
        return Solution(density, parts, result.status, result.rows)

    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """Minimise the mean of -log q over all levels' runs, stopping on level L's."""
        n = [len(rows) for rows in problem.levels]
        terms = tuple(Term(level, weight=count / sum(n)) for level, count in enumerate(n))
        return train(density, Objective(terms, (Term(len(n) - 1),)), problem)
