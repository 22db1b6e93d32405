"""The tools of sbi, one by one, on trained fits: what docs/from-sbi.md says of them holds."""

from __future__ import annotations

import copy
import pickle

import matplotlib.pyplot as plt
import pytest
import torch
from sbi.analysis import (
    ActiveSubspace,
    conditional_corrcoeff,
    conditional_pairplot,
    conditional_potential,
    pairplot,
    plot_tarp,
    sbc_rank_plot,
)
from sbi.diagnostics import (
    LC2ST,
    calc_misspecification_mmd,
    check_sbc,
    check_tarp,
    get_nltp,
    run_sbc,
    run_tarp,
)
from sbi.inference import (
    NPE,
    DirectPosterior,
    EnsemblePosterior,
    MCMCPosterior,
    RejectionPosterior,
    likelihood_estimator_based_potential,
    posterior_estimator_based_potential,
)
from sbi.utils import RestrictedPrior, get_density_thresholder, mcmc_transform

import mlsbi
from tiny import linear_data, tiny

D, X = 2, 4
BOX = [[-1.0, 1.0]] * D
QUIET = {"show_progress_bars": False}
MCMC = {"num_chains": 4, "warmup_steps": 2, "thin": 1, "init_strategy": "proposal"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Number of .* should be on the order of:UserWarning"),
    pytest.mark.filterwarnings("ignore:ks_2samp. Exact calculation:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def data():
    return linear_data((200, 60), event=(X,))


@pytest.fixture(scope="module")
def fit(data):
    options = {"ensemble": 2, "strategy": mlsbi.Multilevel(), "training": tiny(max_steps=80)}
    return mlsbi.fit_posterior(data, seed=1, **options)


@pytest.fixture(scope="module")
def likelihood(data):
    options = {"ensemble": 2, "strategy": mlsbi.Multilevel(), "training": tiny(max_steps=80)}
    return mlsbi.fit_likelihood(data, seed=1, **options)


@pytest.fixture
def runs(data):
    return data.theta(1), data.x(1)


@pytest.fixture
def x_o(data):
    return data.x(1)[0]


@pytest.fixture
def posterior(fit, x_o):
    return fit.posterior(x_o)


@pytest.fixture
def by_mcmc(likelihood, x_o):
    return likelihood.posterior(x_o, **MCMC)


# diagnostics


@pytest.mark.filterwarnings("ignore::UserWarning")  # that so few runs say little
def test_sbc_and_its_figure(posterior, runs):
    theta, x = runs
    ranks, averaged = run_sbc(theta, x, posterior, 50, show_progress_bar=False)
    assert ranks.shape == theta.shape
    assert ranks.min() >= 0
    assert ranks.max() <= 50
    found = check_sbc(ranks, theta, averaged, 50)
    assert {"ks_pvals", "c2st_ranks", "c2st_dap"} <= set(found)
    figure, _ = sbc_rank_plot(ranks, 50, num_bins=5)
    plt.close(figure)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # the same, and that it takes long
def test_sbc_of_a_likelihood_fit(by_mcmc, runs):
    theta, x = (part[:3] for part in runs)
    ranks, _ = run_sbc(theta, x, by_mcmc, 8, show_progress_bar=False, use_batched_sampling=False)
    assert ranks.shape == (3, D)


def test_tarp_and_its_figure(posterior, runs):
    curve, levels = run_tarp(*runs, posterior, num_posterior_samples=50, show_progress_bar=False)
    area, p_value = check_tarp(curve, levels)
    assert abs(area) < 0.5
    assert 0 <= p_value <= 1
    figure, _ = plot_tarp(curve, levels)
    plt.close(figure)


def test_held_out_log_probability_is_that_of_the_fit(posterior, fit, runs):
    torch.testing.assert_close(get_nltp(*runs, posterior), -fit.log_prob(*runs))


def test_lc2st(posterior, runs, x_o):
    theta, x = runs
    draws = posterior.sample_batched((1,), x=x, **QUIET)[0]
    test = LC2ST(theta, x, draws, seed=1, num_folds=1, num_trials_null=2)
    test.train_under_null_hypothesis(verbosity=0)
    test.train_on_observed_data(verbosity=0)
    assert 0 <= test.p_value(theta_o=posterior.sample((50,), **QUIET), x_o=x_o[None]) <= 1


def test_misspecification_sees_an_observation_from_elsewhere(runs):
    _, x = runs
    near, _ = calc_misspecification_mmd(inference=None, x_obs=x[:5], x=x[5:], mode="x_space")
    far, _ = calc_misspecification_mmd(inference=None, x_obs=x[:5] + 9, x=x[5:], mode="x_space")
    assert far < 0.05 < near


# analysis


@pytest.mark.filterwarnings("ignore::Warning")  # matplotlib's and sbi's own
def test_figures(posterior, by_mcmc):
    draws = posterior.sample((50,), **QUIET)
    figures = [
        pairplot(draws)[0],
        conditional_pairplot(posterior, condition=draws[0], limits=BOX, resolution=5)[0],
        conditional_pairplot(by_mcmc, condition=draws[0], limits=BOX, resolution=5)[0],
    ]
    for figure in figures:
        plt.close(figure)


@pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning")
def test_conditional_correlations(posterior):
    limits, condition = torch.tensor(BOX), posterior.sample((2,), **QUIET)
    found = conditional_corrcoeff(posterior, limits=limits, condition=condition, resolution=10)
    assert found.shape == (D, D)
    assert found.abs().max() <= 1 + 1e-5


@pytest.mark.slow
def test_one_parameter_given_the_other(posterior, x_o):
    condition, prior = torch.tensor([[0.0, 0.3]]), posterior.prior
    potential, transform, narrow = conditional_potential(
        posterior.potential_fn, mcmc_transform(prior), prior, condition, dims_to_sample=[0]
    )
    sampler = MCMCPosterior(potential, theta_transform=transform, proposal=narrow, **MCMC)
    draws = sampler.set_default_x(x_o).sample((20,), **QUIET)
    assert draws.shape == (20, 1)
    assert draws.abs().max() <= 1


@pytest.mark.parametrize("name", ["posterior", pytest.param("by_mcmc", marks=pytest.mark.slow)])
def test_sensitivity(name, request):
    values, directions = ActiveSubspace(request.getfixturevalue(name)).find_directions(
        posterior_log_prob_as_property=True, num_monte_carlo_samples=50
    )
    assert values.shape == (D,)
    torch.testing.assert_close(directions.T @ directions, torch.eye(D), atol=1e-4, rtol=0)


# posteriors made of posteriors


def test_ensembles(fit, posterior, x_o):
    other = fit.posterior(x_o)
    both = EnsemblePosterior([posterior, other]).set_default_x(x_o)
    draws = both.sample((20,), **QUIET)
    assert draws.shape == (20, D)
    torch.testing.assert_close(both.log_prob(draws), fit.log_prob(draws, x_o))
    assert both.map(num_iter=5, num_init_samples=10, num_to_optimize=3).shape == (1, D)


@pytest.mark.slow
def test_ensembles_of_likelihood_fits(by_mcmc, likelihood, x_o):
    both = EnsemblePosterior([by_mcmc, likelihood.posterior(x_o, **MCMC)]).set_default_x(x_o)
    assert both.sample((4,), **QUIET).shape == (4, D)


def test_density_estimators_come_out(posterior, by_mcmc, fit, likelihood, runs, x_o):
    """What `train()` returns in sbi: with it, posteriors and potentials are built by hand."""
    theta, x = runs
    estimator, prior = posterior.posterior_estimator, posterior.prior
    torch.testing.assert_close(estimator.log_prob(theta[None], x)[0], fit.log_prob(theta, x))
    torch.testing.assert_close(estimator.loss(theta, x), -fit.log_prob(theta, x))
    assert estimator.sample((3,), condition=x[:2]).shape == (3, 2, D)
    by_hand = DirectPosterior(estimator, prior).set_default_x(x_o)
    assert by_hand.sample((3,), **QUIET).shape == (3, D)
    potential, transform = posterior_estimator_based_potential(estimator, prior, x_o[None])
    few = {"num_samples_to_find_max": 100, "num_iter_to_find_max": 2}
    for kind, options in ((RejectionPosterior, few), (MCMCPosterior, MCMC)):
        one = kind(potential, prior, theta_transform=transform, **options).set_default_x(x_o)
        assert one.sample((3,), **QUIET).shape == (3, D)
    of_x = by_mcmc.potential_fn.likelihood_estimator
    torch.testing.assert_close(of_x.log_prob(x[None], theta)[0], likelihood.log_prob(theta, x))
    potential, _ = likelihood_estimator_based_potential(of_x, prior, x[:3])
    torch.testing.assert_close(potential(theta), likelihood.posterior(x[:3]).potential(theta))


def test_a_posterior_proposes_for_sbi(posterior, x_o, tmp_path, monkeypatch):
    """Sequential rounds are sbi's: a fit can be what they start from."""
    monkeypatch.chdir(tmp_path)  # sbi's trainers write a folder of logs where they are made
    accept = get_density_thresholder(posterior, quantile=0.1, num_samples_to_estimate_support=200)
    truncated = RestrictedPrior(posterior.prior, accept, sample_with="rejection")
    draws = truncated.sample((30,), print_rejected_frac=False)
    inside = accept(draws)
    assert inside.all()
    assert not accept(posterior.prior.sample((200,))).all()
    inference = NPE(posterior.prior, show_progress_bars=False)
    inference.append_simulations(draws, torch.randn(30, X), proposal=posterior)
    assert inference._data_round_index == [1]


def test_copies_pickles_and_files(posterior, tmp_path):
    torch.save(posterior, tmp_path / "posterior.pt")
    theta = torch.zeros(3, D)
    for other in (
        copy.deepcopy(posterior),
        pickle.loads(pickle.dumps(posterior)),
        torch.load(tmp_path / "posterior.pt", weights_only=False),
    ):
        assert torch.equal(other.log_prob(theta), posterior.log_prob(theta))


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_gradients_for_samplers_that_want_them(kind, request, x_o):
    name = "posterior" if kind == "posterior" else "by_mcmc"
    potential = request.getfixturevalue(name).potential_fn
    potential.set_x(x_o[None])
    theta = torch.tensor([[0.1, 0.2], [0.0, -0.3]], requires_grad=True)
    potential(theta, track_gradients=True).sum().backward()
    nudge = 1e-2 * torch.eye(D)[0]
    with torch.no_grad():
        up, down = (potential(theta + s * nudge, track_gradients=False) for s in (1, -1))
    torch.testing.assert_close(theta.grad[:, 0], (up - down) / 2e-2, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "q", ["gaussian", *(pytest.param(q, marks=pytest.mark.slow) for q in ("maf", "nsf", "gf"))]
)
def test_variational_families(likelihood, x_o, q):
    posterior = likelihood.posterior(x_o, sample_with="vi", q=q)
    posterior.train(max_num_iters=3, quality_control=False, show_progress_bar=False)
    assert posterior.sample((5,), **QUIET).shape == (5, D)
