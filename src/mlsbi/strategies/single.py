"""Single-level training: neural posterior or likelihood estimation on one level's runs."""

from __future__ import annotations

from dataclasses import dataclass

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.problem import Objective, Problem, Term
from mlsbi.strategies.base import Strategy
from mlsbi.training import StageResult, train

__all__ = ["SingleLevel"]


@dataclass(frozen=True)
class SingleLevel(Strategy):
    """NPE or NLE on the runs of one level alone; the baseline that multilevel has to beat.

    Attributes:
        level: Which level; -1 is the most faithful one, as in Python's indices.

    References:
        Papamakarios and Murray (2016), arXiv:1605.06376; Papamakarios et al. (2019),
        arXiv:1805.07226.
    """

    level: int = -1

    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """Minimise the mean of -log q over the level's runs."""
        term = Term(range(len(problem.levels))[self.level])
        return train(density, Objective((term,), (term,)), problem)
