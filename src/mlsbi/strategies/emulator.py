"""The emulator: the bridge's machinery without a lower level; the strong single-level baseline."""

from __future__ import annotations

from dataclasses import dataclass

from mlsbi._checks import check_count, check_type
from mlsbi._random import derive_seed, make_generator
from mlsbi.bridge.final import train_on_draws
from mlsbi.bridge.ladder import learn_ladder
from mlsbi.options import Training
from mlsbi.problem import Problem
from mlsbi.strategies.base import Solution, Strategy
from mlsbi.strategies.bridge import ON_DRAWS, check_compress
from mlsbi.strategies.single import SingleLevel

__all__ = ["Emulator"]


@dataclass(frozen=True)
class Emulator(Strategy):
    """Train on synthetic runs of level L from a Gaussian process for x_L given theta.

    It uses level L's runs alone (with learned summaries, level 0's to learn the summary), as much
    as few runs can give: what a bridge wins over it is what the low levels are worth. With one
    level it is `SingleLevel`, as every strategy is.

    Attributes:
        num_draws: Parameters drawn from the prior for training.
        compress: As in `Bridge`.
        inflate: As in `Bridge`.
        crossfit: As in `Bridge`.
    """

    num_draws: int = 10_000
    compress: str | bool = "auto"
    inflate: bool = True
    crossfit: bool = True

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            TypeError: A switch is no bool, or a number no integer.
            ValueError: An option is none of those allowed.
        """
        super().__post_init__()
        check_count(self.num_draws, name="num_draws")
        check_compress(self.compress)
        for name in ("inflate", "crossfit"):
            check_type(getattr(self, name), bool, name=name, remedy="Pass True or False.")

    @property
    def default_training(self) -> Training:
        """As for `Bridge`."""
        return ON_DRAWS

    @property
    def uses_low_levels(self) -> bool:
        """It does not."""
        return False

    def solve(self, problem: Problem) -> Solution:
        """Fit the process, make the draws, and train on them."""
        if len(problem.levels) == 1:
            return SingleLevel().solve(problem)
        ladder = learn_ladder(problem, low=False, inflate=self.inflate, crossfit=self.crossfit)
        theta = problem.parameters.sample(
            self.num_draws, make_generator(problem.seed, "emulator", "parameters")
        )
        source = ladder.climb(theta, None, seed=derive_seed(problem.seed, "emulator"))
        return train_on_draws(problem, [source], ladder.rows, unseen=self.crossfit)
