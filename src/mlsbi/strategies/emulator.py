"""The emulator: the bridge's machinery without a lower level; the strong single-level baseline."""

from __future__ import annotations

from dataclasses import dataclass

from mlsbi._random import derive_seed, make_generator
from mlsbi.bridge.final import train_on_draws
from mlsbi.bridge.ladder import learn_ladder
from mlsbi.problem import Problem
from mlsbi.strategies.base import Solution
from mlsbi.strategies.on_draws import OnDraws
from mlsbi.strategies.single import SingleLevel

__all__ = ["Emulator"]


@dataclass(frozen=True)
class Emulator(OnDraws):
    """Train on synthetic runs of level L from a Gaussian process for x_L given theta.

    It uses level L's runs alone (with learned summaries, level 0's to learn the summary), as much
    as few runs can give: what a bridge wins over it is what the low levels are worth. With one
    level it is `SingleLevel`, as every strategy is.
    """

    @property
    def uses_low_levels(self) -> bool:
        """It does not."""
        return False

    def solve(self, problem: Problem) -> Solution:
        """Fit the process, make the draws, and train on them."""
        if len(problem.levels) == 1:
            return SingleLevel().within(problem)
        ladder = learn_ladder(problem, low=False, inflate=self.inflate, crossfit=self.crossfit)
        theta = problem.parameters.sample(
            self.num_draws, make_generator(problem.seed, "emulator", "parameters")
        )
        source = ladder.climb(theta, None, seed=derive_seed(problem.seed, "emulator"))
        return train_on_draws(problem, [source], ladder.rows, unseen=self.crossfit)
