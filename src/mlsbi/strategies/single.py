"""Single-level training: neural posterior or likelihood estimation on one level's runs."""

from __future__ import annotations

from dataclasses import dataclass

from mlsbi._checks import check_count
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

    def __post_init__(self) -> None:
        """Check the level; whether the data have it is known when training starts.

        Raises:
            TypeError: `level` is no integer.
            ValueError: `level` is below -1.
        """
        super().__post_init__()
        check_count(self.level, name="level", minimum=-1)

    @property
    def uses_low_levels(self) -> bool:
        """Only if it is told to learn from one."""
        return self.level != -1

    def check(self, levels: int) -> None:
        """Whether there is such a level.

        Raises:
            ValueError: There is not.
        """
        if self.level >= levels:
            raise ValueError(
                f"level must be one of the data's, 0 .. {levels - 1}, or -1 for the last; got "
                f"{self.level}. Pass SingleLevel(level=-1)."
            )

    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """Minimise the mean of -log q over the level's runs.

        Raises:
            ValueError: The data have no such level.
        """
        count = len(problem.levels)
        self.check(count)
        term = Term(range(count)[self.level])
        return train(density, Objective((term,), (term,)), problem)
