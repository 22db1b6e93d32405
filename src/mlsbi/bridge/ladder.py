"""From cheap draws to synthetic draws of level L: the steps one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlsbi._random import derive_seed, make_generator
from mlsbi.bridge.discrete import Lattice
from mlsbi.bridge.inputs import Inputs
from mlsbi.bridge.step import Step, fit_step
from mlsbi.bridge.synthetic import SyntheticRows
from mlsbi.problem import Problem

__all__ = ["Ladder", "learn_ladder"]


@dataclass(frozen=True)
class Ladder:
    """The steps from a level to L.

    Attributes:
        steps: From the lowest one up; at least one.
        lattice: Values that discrete outputs can take.
        problem: What it was learned from.
    """

    steps: tuple[Step, ...]
    lattice: Lattice
    problem: Problem

    @property
    def rows(self) -> tuple[dict[str, float], ...]:
        """For the history: what each step explained."""
        return tuple(row for step in self.steps for row in step.rows)

    def climb(self, theta: Tensor, x: Tensor | None, *, seed: int) -> SyntheticRows:
        """Push draws through every step; the last one's noise is left to be drawn in each batch.

        Args:
            theta: In the network's units, `(N, d)`.
            x: Of the lowest level, `(N, D)`; None: the one step there is goes from theta alone.
            seed: Of the noise of all steps but the last.

        Returns:
            Rows for each of the k members.
        """
        members = len(self.steps[0].factor)
        covariate = self.problem.parameters.covariate(theta).expand(members, *theta.shape)
        state = None if x is None else x.expand(members, *x.shape)
        for i, step in enumerate(self.steps[:-1]):
            mean, deviation = step.predict(Inputs(covariate, state))
            noise = step.residuals.draw(len(theta), make_generator(seed, "climb", i))
            state = self.lattice.snap(mean + deviation * noise)
        mean, deviation = self.steps[-1].predict(Inputs(covariate, state))
        usable = torch.isfinite(mean).all(2) & torch.isfinite(deviation).all(2)
        if x is not None:
            usable &= torch.isfinite(x).all(1)
        return SyntheticRows(
            theta=theta,
            mean=torch.where(usable.unsqueeze(2), mean, 0.0),
            deviation=torch.where(usable.unsqueeze(2), deviation, 0.0),
            usable=usable,
            noise=self.steps[-1].residuals,
            lattice=self.lattice,
            kind=self.problem.kind,
        )

    def counterparts(self, *, seed: int) -> SyntheticRows:
        """What the last step makes of level L's own pairs; a member draws those it trained on."""
        problem, top = self.problem, len(self.problem.levels) - 1
        last = replace(self, steps=self.steps[-1:])
        rows = last.climb(problem.theta(top), problem.x_coarse(top), seed=seed)
        return replace(rows, usable=rows.usable & problem.train_rows[top])


def learn_ladder(
    problem: Problem, *, low: bool = True, inflate: bool = True, crossfit: bool = True
) -> Ladder:
    """Fit every step that has something to correct.

    Args:
        problem: Rows of all levels.
        low: From level 0 up; False: one step, from theta alone to level L.
        inflate: Widen each step's noise by what held-out rows show.
        crossfit: Member e does not see fold e; False: all members see all pairs, so that nothing
            is held out and nothing is widened.
    """
    top = len(problem.levels) - 1
    levels = [level for level in range(1, top + 1) if not problem.levels[level].identical_pair]
    steps = []
    for level in levels if low else [top]:
        train = problem.train_rows[level]
        steps.append(
            fit_step(
                problem.x(level),
                Inputs(
                    problem.parameters.covariate(problem.theta(level)),
                    problem.x_coarse(level) if low else None,
                ),
                train if crossfit else torch.ones_like(train),
                level=level,
                seed=derive_seed(problem.seed, "step", level),
                inflate=inflate,
            )
        )
    return Ladder(tuple(steps), _lattice(problem), problem)


def _lattice(problem: Problem) -> Lattice:
    """Values of discrete outputs; a likelihood's x stay continuous, as its density is."""
    arrays = [problem.x(level) for level in range(len(problem.levels))]
    if problem.kind == "likelihood":
        return Lattice.none(arrays[0].shape[1])
    arrays += [problem.x_coarse(level) for level in range(1, len(problem.levels))]
    return Lattice.fit(*arrays)
