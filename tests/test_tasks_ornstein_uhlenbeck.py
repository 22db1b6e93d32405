"""The Ornstein-Uhlenbeck task: exact references against the simulator itself and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from mlsbi.tasks import Task, ornstein_uhlenbeck
from mlsbi.tasks._ornstein_uhlenbeck_exact import log_evidence

RECORDED = [0, 3, 9, 31, 99]


@pytest.fixture(params=[3, 4])
def task(request: pytest.FixtureRequest) -> Task:
    return ornstein_uhlenbeck(request.param)


def pairs(task: Task, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    theta, u = task.hierarchy.draw(n, torch.Generator().manual_seed(seed))
    return theta, task.hierarchy.levels[1].run(theta, u)


def test_exact_likelihood_is_that_of_the_simulators_linear_map(task: Task) -> None:
    """The path is linear in its noise, so running unit noises gives its exact moments."""
    thetas, x = pairs(task, 5)
    for theta, row in zip(thetas.split(1), x.split(1), strict=True):
        noise = torch.cat([torch.zeros(1, 100), torch.eye(100)]).double()
        runs = task.hierarchy.levels[1].run(theta.expand(101, -1), noise).double()
        mean, gain = runs[0], (runs[1:] - runs[0]).T
        law = MultivariateNormal(mean, gain @ gain.T)
        exact = float(task.reference_likelihood(theta, row))
        assert exact == pytest.approx(float(law.log_prob(row.double())), abs=0.02)


def test_path_moments_are_those_of_many_runs() -> None:
    task, n = ornstein_uhlenbeck(3), 20_000
    theta = torch.tensor([[0.5, 1.0, 0.4]])
    _, u = task.hierarchy.draw(n, torch.Generator().manual_seed(0))
    x = task.hierarchy.levels[1].run(theta.expand(n, -1), u).double()
    decay = 0.95 ** (torch.tensor(RECORDED, dtype=torch.float64) + 1)
    variance = 0.4**2 * 0.1 * (1 - decay.square()) / (1 - 0.95**2)
    assert bool(((x.mean(0) - (1 + decay)).abs() < 4 * (variance / n).sqrt()).all())
    assert bool(((x.var(0) / variance - 1).abs() < 4 * math.sqrt(2 / n)).all())


def test_coarse_level_is_stationary_with_the_same_noise(task: Task) -> None:
    theta, u = task.hierarchy.draw(10, torch.Generator().manual_seed(0))
    gamma, mu, sigma = theta[:, :3, None].double().unbind(1)
    expected = mu + sigma / (2 * gamma).sqrt() * u[:, RECORDED]
    assert torch.allclose(task.hierarchy.levels[0].run(theta, u).double(), expected, atol=1e-6)


def test_exact_posterior_integrates_to_one(task: Task) -> None:
    """By Monte Carlo over the box, which knows nothing of the quadrature; -inf outside."""
    _, x = pairs(task, 3, seed=1)
    theta = task.hierarchy.prior.sample(200_000, torch.Generator().manual_seed(2))
    volume = float((task.hierarchy.prior.high - task.hierarchy.prior.low).prod())
    for row in x.split(1):
        values = volume * task.reference_posterior(theta, row).exp()
        error = float(values.std()) / math.sqrt(len(values))
        assert error < 0.1
        assert abs(float(values.mean()) - 1) < 4 * error
    outside = theta[:3].clone()
    outside[:, 2] = 5.0
    assert bool((task.reference_posterior(outside, x) == -math.inf).all())


def test_quadrature_has_converged(task: Task) -> None:
    _, x = pairs(task, 100, seed=3)
    low, high = task.hierarchy.prior.low, task.hierarchy.prior.high
    coarse, fine = (
        log_evidence(x.double(), low=low, high=high, x0=2.0, num_nodes=num) for num in (40, 64)
    )
    assert float((coarse - fine).abs().max()) < 1e-6


def test_exact_posterior_reaches_its_known_nlpd() -> None:
    """-1.479 was measured on about 500 other pairs, so both runs' standard errors count."""
    task = ornstein_uhlenbeck(3)
    theta, x = pairs(task, 2000, seed=4)
    log_prob = task.reference(theta, x)
    spread = float(log_prob.std())
    error = spread * math.sqrt(1 / len(x) + 1 / 500)
    assert abs(-float(log_prob.mean()) + 1.479) < 3 * error


def test_reference_refuses_what_does_not_match(task: Task) -> None:
    theta, x = pairs(task, 3)
    with pytest.raises(ValueError, match="x must have shape"):
        task.reference(theta, x[:2])
    with pytest.raises(ValueError, match="theta must have shape"):
        task.reference(theta[:, :2], x)
