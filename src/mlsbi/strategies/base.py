"""What every strategy is: a frozen dataclass that trains a density on a `Problem`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from mlsbi._checks import check_type
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.history import Status
from mlsbi.options import Training
from mlsbi.problem import Problem
from mlsbi.training import StageResult

__all__ = ["Strategy", "joined"]


@dataclass(frozen=True)
class Strategy(ABC):
    """How the levels' data are combined in training.

    A strategy sees rows in the network's units and a density of k members; it knows nothing of
    simulators, files or plots. With one level every strategy is exactly single-level training.

    Attributes:
        training: Options of the loop that this strategy wants; None: those given to the fit.
    """

    training: Training | None = None

    def __post_init__(self) -> None:
        """Check `training`.

        Raises:
            TypeError: `training` is no `Training`.
        """
        if self.training is not None:
            check_type(self.training, Training, name="training", remedy="Use mlsbi.Training(...).")

    @property
    def statistics(self) -> str:
        """Which statistics put x into the network's units; see `Multilevel.standardise`."""
        return "pooled"

    @abstractmethod
    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """Train `density` in place; return how it ended and the history."""


def joined(stages: Sequence[StageResult]) -> StageResult:
    """Several stages as one result: all rows, and the status that most needs attention."""
    order = list(Status)
    worst = max((s.status for s in stages), key=order.index)
    return StageResult(worst, tuple(row for stage in stages for row in stage.rows))
