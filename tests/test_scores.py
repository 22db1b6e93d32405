"""Scores of runs: uniform where the fit is right, and not where it is wrong."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
import torch
from scipy.stats import kstest

import mlsbi
from exact_fits import LADDER, ExactLikelihood, ExactPosterior, p_uniform, runs
from linear_gaussian import box_prior, normal_prior
from mlsbi._json import to_json
from mlsbi.checking.draws import data_draws, posterior_draws, prior_variance
from mlsbi.checking.scores import RunScores, score_runs
from mlsbi.prior import as_prior
from tiny import linear_data, tiny

N = 800
RANKS = ("rank", "hpd", "marginal_hpd", "tarp")


def scores_of(fit: Any, *, n: int = N, seed: int = 0, **options: int) -> RunScores:
    theta, x = runs(n, seed=11, prior=fit.prior)
    return score_runs(fit, theta, x, seed=seed, **({"num_draws": 200} | options))


# ---------------------------------------------------------------- posterior fits


def test_ranks_under_the_exact_posterior_are_uniform() -> None:
    scores = scores_of(ExactPosterior())
    for name in RANKS:
        assert p_uniform(getattr(scores, name)) > 1e-3, name


def test_moments_under_the_exact_posterior() -> None:
    scores = scores_of(ExactPosterior())
    noise = N**-0.5
    assert bool((scores.z.mean(0).abs() < 4 * noise).all())
    # the draws' own sd has a relative error of 1 / sqrt(2 draws), which adds 3 / (2 draws) to z's
    assert bool(((scores.z.std(0) - 1).abs() < 4 * noise / 2**0.5 + 3 / 400).all())
    exact = 1 - LADDER.posterior(torch.zeros(1, 2)).variance[0]  # of any x; the prior's is 1
    assert torch.allclose(scores.contraction.mean(0), exact, atol=4 * (2 / 200 / N) ** 0.5)


def test_log_densities_are_those_of_the_fit() -> None:
    scores = scores_of(ExactPosterior())
    theta, x = runs(N, seed=11)
    assert torch.allclose(scores.log_prob, LADDER.posterior(x).log_prob(theta.double()))
    assert torch.equal(scores.posterior_log_prob, scores.log_prob)
    assert scores.predictive_hpd is None
    assert bool((scores.effective == 200).all())


@pytest.mark.parametrize(
    ("fault", "seen_by"),
    [
        ({"scale": 0.5}, RANKS),
        ({"scale": 2.0}, RANKS),
        ({"shift": 1.0}, RANKS),
    ],
)
def test_ranks_under_a_wrong_posterior_are_not_uniform(
    fault: dict[str, float], seen_by: tuple[str, ...]
) -> None:
    scores = scores_of(ExactPosterior(**fault))
    for name in seen_by:
        assert p_uniform(getattr(scores, name)) < 1e-5, name


@pytest.mark.parametrize(("scale", "side"), [(0.5, 1), (2.0, -1)])
def test_which_way_the_width_is_wrong(scale: float, side: int) -> None:
    scores = scores_of(ExactPosterior(scale=scale))
    assert side * float(scores.hpd.mean() - 0.5) > 0.1  # over-confident: truths far out
    assert torch.allclose(scores.z.std(0), torch.full((2,), 1 / scale).double(), rtol=0.12)


def test_which_way_the_mean_is_wrong() -> None:
    scores = scores_of(ExactPosterior(shift=1.0))
    assert torch.allclose(scores.z.mean(0), torch.ones(2).double(), atol=4 * N**-0.5)
    assert float(scores.rank.mean()) < 0.3


def test_scores_depend_on_nothing_but_runs_and_seed() -> None:
    fit = ExactPosterior()
    first, again, other = (scores_of(fit, n=40, seed=s) for s in (1, 1, 2))
    for field in fields(RunScores):
        a, b = getattr(first, field.name), getattr(again, field.name)
        assert (a is None and b is None) or torch.equal(a, b)
    assert not torch.equal(first.rank, other.rank)


def test_scores_of_a_block_do_not_depend_on_what_follows() -> None:
    theta, x = runs(70, seed=3)
    few, many = (
        score_runs(ExactPosterior(), theta[:n], x[:n], num_draws=1000, seed=0) for n in (50, 70)
    )
    for name in (*RANKS, "z"):
        assert torch.equal(getattr(many, name)[:50], getattr(few, name)), name


def test_a_truth_outside_the_support_has_no_density() -> None:
    fit = mlsbi.fit_posterior(linear_data(), seed=0, training=tiny(), strategy=mlsbi.SingleLevel())
    scores = score_runs(fit, torch.tensor([[2.0, 0.0], [0.5, 0.0]]), torch.zeros(2, 3), seed=0)
    assert float(scores.log_prob[0]) == -torch.inf
    assert float(scores.hpd[0]) > 0.99
    assert float(scores.rank[0, 0]) > 0.99
    assert bool(torch.isfinite(scores.log_prob[1]))


# ---------------------------------------------------------------- likelihood fits


@pytest.mark.parametrize("prior", [normal_prior, box_prior])
def test_ranks_under_the_exact_likelihood_are_uniform(prior: Any) -> None:
    scores = scores_of(ExactLikelihood(prior()), n=300)
    for name in (*RANKS, "predictive_hpd"):
        assert p_uniform(getattr(scores, name)) > 1e-3, name


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_ranks_under_a_wrong_likelihood_are_not_uniform(scale: float) -> None:
    scores = scores_of(ExactLikelihood(scale=scale), n=300)
    for name in ("hpd", "predictive_hpd"):
        assert p_uniform(getattr(scores, name)) < 1e-5, name


def test_the_posterior_of_a_likelihood_fit_is_normalised() -> None:
    scores = scores_of(ExactLikelihood(), n=100, num_draws=500)
    theta, x = runs(100, seed=11)
    exact = LADDER.posterior(x).log_prob(theta.double())
    error = scores.posterior_log_prob - exact
    # an effective size of n / 2 at least: a relative error of 1 / sqrt(250) a run at most
    assert float(error.std()) < 1.5 * 250**-0.5
    assert float(error.mean().abs()) < 4 * (250 * 100) ** -0.5
    assert torch.allclose(scores.log_prob, LADDER.likelihood(theta).log_prob(x.double()))
    assert bool((scores.effective >= 250).all())


def test_scores_of_a_trained_likelihood_fit() -> None:
    data = linear_data()
    fit = mlsbi.fit_likelihood(data, seed=0, training=tiny(), strategy=mlsbi.SingleLevel())
    scores = score_runs(fit, data.theta(1)[:5], data.x(1)[:5], num_draws=50, seed=0)
    assert scores.rank.shape == (5, 2)
    assert scores.predictive_hpd is not None
    for field in fields(RunScores):
        value = getattr(scores, field.name)
        assert value.dtype == torch.float64, field.name
        assert bool(torch.isfinite(value).all()), field.name


def test_densities_of_drawn_data_are_those_of_the_fit() -> None:
    data = linear_data()
    fit = mlsbi.fit_likelihood(data, seed=0, training=tiny(), strategy=mlsbi.SingleLevel())
    theta = data.theta(1)[:4]
    draws, log_prob = data_draws(fit, theta, 3, seed=0)
    assert draws.shape == (3, 4, 3)
    for i in range(3):
        assert torch.allclose(log_prob[i], fit.log_prob(theta, draws[i]).double())


def test_densities_of_drawn_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    from quick import rough_processes, short_trainings

    rough_processes(monkeypatch)
    short_trainings(monkeypatch)
    data = linear_data((60, 24))
    fit = mlsbi.fit_likelihood(data, seed=0, strategy=mlsbi.Bridge(compress=True))
    assert fit.summary is not None
    theta = data.theta(1)[:20]
    draws, log_prob = data_draws(fit, theta, 4, seed=0)
    assert log_prob.shape == (4, 20)
    # the density of a summary is the same number, whether asked of x or of its summary
    from mlsbi.checking.draws import _of_summaries

    summaries = fit.summarise(data.x(1)[:20])
    assert summaries.shape[1:] == draws.shape[2:]
    with torch.no_grad():
        asked = _of_summaries(fit.estimator).log_prob(summaries, theta)
    assert torch.allclose(asked, fit.log_prob(theta, data.x(1)[:20]))
    scores = score_runs(fit, theta[:3], data.x(1)[:3], num_draws=20, seed=0)
    assert bool(torch.isfinite(scores.predictive_hpd).all())


# ---------------------------------------------------------------- the prior's variance


def test_variance_of_priors_that_know_it_and_that_do_not() -> None:
    from torch.distributions import Cauchy, Gamma, Independent, Normal, Uniform

    known = as_prior([Uniform(0.0, 1.0), Normal(0.0, 3.0), Gamma(2.0, 4.0)])
    assert torch.allclose(prior_variance(known), torch.tensor([1 / 12, 9.0, 0.125]).double())
    heavy = as_prior(Independent(Cauchy(torch.zeros(1), 2 * torch.ones(1)), 1))
    # quartiles at -2 and 2; their standard error from 10,000 draws is about 0.07
    assert float(prior_variance(heavy)) == pytest.approx((4 / 1.349) ** 2, rel=0.15)


# ---------------------------------------------------------------- the container


def some(n: int = 6) -> RunScores:
    return scores_of(ExactPosterior(), n=n, num_draws=20)


def same(a: RunScores, b: RunScores) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(RunScores)]
    return all((p is None and q is None) or torch.equal(p, q) for p, q in pairs)


def test_scores_survive_json() -> None:
    scores = some()
    scores.log_prob[2] = -torch.inf
    record = json.loads(to_json(scores.to_dict()))
    assert same(RunScores.from_dict(record), scores)


def test_parts_come_back_in_the_order_of_the_runs() -> None:
    whole = some()
    rows = torch.tensor([4, 0, 5, 2, 1, 3])
    parts = [whole.subset(rows[:2]), whole.subset(rows[2:])]
    assert same(RunScores.concatenate(parts, rows), whole)
    assert same(RunScores.concatenate(parts), whole.subset(rows))
    assert not same(RunScores.concatenate(parts), whole)


def test_a_mask_and_numbers_choose_the_same_runs() -> None:
    whole = some()
    mask = torch.tensor([True, False, False, True, True, False])
    assert same(whole.subset(mask), whole.subset([0, 3, 4]))
    assert len(whole.subset(mask)) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.subset([7]), ValueError, "rows must lie in 0 .. 5"),
        (lambda s: s.subset([-1]), ValueError, "rows must lie"),
        (lambda s: s.subset([0.5]), TypeError, "rows must be integers"),
        (lambda s: s.subset(torch.ones(2, dtype=torch.bool)), ValueError, "each of 6 runs"),
        (lambda _: RunScores.concatenate([]), ValueError, "at least one"),
        (lambda s: RunScores.concatenate([s, 3]), TypeError, r"parts\[1\]"),
        (lambda s: RunScores.concatenate([s], [0, 1, 2, 3, 4, 4]), ValueError, "order must hold"),
        (lambda s: RunScores.concatenate([s], [0, 1]), ValueError, "order must have shape"),
    ],
)
def test_wrong_use_of_scores(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(some())


# ---------------------------------------------------------------- bad input


def bad(theta: Any = None, x: Any = None, fit: Any = None, **options: Any) -> None:
    true, observed = runs(4, seed=0)
    score_runs(
        ExactPosterior() if fit is None else fit,
        true if theta is None else theta,
        observed if x is None else x,
        **({"num_draws": 20, "seed": 0} | options),
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fit": 3}, TypeError, "fit must have prior.*got int"),
        ({"theta": torch.zeros(4, 3)}, ValueError, r"theta must have shape \(n, 2\)"),
        ({"theta": torch.zeros(3, 2)}, ValueError, r"x must have shape \(3, 2\)"),
        ({"theta": torch.zeros(0, 2), "x": torch.zeros(0, 2)}, ValueError, "at least one"),
        ({"theta": torch.full((4, 2), torch.nan)}, ValueError, "theta must be finite"),
        ({"x": torch.zeros(4, 3)}, ValueError, r"x must have shape \(4, 2\)"),
        ({"x": torch.full((4, 2), torch.inf)}, ValueError, "x must be finite"),
        ({"num_draws": 19}, ValueError, "num_draws must be at least 20"),
        ({"num_draws": 2.5}, TypeError, "num_draws"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bad(**arguments)


def test_draws_of_a_posterior_fit_are_its_own() -> None:
    fit = ExactPosterior()
    _, x = runs(3, seed=0)
    draws = posterior_draws(fit, x, 10, seed=5)
    assert torch.equal(draws.theta, fit.sample_batched(10, x=x, seed=5))
    assert torch.allclose(draws.log_prob[4], fit.log_prob(draws.theta[4], x))


@pytest.mark.slow
def test_likelihood_ranks_at_many_runs() -> None:
    """The rank of a draw that was resampled from weights is uniform to within 2000 runs' noise."""
    scores = scores_of(ExactLikelihood(), n=2000, num_draws=500)
    for name in RANKS:
        assert p_uniform(getattr(scores, name)) > 1e-3, name
    assert kstest(scores.z[:, 0].numpy(), "norm").pvalue > 1e-3
