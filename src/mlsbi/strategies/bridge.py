"""The bridge: learn how a level's run follows from the cheaper one, and draw level L's for free.

    x_0 ~ p(x_0 | theta),    x_l ~ p(x_l | x_(l-1), theta)  for l = 1 .. L

The first is what the cheap runs show; the others are learned from the coupled pairs, which tell
much: given its cheap twin and theta, an expensive run holds few surprises. Any number of cheap
draws, pushed up step by step, become draws of level L, and the density is trained on those.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlsbi._checks import check_option
from mlsbi._random import derive_seed, make_generator
from mlsbi.bridge.cheap import CheapLevel
from mlsbi.bridge.final import corrected, train_on_draws
from mlsbi.bridge.ladder import learn_ladder
from mlsbi.bridge.synthetic import SyntheticRows
from mlsbi.problem import Problem
from mlsbi.strategies.base import Solution
from mlsbi.strategies.on_draws import OnDraws
from mlsbi.strategies.single import SingleLevel

__all__ = ["Bridge"]


@dataclass(frozen=True)
class Bridge(OnDraws):
    """Train on synthetic runs of level L, made of cheap draws by a bridge that the pairs teach.

    Attributes:
        draws: Where the cheap draws come from. "real": level 0's runs. "emulated": a mixture
            density of x_0 given theta, fitted to those runs. "both": half and half.
        clamp: Keep emulated draws near the range of the cheap runs.
        correct: Go on with the real runs of level L in place of what the bridge makes of the same
            pairs, and keep that where it makes unseen runs more likely (a de-biased bridge).
    """

    draws: str = "both"
    clamp: bool = True
    correct: bool = True

    _switches = (*OnDraws._switches, "clamp", "correct")

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            TypeError: A switch is no bool, or a number no integer.
            ValueError: An option is none of those allowed.
        """
        super().__post_init__()
        check_option(self.draws, name="draws", allowed=("both", "real", "emulated"))

    def solve(self, problem: Problem) -> Solution:
        """Fit the steps, make the draws, and train on them."""
        if len(problem.levels) == 1 or all(r.identical_pair for r in problem.levels[1:]):
            # Nothing to bridge: level 0's runs are level L's.
            return SingleLevel(level=0).within(problem)
        ladder = learn_ladder(problem, inflate=self.inflate, crossfit=self.crossfit)
        sources: list[SyntheticRows] = []
        rows = list(ladder.rows)
        if self.draws != "emulated":
            some = _some_rows(len(problem.levels[0]), self.num_draws, problem.seed)
            theta, x = problem.theta(0)[some], problem.x(0)[some]
            sources.append(ladder.climb(theta, x, seed=derive_seed(problem.seed, "real")))
        if self.draws != "real":
            cheap = CheapLevel.learn(problem, clamp=self.clamp)
            rows += [row | {"stage": -1.0} for row in cheap.result.rows]
            sources.append(ladder.climb(*cheap.draw(self.num_draws), seed=cheap.seed))
        solution = train_on_draws(problem, sources, rows, unseen=self.crossfit)
        if self.correct and self.crossfit and not problem.levels[-1].identical_pair:
            counterparts = ladder.counterparts(seed=derive_seed(problem.seed, "counterparts"))
            solution = corrected(solution, problem, sources, counterparts)
        return solution


def _some_rows(n: int, most: int, seed: int) -> torch.Tensor:
    """All rows, or as many as wanted at random."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=make_generator(seed, "some rows"))[:most]
