"""The bridge: learn how a level's run follows from the cheaper one, and draw level L's for free.

    x_0 ~ p(x_0 | theta),    x_l ~ p(x_l | x_(l-1), theta)  for l = 1 .. L

The first is what the cheap runs show; the others are learned from the coupled pairs, which tell
much: given its cheap twin and theta, an expensive run holds few surprises. Any number of cheap
draws, pushed up step by step, become draws of level L, and the density is trained on those.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlsbi._checks import check_count, check_option, check_type
from mlsbi._random import derive_seed, make_generator
from mlsbi.bridge.cheap import CheapLevel
from mlsbi.bridge.final import corrected, train_on_draws
from mlsbi.bridge.ladder import learn_ladder
from mlsbi.bridge.synthetic import SyntheticRows
from mlsbi.options import Training
from mlsbi.problem import Problem
from mlsbi.strategies.base import Solution, Strategy
from mlsbi.strategies.single import SingleLevel

__all__ = ["ON_DRAWS", "Bridge"]

ON_DRAWS = Training(learning_rate=1.5e-2, max_steps=1600, warmup=100)
"""Options of a training that has as many draws as it likes."""


@dataclass(frozen=True)
class Bridge(Strategy):
    """Train on synthetic runs of level L, made of cheap draws by a bridge that the pairs teach.

    Attributes:
        draws: Where the cheap draws come from. "real": level 0's runs. "emulated": a mixture
            density of x_0 given theta, fitted to those runs. "both": half and half.
        num_draws: Emulated draws, and the most of the real ones.
        compress: Replace x by a summary learned at level 0: True, False, or "auto", where x has
            more than 12 numbers, an event shape, or another shape at each level.
        inflate: Widen the bridge's noise by what pairs that it did not see show.
        crossfit: Member e of the ensemble does not see fold e of the pairs, so that its density of
            those runs is honest. False: all members see all pairs.
        clamp: Keep emulated draws near the range of the cheap runs.
        correct: Go on with the real runs of level L in place of what the bridge makes of the same
            pairs, and keep that where it makes unseen runs more likely (a de-biased bridge).
    """

    draws: str = "both"
    num_draws: int = 10_000
    compress: str | bool = "auto"
    inflate: bool = True
    crossfit: bool = True
    clamp: bool = True
    correct: bool = True

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            TypeError: A switch is no bool, or a number no integer.
            ValueError: An option is none of those allowed.
        """
        super().__post_init__()
        check_option(self.draws, name="draws", allowed=("both", "real", "emulated"))
        check_count(self.num_draws, name="num_draws")
        check_compress(self.compress)
        for name in ("inflate", "crossfit", "clamp", "correct"):
            check_type(getattr(self, name), bool, name=name, remedy="Pass True or False.")

    @property
    def default_training(self) -> Training:
        """As many draws as one likes: a high learning rate that falls to zero."""
        return ON_DRAWS

    def solve(self, problem: Problem) -> Solution:
        """Fit the steps, make the draws, and train on them."""
        if len(problem.levels) == 1 or all(r.identical_pair for r in problem.levels[1:]):
            # Nothing to bridge: level 0's runs are level L's.
            return SingleLevel(level=0).solve(problem)
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


def check_compress(value: object) -> None:
    """Check an option `compress`.

    Raises:
        TypeError: It is neither a bool nor a word.
        ValueError: It is another word than "auto".
    """
    check_type(value, (bool, str), name="compress", remedy="Pass 'auto', True or False.")
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"compress must be 'auto', True or False; got {value!r}")


def _some_rows(n: int, most: int, seed: int) -> torch.Tensor:
    """All rows, or as many as wanted at random."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=make_generator(seed, "some rows"))[:most]
