"""Fits whose densities are known: the linear-Gaussian ladder's own, right or wrong on purpose."""

from __future__ import annotations

from typing import Any

import torch
from scipy.stats import kstest
from torch import Tensor
from torch.distributions import MultivariateNormal

from linear_gaussian import Ladder, normal_prior
from mlsbi.prior import as_prior
from mlsbi.results import LikelihoodFit

LADDER = Ladder()


def runs(n: int, *, seed: int, prior: Any = None) -> tuple[Tensor, Tensor]:
    """theta and x of the top level, each `(n, 2)`."""
    generator = torch.Generator().manual_seed(seed)
    theta = as_prior(normal_prior() if prior is None else prior).sample(n, generator)
    return theta, LADDER.run(1, theta, torch.randn(n, 2, generator=generator))


def _draw(law: MultivariateNormal, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(n, *law.mean.shape, generator=generator, dtype=torch.float64)
    return law.mean + (law.scale_tril @ normal[..., None])[..., 0]


class ExactPosterior:
    """The posterior, its widths times `scale`, its mean off by `shift` standard deviations."""

    def __init__(self, *, scale: float = 1.0, shift: float = 0.0) -> None:
        self.prior = as_prior(normal_prior())
        self.event_shape = (2,)
        self.scale, self.shift = scale, shift

    def _law(self, x: Tensor) -> MultivariateNormal:
        true = LADDER.posterior(x)
        return MultivariateNormal(
            true.mean + self.shift * true.stddev, true.covariance_matrix * self.scale**2
        )

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return self._law(x).log_prob(theta.double())

    def sample_batched(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        return _draw(self._law(x), n, seed)


class ExactLikelihood(LikelihoodFit):
    """The likelihood, its widths times `scale`, under some prior."""

    summary = None
    theta_dim = 2

    def __init__(self, prior: Any = None, *, scale: float = 1.0) -> None:
        own = {"prior": as_prior(prior or normal_prior()), "event_shape": (2,), "widths": scale}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def _law(self, theta: Tensor) -> MultivariateNormal:
        true = LADDER.likelihood(theta)
        return MultivariateNormal(true.mean, true.covariance_matrix * self.widths**2)

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return self._law(theta).log_prob(x.double())

    def sample_batched(self, n: int, *, theta: Tensor, seed: int) -> Tensor:
        return _draw(self._law(theta), n, seed)


def p_uniform(ranks: Tensor) -> float:
    """Smallest p-value of the columns, times their number (Bonferroni)."""
    columns = ranks.reshape(len(ranks), -1).T
    return min(float(kstest(c.numpy(), "uniform").pvalue) for c in columns) * len(columns)
