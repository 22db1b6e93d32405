"""An emulator of level 0: as many cheap draws as one likes, from the cheap runs there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlsbi._random import derive_seed, make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.specs import MDN
from mlsbi.problem import LevelRows, Objective, Problem, Term, folds
from mlsbi.training import StageResult, train

__all__ = ["CheapLevel"]

_MEMBERS = 2
_HELD_OUT = 0.1
_RATE, _MOST_STEPS = 2e-3, 2000
# A mixture's rare draws far outside the runs it has seen ruin what is built on them: the bridge's
# quadratic terms amplify them. Draws stay within the runs' range and this share of it.
_MARGIN = 0.1


@dataclass(frozen=True)
class CheapLevel:
    """Level 0's x given theta, in the network's units.

    Attributes:
        density: Of x_0 given theta's covariates.
        low: Smallest value of each output that is drawn, `(D,)`.
        high: Largest.
        problem: What it was learned from.
        result: How its training ended.
    """

    density: ConditionalDensity
    low: Tensor
    high: Tensor
    problem: Problem
    result: StageResult

    @classmethod
    def learn(cls, problem: Problem, *, clamp: bool = True) -> CheapLevel:
        """Train on level 0's runs, stopping on a tenth of them."""
        problem = problem.scoped("cheap")
        x, theta = problem.x(0), problem.parameters.covariate(problem.theta(0))
        generator = make_generator(problem.seed, "weights")
        density = MDN(components=8).build(
            _MEMBERS,
            x.shape[1],
            theta.shape[1],
            generator=generator,
            dropout=0.0,
            common_dropout=True,
        )
        fraction = None if problem.training.validation_fraction is None else _HELD_OUT
        steps = min(problem.training.max_steps, _MOST_STEPS)
        training = replace(
            problem.training,
            max_steps=steps,
            learning_rate=min(problem.training.learning_rate, _RATE),
            validation_fraction=fraction,
        )
        held = folds(len(x), _MEMBERS, fraction=fraction, generator=generator)
        inner = replace(
            problem, levels=(LevelRows(x, theta),), train_rows=(held,), training=training
        )
        density = density.to(problem.device)
        result = train(density, Objective((Term(0),), (Term(0),)), inner)
        margin = _MARGIN * (x.amax(0) - x.amin(0)) if clamp else torch.inf
        return cls(density, x.amin(0) - margin, x.amax(0) + margin, problem, result)

    @torch.no_grad()
    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Parameters from the prior `(n, d)` and x_0 `(n, D)`, on the CPU."""
        problem, members = self.problem, self.density.members
        rows = -(-n // members)
        theta = problem.parameters.sample(
            members * rows, make_generator(problem.seed, "parameters")
        )
        context = problem.parameters.covariate(theta).reshape(members, rows, -1)
        generator = make_generator(problem.seed, "draws", device=problem.device)
        x = self.density.sample(context.to(problem.device), generator=generator)
        x = torch.maximum(torch.minimum(x.cpu().flatten(0, 1), self.high), self.low)
        return theta[:n], x[:n]

    @property
    def seed(self) -> int:
        """For what is built on these draws."""
        return derive_seed(self.problem.seed, "above")
