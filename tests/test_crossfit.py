"""Cross-fitting: every expensive run is scored once, by a fit that has not seen it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from linear_gaussian import Ladder
from mlsbi import MultilevelData, SingleLevel, fit_likelihood, fit_posterior
from mlsbi.crossfit import CrossFit, crossfit
from tiny import box, linear_data, tiny


class Exact:
    """The exact posterior of level L, or one that is `wider`; remembers what it scored."""

    def __init__(self, ladder, *, wider=1.0):
        self.ladder, self.wider = ladder, wider

    def _posterior(self, x):
        exact = self.ladder.posterior(x)
        cov = exact.covariance_matrix * self.wider**2
        return torch.distributions.MultivariateNormal(exact.mean, cov)

    def log_prob(self, theta, x):
        return self._posterior(x).log_prob(theta.double())

    def sample_batched(self, n, *, x, seed):
        posterior = self._posterior(x)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(n, *posterior.mean.shape, generator=generator, dtype=torch.float64)
        return posterior.mean + noise @ posterior.scale_tril[0].T

    sample = sample_batched


class Spy:
    """A fit that knows its training data, and scores a row by its own theta."""

    def __init__(self, data, log):
        self.data, self.log = data, log

    def log_prob(self, theta, x):
        top = self.data.num_levels - 1
        assert not torch.isin(x, self.data.x(top)).any(), "a row was scored that the fit has seen"
        self.log.append(theta)
        return theta[:, 0]

    def sample_batched(self, n, *, x, seed):
        return torch.zeros(n, len(x), 2)


@pytest.mark.parametrize("n", [(24,), (60, 24), (60, 30, 7)], ids=str)
@pytest.mark.parametrize("folds", [2, 5, 40])
def test_every_row_is_scored_once_by_a_fit_without_it(n, folds):
    data, log, seen = linear_data(n), [], []

    def refit(part, fold):
        seen.append((fold, part))
        return Spy(part, log)

    result = crossfit(data, refit, folds=folds, seed=0)
    expected = min(folds, n[-1])
    assert result.folds == expected == len(seen)
    assert [fold for fold, _ in seen] == list(range(expected))
    torch.testing.assert_close(result.log_prob, data.theta(len(n) - 1)[:, 0].double())
    sizes = torch.bincount(result.fold)
    assert sizes.sum() == n[-1]
    assert sizes.max() - sizes.min() <= 1
    for fold, part in seen:
        kept = (result.fold != fold).nonzero().flatten()
        assert part.n == (*n[:-1], len(kept))
        for level in range(len(n) - 1):
            torch.testing.assert_close(part.x(level), data.x(level))
        torch.testing.assert_close(part.x(len(n) - 1), data.x(len(n) - 1)[kept])
        if len(n) > 1:
            torch.testing.assert_close(part.x_coarse(len(n) - 1), data.x_coarse(len(n) - 1)[kept])


def test_runs_of_one_theta_are_held_out_together_and_with_them_the_levels_below():
    data, seen = linear_data((30, 12, 8)), []
    theta = [data.theta(level).clone() for level in range(3)]
    theta[2][5] = theta[2][1]  # a pilot's twin
    theta[1][:8], theta[0][:8] = theta[2], theta[2]  # a pilot's columns
    levels = [(theta[0], data.x(0))]
    levels += [(theta[i], data.x_coarse(i), data.x(i)) for i in (1, 2)]
    pilot = MultilevelData.from_arrays(box(), levels)

    def refit(part, fold):
        seen.append(part)
        return Spy(part, [])

    result = crossfit(pilot, refit, folds=7, seed=0)
    assert result.fold[5] == result.fold[1]
    assert result.folds == 7
    for fold, part in enumerate(seen):
        held_out = theta[2][result.fold == fold]
        for level in range(3):
            assert not torch.isin(part.theta(level), held_out).any()
        assert part.n[:2] == (30 - len(held_out), 12 - len(held_out))


def test_the_spy_notices_rows_that_were_seen():
    data = linear_data((20, 10))
    with pytest.raises(AssertionError, match="has seen"):
        crossfit(data, lambda part, fold: Spy(data, []), seed=0)


def test_an_exact_posterior_is_calibrated_and_a_wide_one_is_not():
    ladder = Ladder()
    data = ladder.data((10, 1500), seed=3)
    exact, wide = (
        crossfit(data, lambda part, fold, w=w: Exact(ladder, wider=w), seed=1) for w in (1.0, 1.5)
    )
    off = (exact.coverage.empirical - exact.coverage.levels) / exact.coverage.standard_error
    assert off.abs().max() < 3.5
    assert wide.coverage.bias > 0.1
    x, theta = data.x(1), data.theta(1)
    truth = -ladder.posterior(x).log_prob(theta.double()).mean()
    assert exact.nlpd.mean == pytest.approx(float(truth))
    # the mean over x of the posterior's entropy, which is the same for all x
    entropy = float(ladder.posterior(x[:1]).entropy())
    assert abs(exact.nlpd.mean - entropy) < 4 * exact.nlpd.standard_error
    assert "too often" in str(wide)


@pytest.mark.parametrize("kind", ["posterior", "likelihood"])
def test_with_fits(kind):
    data = linear_data((40, 12))
    make = {"posterior": fit_posterior, "likelihood": fit_likelihood}[kind]

    def refit(part, fold):
        return make(part, seed=fold, strategy=SingleLevel(), ensemble=1, training=tiny())

    result, again = (crossfit(data, refit, folds=3, seed=5) for _ in range(2))
    assert torch.equal(result.log_prob, again.log_prob)
    assert (result.coverage is None) == (kind == "likelihood")
    if result.coverage is not None:
        assert torch.equal(result.coverage.ranks, again.coverage.ranks)
        assert len(result.coverage.ranks) == 12
    record = json.loads(json.dumps(result.to_dict()))
    assert record["n"] == 12
    assert record["nlpd_mean"] == result.nlpd.mean
    assert ("coverage_error" in record) == (kind == "posterior")
    assert f"{result.nlpd.mean:.3f}" in str(result)
    # by hand: fold 0's rows under the fit without them
    out = result.fold == 0
    by_hand = refit(data.subset([None, ~out]), 0).log_prob(data.theta(1)[out], data.x(1)[out])
    torch.testing.assert_close(result.log_prob[out], by_hand.double())


def test_a_seed_deals_and_another_deals_otherwise():
    data = linear_data((20, 30))
    results = [crossfit(data, lambda part, fold: Spy(part, []), seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(results[0].fold, results[1].fold)
    assert not torch.equal(results[0].fold, results[2].fold)


def test_a_density_of_zero_makes_the_score_infinite():
    log_prob = torch.tensor([0.0, -math.inf], dtype=torch.float64)
    assert CrossFit(log_prob, torch.tensor([0, 1]), None).nlpd.mean == math.inf


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": linear_data((20, 1))}, ValueError, "at least 2 rows of different theta"),
        ({"data": [1, 2]}, TypeError, "data must be MultilevelData"),
        ({"refit": None}, TypeError, "refit must be callable; got NoneType"),
        ({"folds": 1}, ValueError, "folds must be at least 2; got 1"),
        ({"folds": 2.0}, TypeError, "folds must be an integer"),
        ({"seed": -1}, ValueError, "seed must lie in"),
        ({"progress": 1}, TypeError, "progress must be bool"),
    ],
)
def test_bad_input(change, error, words):
    arguments = {"data": linear_data((20, 10)), "refit": lambda part, fold: None, "seed": 0}
    arguments |= change
    with pytest.raises(error, match=words):
        crossfit(arguments.pop("data"), arguments.pop("refit"), **arguments)
