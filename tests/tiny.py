"""Small data sets and trainings that several test files share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import Distribution

from mlsbi import MultilevelData, Training
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.transforms import Support
from mlsbi.parameters import Parameters
from mlsbi.prior import as_prior
from mlsbi.problem import LevelRows, Problem

D = 2


def box(dim: int = D) -> BoxUniform:
    return BoxUniform(-torch.ones(dim), torch.ones(dim))


def linear_data(
    n: tuple[int, ...] = (60, 24),
    *,
    seed: int = 0,
    prior: Distribution | None = None,
    event: tuple[int, ...] = (3,),
    costs: list[float] | None = None,
) -> MultilevelData:
    """x = A theta + 0.3 u, a bias of 0.3 / (level + 1) off the truth; pairs share theta and u."""
    generator = torch.Generator().manual_seed(seed)
    size = int(torch.tensor(event).prod())
    mixing = torch.linspace(-1, 1, D * size).reshape(D, size)

    def run(theta: Tensor, u: Tensor, level: int) -> Tensor:
        return (theta @ mixing + 0.3 * u + 0.3 / (level + 1)).reshape(len(theta), *event)

    levels = []
    for level, rows in enumerate(n):
        theta = torch.rand(rows, D, generator=generator) * 1.8 - 0.9
        if prior is not None:  # any support that has (0, 2) in it
            theta = (theta + 0.9).clamp(0.01)
        u = torch.randn(rows, size, generator=generator)
        coarse = [run(theta, u, level - 1)] if level else []
        levels.append((theta, *coarse, run(theta, u, level)))
    return MultilevelData.from_arrays(prior or box(), levels, costs=costs)


def tiny(**options: object) -> Training:
    """A training that ends in well under a second."""
    defaults = {"max_steps": 30, "evaluate_every": 5, "learning_rate": 3e-3, "warmup": 0}
    return Training(**(defaults | options))  # type: ignore[arg-type]


def unbuilt(**_: object) -> ConditionalDensity:
    raise AssertionError("a problem of rows alone builds no density")


def problem_of_rows(
    levels: tuple[LevelRows, ...],
    train_rows: tuple[Tensor, ...],
    training: Training,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> Problem:
    """Posterior training on `levels` as they are, of a density that the test brings."""
    prior = as_prior(box())
    parameters = Parameters(prior, Support.fit(prior.low, prior.high, torch.zeros(1, D)))
    return Problem(
        levels, train_rows, training, seed, "posterior", parameters, unbuilt, checkpoint=checkpoint
    )


def posterior_builder(theta: Tensor, x: Tensor) -> Any:
    """A user's own builder of an sbi estimator of theta."""
    from sbi.neural_nets import posterior_nn

    made = posterior_nn("made", hidden_features=6, z_score_theta="none", z_score_x="none")
    return made(theta, x)


def likelihood_builder(theta: Tensor, x: Tensor) -> Any:
    """The same of x."""
    from sbi.neural_nets import likelihood_nn

    made = likelihood_nn("made", hidden_features=6, z_score_theta="none", z_score_x="none")
    return made(theta, x)


BUILDERS = {"posterior": posterior_builder, "likelihood": likelihood_builder}
