"""What every strategy is: a frozen dataclass that solves a `Problem`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mlsbi._checks import check_type
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Part
from mlsbi.history import Status
from mlsbi.options import Training
from mlsbi.problem import Problem
from mlsbi.training import StageResult

__all__ = ["Solution", "Strategy", "joined"]


@dataclass(frozen=True)
class Solution:
    """What a strategy made of a problem.

    Attributes:
        density: The trained density; `union(...)` of several where there are several parts.
        blueprint_parts: What it takes to build the density again, a part for each density in it.
        status: How the training ended.
        rows: The history, a row an evaluation.
        weights: Of the members in the mixture, `(members,)`, with sum 1; None: equal ones.
        unseen: Whether held-out runs had no part in it, not even in when to stop.
        held_out: Log densities of held-out runs, `(m,)`, to weigh it by, where it has been touched
            by them since; None: those of the density as it is.
        scale: By which the mixture is stretched about its centre, in the network's units.
    """

    density: ConditionalDensity
    blueprint_parts: tuple[Part, ...]
    status: Status
    rows: tuple[dict[str, float], ...]
    weights: Tensor | None = None
    unseen: bool = False
    held_out: Tensor | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Strategy:
    """How the levels' data are combined in training.

    A strategy sees rows in the network's units and a density of k members; it knows nothing of
    simulators, files or plots. With one level every strategy is exactly single-level training.

    A strategy that trains one density of the kind asked for supplies `train`; any other overrides
    `solve`.

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

    @property
    def compress(self) -> str | bool:
        """Whether it works on learned summaries of x: True, False, or "auto", where x is large."""
        return False

    @property
    def default_training(self) -> Training:
        """Options of the loop where neither the strategy nor the fit was given any."""
        return Training()

    @property
    def uses_low_levels(self) -> bool:
        """Whether it learns from other levels than L."""
        return True

    def check(self, levels: int) -> None:  # noqa: B027  most have nothing to check
        """Check the options against the number of levels, before any work is done."""

    def solve(self, problem: Problem) -> Solution:
        """Build what the problem needs, train it, and say how to build it again."""
        density = problem.build(seed=problem.density_seed)
        result = self.train(density, problem)
        return Solution(density, (Part(None, density.members),), result.status, result.rows)

    def within(self, problem: Problem) -> Solution:
        """Solve as part of another strategy.

        Its own options of the loop hold, else those given to the fit, else its default ones: not
        those that the other strategy would train with.
        """
        training = self.training
        if training is None:
            training = problem.training if problem.training_given else self.default_training
        given = problem.training_given or self.training is not None
        return self.solve(replace(problem, training=training, training_given=given))

    def train(self, density: ConditionalDensity, problem: Problem) -> StageResult:
        """Train `density` in place; return how it ended and the history.

        Raises:
            NotImplementedError: The strategy trains more than one density; use `solve`.
        """
        raise NotImplementedError(f"{type(self).__name__} supplies neither train nor solve")


def joined(stages: Sequence[StageResult]) -> StageResult:
    """Several stages as one result: all rows, and the status that most needs attention."""
    worst = Status.worst(s.status for s in stages)
    return StageResult(worst, tuple(row for stage in stages for row in stage.rows))
