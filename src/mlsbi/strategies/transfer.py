"""Transfer learning: train on the cheapest level, fine-tune on each next one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlsbi._checks import check_positive
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.problem import Objective, Problem, Term
from mlsbi.strategies.base import Strategy, joined
from mlsbi.training import StageResult, train

__all__ = ["Transfer"]


@dataclass(frozen=True)
class Transfer(Strategy):
    """Pre-train on level 0, then fine-tune on levels 1 to L in order, stopping early on each.

    Needs no coupling: it reads the fine member of each pair only.

    Attributes:
        rate: Learning rate of the fine-tuning stages, as a multiple of the first stage's.

    References:
        Krouglova et al. (2025), arXiv:2502.08416.
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        """Check the rate.

        Raises:
            TypeError: `rate` is no number, or `training` no `Training`.
            ValueError: `rate` is not positive.
        """
        super().__post_init__()
        check_positive(self.rate, name="rate")

    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """One stage a level."""
        training = problem.training
        later = replace(training, learning_rate=training.learning_rate * self.rate)
        stages = []
        for level in range(len(problem.levels)):
            term = Term(level)
            options = training if level == 0 else later
            objective = Objective((term,), (term,))
            stages.append(train(density, objective, problem.with_training(options), stage=level))
        return joined(stages)
