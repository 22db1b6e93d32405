"""Fits as sbi posteriors, on fits whose posterior is known in closed form."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sbi.diagnostics import check_sbc, run_sbc, run_tarp
from sbi.inference.posteriors import (
    DirectPosterior,
    ImportanceSamplingPosterior,
    MCMCPosterior,
    RejectionPosterior,
    VIPosterior,
)
from sbi.inference.posteriors.base_posterior import NeuralPosterior
from sbi.utils import BoxUniform
from torch import Tensor
from torch.distributions import Independent, LogNormal, Normal

from mlsbi.prior import Prior, as_prior
from mlsbi.sbi_posterior import direct_posterior, likelihood_posterior

S = 0.5  # sd of x given theta: x = theta + S e
D = 2
pytestmark = pytest.mark.filterwarnings(
    "ignore:`.log_prob\\(\\)` is deprecated:UserWarning",
    "ignore:The log-probability is unnormalized:UserWarning",
    "ignore:An x with a batch size:UserWarning",
)


def box() -> Prior:
    return as_prior(BoxUniform(-torch.ones(D), torch.ones(D)))


def gauss() -> Prior:
    return as_prior(Independent(Normal(torch.zeros(D), torch.ones(D)), 1))


@dataclass(frozen=True)
class BoxPosterior:
    """The exact posterior of x = theta + S e under the box prior: a truncated normal."""

    prior: Prior
    event_shape: tuple[int, ...] = (D,)
    theta_dim: int = D

    def _mass(self, x: Tensor) -> tuple[Tensor, Tensor]:
        like = Normal(x, S)
        return like.cdf(-torch.ones(D)), like.cdf(torch.ones(D))

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        x = x.reshape(len(x), D)
        low, high = self._mass(x)
        density = (Normal(x, S).log_prob(theta) - (high - low).log()).sum(-1)
        return torch.where(self.prior.contains(theta.detach()), density, -torch.inf)

    def sample_batched(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        x = x.reshape(len(x), D)
        u = torch.rand(n, *x.shape, generator=torch.Generator().manual_seed(seed))
        low, high = self._mass(x)
        return Normal(x, S).icdf(low + u * (high - low)).clamp(-0.999999, 0.999999)


@dataclass(frozen=True)
class Shifted(BoxPosterior):
    """A wrong posterior, for negative controls."""

    def sample_batched(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        return super().sample_batched(n, x=x + 0.5, seed=seed)


@dataclass(frozen=True)
class GaussLikelihood:
    """x | theta ~ N(theta, S^2), reshaped to the event shape."""

    prior: Prior
    event_shape: tuple[int, ...] = (D,)
    theta_dim: int = D

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return Normal(theta, S).log_prob(x.reshape(len(x), D)).sum(-1)

    def sample_batched(self, n: int, *, theta: Tensor, seed: int) -> Tensor:
        noise = torch.randn(n, *theta.shape, generator=torch.Generator().manual_seed(seed))
        return (theta + S * noise).reshape(n, len(theta), *self.event_shape)


def exact_gauss(x: Tensor) -> tuple[Tensor, float]:
    """Posterior mean and sd under the N(0, 1) prior and i.i.d. rows of x."""
    precision = 1 + len(x) / S**2
    return x.sum(0) / S**2 / precision, precision**-0.5


# the posterior fit


def test_it_is_a_posterior_of_sbi_and_building_it_draws_nothing():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    posterior = direct_posterior(BoxPosterior(box()), torch.zeros(D))
    likelihood = likelihood_posterior(GaussLikelihood(gauss()), torch.zeros(3, D))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert isinstance(posterior, DirectPosterior)
    assert isinstance(likelihood, NeuralPosterior)


def test_log_prob_is_that_of_the_fit_and_draws_nothing():
    fit = BoxPosterior(box())
    x = torch.tensor([0.9, 0.2])
    posterior = direct_posterior(fit, x)
    theta = torch.rand(50, D) * 2.4 - 1.2  # some outside
    state = torch.get_rng_state()
    for at in (None, torch.tensor([-0.8, 0.3])):
        expected = fit.log_prob(theta, (x if at is None else at).expand(50, D))
        assert torch.equal(posterior.log_prob(theta, x=at), expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert expected.isinf().any()
    assert expected.isfinite().any()
    leaky = DirectPosterior.log_prob(posterior, theta, norm_posterior=False)
    assert torch.equal(leaky, posterior.log_prob(theta))


def test_log_prob_batched_pairs_each_x():
    fit = BoxPosterior(box())
    posterior = direct_posterior(fit, torch.zeros(D))
    x = torch.randn(4, D)
    theta = torch.rand(7, 4, D) * 2 - 1
    log_prob = posterior.log_prob_batched(theta, x=x)
    assert log_prob.shape == (7, 4)
    for b in range(4):
        torch.testing.assert_close(log_prob[:, b], fit.log_prob(theta[:, b], x[b].expand(7, D)))


def test_direct_samples_are_exact_and_follow_the_global_seed():
    fit = BoxPosterior(box())
    x, n = torch.tensor([0.9, 0.2]), 4000
    posterior = direct_posterior(fit, x)
    torch.manual_seed(3)
    draws = posterior.sample((n,), show_progress_bars=False)
    torch.manual_seed(3)
    again = posterior.sample((n,), show_progress_bars=False)
    other = posterior.sample((n,), show_progress_bars=False)
    assert torch.equal(draws, again)
    assert not torch.equal(draws, other)
    assert draws.shape == (n, D)
    grid = torch.linspace(-1, 1, 2001)
    weight = Normal(x, S).log_prob(grid[:, None]).exp()
    mean = (weight * grid[:, None]).sum(0) / weight.sum(0)
    error = draws.std(0) / math.sqrt(n)
    assert ((draws.mean(0) - mean).abs() < 4 * error).all()
    wrong = direct_posterior(Shifted(box()), x).sample((n,), show_progress_bars=False)
    assert ((wrong.mean(0) - mean).abs() > 4 * error).any()


def test_direct_sample_shapes():
    posterior = direct_posterior(BoxPosterior(box()), torch.zeros(D))
    assert posterior.sample((), show_progress_bars=False).shape == (1, D)
    assert posterior.sample((5,), x=torch.ones(D), show_progress_bars=False).shape == (5, D)
    draws = posterior.sample_batched((6,), x=torch.randn(3, D), show_progress_bars=False)
    assert draws.shape == (6, 3, D)


def test_direct_map_is_the_mode():
    posterior = direct_posterior(BoxPosterior(box()), torch.tensor([0.3, -0.6]))
    mode = posterior.map(num_iter=150, num_init_samples=100, num_to_optimize=20)
    assert torch.allclose(mode, torch.tensor([[0.3, -0.6]]), atol=0.02)
    edge = direct_posterior(BoxPosterior(box()), torch.tensor([0.3, 1.8]))
    found = edge.map(num_iter=150, num_init_samples=200, num_to_optimize=20)[0]
    assert abs(found[0] - 0.3) < 0.05
    assert 0.9 < found[1] <= 1.0


def test_gradients_reach_theta():
    posterior = direct_posterior(BoxPosterior(box()), torch.tensor([0.5, 0.1]))
    theta = torch.tensor([[0.1, 0.2]], requires_grad=True)
    posterior.log_prob(theta, track_gradients=True).sum().backward()
    assert torch.allclose(theta.grad, (torch.tensor([[0.5, 0.1]]) - theta.detach()) / S**2)


def test_an_x_of_two_axes():
    fit = BoxPosterior(box(), event_shape=(D, 1))
    x = torch.tensor([[0.9], [0.2]])
    posterior = direct_posterior(fit, x)
    flat = direct_posterior(BoxPosterior(box()), x.flatten())
    theta = torch.rand(20, D) * 2 - 1
    assert torch.equal(posterior.log_prob(theta), flat.log_prob(theta))
    assert posterior.sample((4,), show_progress_bars=False).shape == (4, D)
    draws = posterior.sample_batched((4,), x=torch.randn(3, D, 1), show_progress_bars=False)
    assert draws.shape == (4, 3, D)


def calibration(fit, n: int = 150) -> Tensor:
    """The smallest p-value of sbi's SBC over the parameters."""
    posterior = direct_posterior(fit, torch.zeros(D))
    theta = fit.prior.sample(n, torch.Generator().manual_seed(5))
    x = theta + S * torch.randn(n, D)
    ranks, dap = run_sbc(theta, x, posterior, num_posterior_samples=200, show_progress_bar=False)
    stats = check_sbc(ranks, theta, dap, num_posterior_samples=200)
    return stats["ks_pvals"].min()


def test_sbc_of_sbi_passes_and_fails_where_it_should():
    assert calibration(BoxPosterior(box())) > 0.01
    assert calibration(Shifted(box())) < 0.01


def test_other_tools_of_sbi_run():
    posterior = direct_posterior(BoxPosterior(box()), torch.zeros(D))
    theta = box().sample(120, torch.Generator().manual_seed(5))
    x = theta + S * torch.randn(120, D)
    ranks, _ = run_sbc(
        theta,
        x,
        posterior,
        reduce_fns=posterior.log_prob,  # expected coverage
        num_posterior_samples=100,
        show_progress_bar=False,
    )
    assert ranks.shape == (120, 1)
    ecp, alpha = run_tarp(theta, x, posterior, num_posterior_samples=100, show_progress_bar=False)
    assert ecp.shape == alpha.shape
    assert (ecp - alpha).abs().max() < 0.2


def test_pairplot_of_sbi_runs():
    from sbi.analysis import pairplot

    posterior = direct_posterior(BoxPosterior(box()), torch.zeros(D))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib's and sbi's own
        figure, _ = pairplot(posterior.sample((100,), show_progress_bars=False))
    plt.close(figure)


# the likelihood fit

FAST = {"num_chains": 20, "warmup_steps": 30, "thin": 1}


def test_the_potential_sums_over_observations():
    fit = GaussLikelihood(gauss())
    x = torch.randn(5, D) + 0.4
    posterior = likelihood_posterior(fit, x)
    theta = torch.randn(11, D)
    mean, sd = exact_gauss(x)
    exact = Normal(mean, sd).log_prob(theta).sum(-1)
    potential = posterior.potential(theta)
    difference = potential - exact
    torch.testing.assert_close(difference, difference[:1].expand(11), atol=1e-4, rtol=1e-4)
    assert torch.equal(posterior.log_prob(theta), potential)
    one = likelihood_posterior(fit, x[0]).potential(theta) - exact  # negative control: one row
    assert one.std() > 0.1
    direct = gauss().log_prob(theta) + sum(fit.log_prob(theta, row.expand(11, D)) for row in x)
    torch.testing.assert_close(potential, direct)


def test_mcmc_samples_are_those_of_the_closed_form():
    x = torch.randn(4, D, generator=torch.Generator().manual_seed(1)) * S + 0.7
    posterior = likelihood_posterior(GaussLikelihood(gauss()), x, **FAST)
    assert isinstance(posterior, MCMCPosterior)
    n = 2000
    draws = posterior.sample((n,), show_progress_bars=False)
    mean, sd = exact_gauss(x)
    error = 2 * sd / math.sqrt(n)  # slice sampling at thin=1: about n / 4 independent draws
    assert ((draws.mean(0) - mean).abs() < 4 * error).all()
    assert ((draws.std(0) - sd).abs() < 4 * error).all()
    prior_only = exact_gauss(x[:1])[0]  # negative control: one observation alone
    assert ((draws.mean(0) - prior_only).abs() > 4 * error).any()


def test_mcmc_stays_in_a_box():
    posterior = likelihood_posterior(GaussLikelihood(box()), torch.tensor([[1.3, 0.0]]), **FAST)
    draws = posterior.sample((1000,), show_progress_bars=False)
    assert draws.abs().max() <= 1
    exact = BoxPosterior(box()).sample_batched(4000, x=torch.tensor([[1.3, 0.0]]), seed=0)[:, 0]
    error = 2 * exact.std(0) / math.sqrt(1000)
    assert ((draws.mean(0) - exact.mean(0)).abs() < 4 * error).all()


def test_mcmc_map_is_the_mode():
    x = torch.randn(6, D) * S - 0.3
    posterior = likelihood_posterior(GaussLikelihood(gauss()), x)
    mode = posterior.map(num_iter=200, num_init_samples=200, num_to_optimize=10)
    assert torch.allclose(mode, exact_gauss(x)[0][None], atol=0.02)


@pytest.mark.filterwarnings("ignore:Note that for batched sampling:UserWarning")
def test_mcmc_for_several_observations_at_once():
    posterior = likelihood_posterior(GaussLikelihood(gauss()), torch.zeros(1, D), **FAST)
    x = torch.tensor([[2.0, 2.0], [-2.0, 0.0], [0.0, 1.0]])
    draws = posterior.sample_batched((200,), x=x, show_progress_bars=False)
    assert draws.shape == (200, 3, D)
    for b in range(3):
        mean, sd = exact_gauss(x[b : b + 1])
        assert ((draws[:, b].mean(0) - mean).abs() < 8 * sd / math.sqrt(200)).all()


def test_observations_of_two_axes():
    fit = GaussLikelihood(gauss(), event_shape=(1, D))
    x = torch.randn(5, 1, D)
    theta = torch.randn(7, D)
    flat = likelihood_posterior(GaussLikelihood(gauss()), x[:, 0])
    assert torch.equal(likelihood_posterior(fit, x).potential(theta), flat.potential(theta))
    one = likelihood_posterior(fit, x[0])  # one observation without its leading axis
    assert torch.equal(one.potential(theta), likelihood_posterior(fit, x[:1]).potential(theta))


@pytest.mark.parametrize(
    ("sample_with", "kind", "options"),
    [
        ("rejection", RejectionPosterior, {"num_samples_to_find_max": 1000}),
        ("importance", ImportanceSamplingPosterior, {"oversampling_factor": 16}),
        ("vi", VIPosterior, {"q": "gaussian"}),
    ],
)
def test_the_other_samplers(sample_with, kind, options):
    x = torch.full((2, D), 0.5)
    posterior = likelihood_posterior(
        GaussLikelihood(gauss()), x, sample_with=sample_with, **options
    )
    assert isinstance(posterior, kind)
    if sample_with == "vi":
        posterior.train(
            learning_rate=0.01, max_num_iters=800, quality_control=False, show_progress_bar=False
        )
    n = 1000
    draws = posterior.sample((n,), show_progress_bars=False)
    mean, sd = exact_gauss(x)
    allowed = 0.1 if sample_with == "vi" else 5 * sd / math.sqrt(n)
    assert ((draws.mean(0) - mean).abs() < allowed).all()


def test_a_half_bounded_prior():
    prior = as_prior(Independent(LogNormal(torch.zeros(D), torch.ones(D)), 1))
    x = torch.full((20, D), 1.5)
    posterior = likelihood_posterior(GaussLikelihood(prior), x, **FAST)
    draws = posterior.sample((400,), show_progress_bars=False)
    assert (draws > 0).all()
    assert ((draws.mean(0) - 1.5).abs() < 0.1).all()
    mode = posterior.map(num_iter=200, num_init_samples=200, num_to_optimize=10)
    assert torch.allclose(mode, torch.full((1, D), 1.5), atol=0.1)


def test_a_double_precision_prior():
    double = as_prior(BoxUniform(-torch.ones(D).double(), torch.ones(D).double()))
    posterior = direct_posterior(BoxPosterior(double), torch.tensor([0.3, -0.6]))
    mode = posterior.map(num_iter=150, num_init_samples=100, num_to_optimize=20)
    assert torch.allclose(mode.float(), torch.tensor([[0.3, -0.6]]), atol=0.02)


# bad input

POSTERIOR_BAD = [
    ({"fit": None}, TypeError, "fit must have"),
    ({"fit": torch.nn.Linear(2, 2)}, TypeError, "fit_posterior"),
    ({"x_o": None}, TypeError, "x_o"),
    ({"x_o": "x"}, TypeError, "x_o"),
    ({"x_o": torch.zeros(3)}, ValueError, "x_o must have shape"),
    ({"x_o": torch.zeros(0, D)}, ValueError, "x_o must have shape"),
    ({"x_o": torch.zeros(1, 1, D)}, ValueError, "x_o must have shape"),
    ({"x_o": torch.tensor([0.0, torch.nan])}, ValueError, "x_o must be finite"),
    ({"x_o": torch.zeros(2, D)}, ValueError, "sample_batched"),
]


@pytest.mark.parametrize(("change", "error", "message"), POSTERIOR_BAD)
def test_bad_input_of_direct_posterior(change, error, message):
    arguments = {"fit": BoxPosterior(box()), "x_o": torch.zeros(D)} | change
    with pytest.raises(error, match=message):
        direct_posterior(arguments["fit"], arguments["x_o"])


LIKELIHOOD_BAD = [
    *POSTERIOR_BAD[:-1],
    ({"sample_with": "nuts"}, ValueError, "sample_with must be one of"),
    ({"sample_with": None}, TypeError, "sample_with must be one of"),
    ({"chains": 3}, TypeError, "num_chains"),
    ({"num_chains": 0}, ValueError, "num_chains"),
    ({"method": "metropolis"}, ValueError, "slice_np_vectorized"),
    ({"warmup_steps": "many"}, ValueError, "warmup_steps"),
    ({"init_strategy_parameters": 3}, TypeError, "init_strategy_parameters"),
    ({"sample_with": "vi", "num_chains": 3}, TypeError, "vi_method"),
]


@pytest.mark.parametrize(("change", "error", "message"), LIKELIHOOD_BAD)
def test_bad_input_of_likelihood_posterior(change, error, message):
    arguments = {"fit": GaussLikelihood(gauss()), "x_o": torch.zeros(3, D)} | change
    with pytest.raises(error, match=message):
        likelihood_posterior(arguments.pop("fit"), arguments.pop("x_o"), **arguments)
