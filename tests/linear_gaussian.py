"""A linear-Gaussian hierarchy: everything about it is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from mlsbi import Hierarchy, Level, MultilevelData, simulate

D = 2
_A = torch.tensor([[1.0, 0.4], [-0.3, 0.8]])
_B = torch.tensor([[-0.6, 0.5], [0.7, -0.2]])
_SHIFT = torch.tensor([0.8, -0.5])
_NOISE = 0.5


def normal_prior() -> Independent:
    return Independent(Normal(torch.zeros(D), torch.ones(D)), 1)


def box_prior() -> BoxUniform:
    return BoxUniform(-2 * torch.ones(D), 2 * torch.ones(D))


@dataclass(frozen=True)
class Ladder:
    """x_l = A theta + s u + gap_l (B theta + shift + s u / 2), gap_L = 0 at the top.

    Attributes:
        gap: Of level 0; each next level has half of it, and the top none.
        levels: Their number.
    """

    gap: float = 0.5
    levels: int = 2

    def gap_of(self, level: int) -> float:
        return 0.0 if level == self.levels - 1 else self.gap * 0.5**level

    def run(self, level: int, theta: Tensor, u: Tensor) -> Tensor:
        gap = self.gap_of(level)
        noise = _NOISE * (1 + gap / 2) * u
        return theta @ (_A + gap * _B).T + gap * _SHIFT + noise

    def hierarchy(self, prior: Any = None) -> Hierarchy:
        def simulator(level: int) -> Any:
            return lambda theta, u: self.run(level, theta, u)

        return Hierarchy(
            normal_prior() if prior is None else prior,
            [Level(simulator(level), cost=4.0**level) for level in range(self.levels)],
            noise=lambda n, generator: torch.randn(n, D, generator=generator),
        )

    def data(self, n: tuple[int, ...], *, seed: int, prior: Any = None) -> MultilevelData:
        return simulate(self.hierarchy(prior), n, seed=seed)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """Of the top level under the standard normal prior, at x of shape `(n, 2)`, float64."""
        a = _A.double()
        precision = torch.eye(D).double() + a.T @ a / _NOISE**2
        mean = torch.linalg.solve(precision, a.T @ x.double().T / _NOISE**2).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def likelihood(self, theta: Tensor) -> MultivariateNormal:
        """Of the top level, at theta of shape `(n, 2)`, float64."""
        return MultivariateNormal(theta.double() @ _A.double().T, _NOISE**2 * torch.eye(D).double())

    def rows(self, level: int, shape: tuple[int, ...], *, seed: int, coupled: bool = True) -> Any:
        """(theta, x_coarse or None, x), each `(*shape, 2)`; u drawn apart unless `coupled`."""
        generator = torch.Generator().manual_seed(seed)
        theta, u, other = (torch.randn(*shape, D, generator=generator) for _ in range(3))
        coarse = self.run(level - 1, theta, u if coupled else other) if level else None
        return theta, coarse, self.run(level, theta, u)
