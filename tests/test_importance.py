"""Posteriors of likelihoods by importance sampling, against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from mlsbi.checking.importance import Weighted, weighted_posterior
from mlsbi.prior import as_prior


class Linear:
    """x = A theta + noise; the evidence is known under a standard normal prior."""

    def __init__(self, d: int, noise: float, prior: Any = None) -> None:
        normal = Independent(Normal(torch.zeros(d), torch.ones(d)), 1)
        self.prior = as_prior(normal if prior is None else prior)
        generator = torch.Generator().manual_seed(5)
        self.a = torch.eye(d) + 0.3 * torch.randn(d, d, generator=generator)
        self.noise, self.calls = noise, 0

    def runs(self, n: int) -> Tensor:
        theta = self.prior.sample(n, torch.Generator().manual_seed(1))
        noise = torch.randn(theta.shape, generator=torch.Generator().manual_seed(2))
        return theta @ self.a.T + self.noise * noise

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        self.calls += len(theta)
        return Normal(theta @ self.a.T, self.noise).log_prob(x).sum(-1)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        a = self.a.double()
        precision = torch.eye(len(a)).double() + a.T @ a / self.noise**2
        mean = torch.linalg.solve(precision, a.T @ x.double().T / self.noise**2).T
        return MultivariateNormal(mean, precision_matrix=precision)

    def log_evidence(self, x: Tensor) -> Tensor:
        a = self.a.double()
        covariance = a @ a.T + self.noise**2 * torch.eye(len(a)).double()
        return MultivariateNormal(torch.zeros(len(a)).double(), covariance).log_prob(x.double())


def off_by(found: Weighted, exact: Tensor) -> tuple[float, float]:
    """Error of the log evidence over runs: its mean in standard errors, and its spread."""
    error = found.log_evidence - exact
    return float(error.mean() / error.std() * len(error) ** 0.5), float(error.std())


@pytest.mark.parametrize(("d", "noise"), [(1, 0.3), (3, 0.05), (5, 0.05)])
def test_evidence_and_moments_are_those_of_the_closed_form(d: int, noise: float) -> None:
    fit = Linear(d, noise)
    x = fit.runs(40)
    found = weighted_posterior(fit, x, 500, seed=0)
    assert bool((found.effective >= 250).all())
    bias, spread = off_by(found, fit.log_evidence(x))
    assert abs(bias) < 4
    assert spread < 0.15
    exact = fit.posterior(x)
    z = (found.theta.double().mean(0) - exact.mean) / exact.stddev
    assert float(z.square().mean()) < 2 / 250  # each mean is of 250 effective draws at least
    # a mean over 40 runs of variances that are off by sqrt(2 / 250) each
    ratio = (found.theta.double().var(0) / exact.variance).mean()
    assert float(ratio) == pytest.approx(1, abs=4 * (2 / 250 / 40) ** 0.5)


def test_few_rounds_for_a_wide_posterior_and_more_for_a_narrow_one() -> None:
    wide, narrow = Linear(1, 1.0), Linear(4, 0.05)
    for fit in (wide, narrow):
        weighted_posterior(fit, fit.runs(20), 400, seed=0)
    assert wide.calls < 1.5 * 20 * 400
    assert 2 * wide.calls < narrow.calls < 12 * 20 * 400


def test_draws_stay_inside_the_support() -> None:
    fit = Linear(2, 0.05, BoxUniform(-torch.ones(2), torch.ones(2)))
    edge = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]) @ fit.a.T + 0.1
    found = weighted_posterior(fit, edge, 300, seed=0)
    assert bool((found.theta.abs() < 1).all())
    assert float(found.theta[:, 0].mean()) > 0.8


class Square:
    """x = theta^2 + noise: two modes, of equal mass."""

    def __init__(self) -> None:
        self.prior = as_prior(BoxUniform(-2 * torch.ones(1), 2 * torch.ones(1)))

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return Normal(theta**2, 0.01).log_prob(x).sum(-1)


def test_two_narrow_modes_are_found_and_balanced() -> None:
    found = weighted_posterior(Square(), torch.full((50, 1), 1.0), 400, seed=0)
    right = (found.theta[..., 0] > 0).double().mean(0)
    assert bool((found.theta.abs() - 1).abs().lt(0.1).all())
    assert float(right.mean()) == pytest.approx(0.5, abs=4 * (0.25 / 200 / 50) ** 0.5)
    assert float(right.min()) > 0.3
    # evidence: two normal peaks of slope 2, over the prior's width 4
    assert float(found.log_evidence.mean().exp()) == pytest.approx(0.25, rel=0.03)


def test_the_same_seed_gives_the_same_draws() -> None:
    fit = Linear(2, 0.2)
    x = fit.runs(3)
    first, again, other = (weighted_posterior(fit, x, 100, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.theta, again.theta)
    assert torch.equal(first.log_evidence, again.log_evidence)
    assert not torch.equal(first.theta, other.theta)


def test_what_cannot_be_sampled_well_says_so() -> None:
    fit = Linear(20, 0.001)
    found = weighted_posterior(fit, fit.runs(2), 50, seed=0)
    assert bool((found.effective < 50).all())


class Impossible(Square):
    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return torch.full((len(theta),), torch.nan)


def test_an_impossible_x_is_named() -> None:
    with pytest.raises(ValueError, match="at row 0 the likelihood is zero or no number"):
        weighted_posterior(Impossible(), torch.zeros(2, 1), 50, seed=0)
