"""The whole job on a linear-Gaussian hierarchy, where the posterior is known in closed form.

How far off a fit may be is read off the run: an efficient estimate of p parameters from n runs has
a Kullback-Leibler divergence from the truth of p / (2 n) on average, and a linear-Gaussian
conditional of two variables given two has p = 9 (slopes 4, offsets 2, covariance 3).
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from linear_gaussian import D, Ladder, box_prior, normal_prior
from mlsbi import (
    MDN,
    LikelihoodFit,
    Multilevel,
    PosteriorFit,
    SingleLevel,
    Training,
    Transfer,
    fit_likelihood,
    fit_posterior,
)

P = 9
STRATEGIES = {
    "SingleLevel()": SingleLevel(),
    "Multilevel()": Multilevel(),
    "Multilevel(plain sum)": Multilevel(rescale=False, project=False),
    "Transfer()": Transfer(),
    "Multilevel(rescale=False)": Multilevel(rescale=False),
    "Multilevel(project=False)": Multilevel(project=False),
    "Multilevel(standardise='pooled')": Multilevel(standardise="pooled"),
    "Multilevel(standardise='level')": Multilevel(standardise="level"),
    "Multilevel(start='warm')": Multilevel(start="warm"),
    "Multilevel(held_out='telescoped')": Multilevel(held_out="telescoped"),
}
FEW = list(STRATEGIES)[:4]
EACH = FEW + [pytest.param(name, marks=pytest.mark.slow) for name in list(STRATEGIES)[4:]]
COARSE = "SingleLevel(level=0)"  # the negative control
LADDER = Ladder(gap=0.5)
N = (1500, 150)
FAST = Training(max_steps=300, learning_rate=1e-2, batch_size=64, evaluate_every=20)
SLOW = Training(max_steps=1000, learning_rate=5e-3, batch_size=128)
# Twice the parametric error for each of: a network that is no linear map, its training, and the
# three standard deviations by which one run's error exceeds its mean.
ALLOWANCE = 6


def strategy_of(name: str):
    return SingleLevel(level=0) if name == COARSE else STRATEGIES[name]


@cache
def posterior_fit(name: str) -> PosteriorFit:
    data = LADDER.data(N, seed=1)
    return fit_posterior(
        data, seed=2, strategy=strategy_of(name), ensemble=2, training=FAST,
        estimator=MDN(components=1, hidden=(16,)),
    )  # fmt: skip


@cache
def likelihood_fit(name: str) -> LikelihoodFit:
    data = LADDER.data(N, seed=1)
    return fit_likelihood(
        data, seed=2, strategy=strategy_of(name), ensemble=2, training=FAST,
        estimator=MDN(components=1, hidden=(16,)),
    )  # fmt: skip


def top_runs(n: int, *, seed: int = 77) -> tuple[Tensor, Tensor]:
    theta, _, x = LADDER.rows(LADDER.levels - 1, (n,), seed=seed)
    return theta, x


def mean_and_error(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def divergence(log_truth: Tensor, log_fit: Tensor) -> tuple[float, float]:
    """E log p - log q over runs of the top level: KL, averaged over contexts; standard error."""
    return mean_and_error(log_truth - log_fit.double())


def posterior_divergence(fit: PosteriorFit, *, n: int = 4000) -> tuple[float, float]:
    theta, x = top_runs(n)
    return divergence(LADDER.posterior(x).log_prob(theta.double()), fit.log_prob(theta, x))


def likelihood_divergence(fit: LikelihoodFit, *, n: int = 4000) -> tuple[float, float]:
    theta, x = top_runs(n)
    return divergence(LADDER.likelihood(theta).log_prob(x.double()), fit.log_prob(theta, x))


def allowed(runs: int) -> float:
    return ALLOWANCE * P / (2 * runs)


# --- against the closed form ------------------------------------------------------------------


@pytest.mark.parametrize("strategy", EACH)
def test_posterior_against_the_closed_form(strategy):
    kl, error = posterior_divergence(posterior_fit(strategy))
    assert -4 * error < kl < allowed(N[-1]) + 4 * error


@pytest.mark.parametrize("strategy", EACH)
def test_likelihood_against_the_closed_form(strategy):
    kl, error = likelihood_divergence(likelihood_fit(strategy))
    assert -4 * error < kl < allowed(N[-1]) + 4 * error


def test_the_coarse_level_alone_fails_the_same_test():
    for kl, error in (
        posterior_divergence(posterior_fit(COARSE)),
        likelihood_divergence(likelihood_fit(COARSE)),
    ):
        assert kl > allowed(N[-1]) + 4 * error


@pytest.mark.parametrize("strategy", EACH)
def test_moments_of_samples_against_the_closed_form(strategy):
    fit, n = posterior_fit(strategy), 4000
    x = torch.tensor([[0.0, 0.0], [1.0, -0.5], [-0.8, 0.6]])
    truth = LADDER.posterior(x)
    draws = fit.sample_batched(n, x=x, seed=3).double()
    deviation = truth.covariance_matrix[0].diagonal().sqrt()
    # the divergence allowed is (shift / deviation)^2 / 2 where all of it is a shift of the mean
    slack = (2 * allowed(N[-1])) ** 0.5 * deviation
    apart = (draws.mean(0) - truth.mean).abs()
    assert (apart < slack + 4 * draws.std(0) / n**0.5).all()
    ratio = (draws.std(0) / deviation).log().abs()
    # and (log of the ratio)^2 where all of it is a wrong deviation
    assert (ratio < allowed(N[-1]) ** 0.5 + 4 / (2 * n) ** 0.5).all()


# --- posterior and likelihood -----------------------------------------------------------------


def grid_posterior(fit: LikelihoodFit, x: Tensor, *, points: int = 121) -> MultivariateNormal:
    """Mean and covariance of likelihood x prior on a grid, by Bayes' rule."""
    axis = torch.linspace(-4, 4, points)
    theta = torch.cartesian_prod(axis, axis)
    weight = (fit.log_prob(theta, x).double() + normal_prior().log_prob(theta)).softmax(0)
    mean = weight @ theta.double()
    centred = theta.double() - mean
    return MultivariateNormal(mean, (centred.T * weight) @ centred)


@pytest.mark.parametrize("strategy", ["SingleLevel()", "Multilevel()", "Transfer()"])
def test_posterior_and_likelihood_fits_agree(strategy):
    npe, nle = posterior_fit(strategy), likelihood_fit(strategy)
    apart = []
    for x in torch.tensor([[0.0, 0.0], [1.0, -0.5], [-0.8, 0.6], [0.5, 1.2]]):
        by_bayes = grid_posterior(nle, x)
        draws = npe.sample(2000, x=x, seed=4).double()
        direct = MultivariateNormal(draws.mean(0), draws.T.cov())
        apart.append(torch.distributions.kl_divergence(by_bayes, direct))
    # each is allowed its own distance from the truth, and distances add up as roots
    assert float(torch.stack(apart).mean()) < 4 * allowed(N[-1])


# --- on the prior's support -------------------------------------------------------------------


@cache
def box_fit(name: str, steps: int = 300) -> PosteriorFit:
    data = LADDER.data(N, seed=1, prior=box_prior())
    training = Training(max_steps=steps, learning_rate=1e-2, batch_size=64, evaluate_every=20)
    return fit_posterior(
        data, seed=2, strategy=strategy_of(name), ensemble=2, training=training,
        estimator=MDN(components=2, hidden=(16,)),
    )  # fmt: skip


def box_grid(points: int = 300) -> tuple[Tensor, Tensor]:
    """Places over the prior's box, denser towards its bounds, and the area of each one's cell."""
    z = 5.2 * (2 * (torch.arange(points).double() + 0.5) / points - 1)  # float32 tells these apart
    axis = -2 + 4 * torch.special.ndtr(z)
    width = 4 * torch.exp(-0.5 * z.square()) / (2 * torch.pi) ** 0.5 * (10.4 / points)
    return torch.cartesian_prod(axis, axis).float(), torch.cartesian_prod(width, width).prod(1)


# in the middle, off the centre, at the edge of what the prior yields, and beyond it
OBSERVED = [[0.0, 0.0], [1.0, -0.5], [2.4, 0.6], [3.0, 1.0]]


@pytest.mark.parametrize("steps", [1, 300])
@pytest.mark.parametrize("x", OBSERVED)
def test_density_integrates_to_one_over_the_priors_support(x, steps):
    fit = box_fit("Multilevel()", steps)
    theta, area = box_grid()
    mass = fit.log_prob(theta, torch.tensor(x)).double().exp() @ area
    assert float(mass) == pytest.approx(1.0, abs=2e-3)
    outside = torch.tensor([[2.1, 0.0], [0.0, -2.1], [-5.0, 5.0]])
    assert (fit.log_prob(outside, torch.tensor(x)) == -torch.inf).all()


@pytest.mark.parametrize("strategy", ["Multilevel()", "Transfer()"])
@pytest.mark.parametrize("x", OBSERVED)
def test_samples_are_inside_the_support_and_follow_the_density(x, strategy):
    fit, n = box_fit(strategy), 4000
    draws = fit.sample(n, x=torch.tensor(x), seed=5)
    assert draws.shape == (n, D)
    assert (draws.abs() < 2).all()
    assert box_prior().log_prob(draws).isfinite().all()
    theta, area = box_grid()
    mass = fit.log_prob(theta, torch.tensor(x)).double().exp() * area
    for function in (lambda t: t, lambda t: t.square(), lambda t: t.prod(1, keepdim=True)):
        expected = mass @ function(theta).double()
        found = function(draws).double()
        error = found.std(0) / n**0.5
        assert ((found.mean(0) - expected).abs() < 4 * error + 2e-3).all()


# --- with more training, closer ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
@pytest.mark.parametrize("strategy", FEW)
def test_closer_with_more_runs_and_training(strategy, kind):
    ladder, n = Ladder(gap=0.1, levels=3), (4000, 1000, 1000)
    data = ladder.data(n, seed=1)
    fit_one = fit_posterior if kind == "posterior" else fit_likelihood
    fit = fit_one(
        data, seed=2, strategy=STRATEGIES[strategy], ensemble=5, training=SLOW,
        estimator=MDN(components=1),
    )  # fmt: skip
    score = posterior_divergence if kind == "posterior" else likelihood_divergence
    kl, error = score(fit, n=50_000)
    assert -4 * error < kl < allowed(n[-1]) + 4 * error


@pytest.mark.slow
def test_many_cheap_runs_and_few_expensive_ones_beat_the_expensive_ones_alone():
    ladder, n = Ladder(gap=0.05), (3000, 20)
    scores = {}
    for name in ("SingleLevel()", "Multilevel()"):
        each = []
        for seed in range(3):
            data = ladder.data(n, seed=seed)
            fit = fit_posterior(
                data, seed=seed, strategy=STRATEGIES[name], ensemble=5, training=SLOW,
                estimator=MDN(components=1),
            )  # fmt: skip
            each.append(posterior_divergence(fit)[0])
        scores[name] = sum(each) / len(each)
    assert scores["Multilevel()"] < 0.5 * scores["SingleLevel()"]
