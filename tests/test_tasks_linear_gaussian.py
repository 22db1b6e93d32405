"""The linear-Gaussian task: closed forms against simulation and against the textbook."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mlsbi.benching.names import TASKS, make_task
from mlsbi.tasks import Task, linear_gaussian
from mlsbi.tasks.linear_gaussian import linear_gaussian_moments

RUNS = 20_000
LEVELS = (1, 2, 3, 4)


@pytest.fixture(params=LEVELS)
def levels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def drawn(task: Task, n: int = RUNS, *, seed: int = 7) -> tuple[Tensor, list[Tensor]]:
    """Parameters, and the runs of every level on them and the same u, float64."""
    theta, u = task.hierarchy.draw(n, torch.Generator().manual_seed(seed))
    return theta, [level.run(theta, u).double() for level in task.hierarchy.levels]


def errors_off(values: Tensor, truth: Tensor) -> float:
    """How many standard errors the means of values `(n, D)` are from the truth, at most."""
    error = values.std(0) / len(values) ** 0.5
    return float(((values.mean(0) - truth).abs() / error).max())


# Laws of every task


def test_data_have_the_shapes_of_the_budget(levels: int) -> None:
    task = linear_gaussian(levels)
    n = (60, 30, 20, 10)[:levels]
    data, theta, x = task.data(n, seed=0)
    assert task.name == f"linear_gaussian-{levels}"
    assert task.kind == "posterior"
    assert task.costs == (1.0, 4.0, 16.0, 64.0)[:levels]
    assert all(len(budget) == levels for budget in task.budgets)
    assert tuple(data.n) == n
    assert theta.shape == (500, 3)
    assert x.shape == (500, 4)
    assert theta.dtype == x.dtype == torch.float32
    assert all(data.event_shape(level) == (4,) for level in range(levels))


def test_data_are_a_function_of_the_seed() -> None:
    task = linear_gaussian()
    first, again, other = (task.data((20, 10, 5), seed=s) for s in (3, 3, 4))
    for level in range(3):
        assert torch.equal(first[0].x(level), again[0].x(level))
        assert not torch.equal(first[0].x(level), other[0].x(level))
    assert torch.equal(first[2], again[2])
    assert not torch.equal(first[2], other[2])
    _, theta, x = task.data((2, 2, 2), seed=3)  # test pairs: apart from n
    assert torch.equal(theta, first[1])
    assert torch.equal(x, first[2])


def test_the_bench_knows_it() -> None:
    assert TASKS["linear-gaussian"].metric == "nlpd_mean"
    assert make_task("linear-gaussian").name == "linear_gaussian-3"


@pytest.mark.parametrize("make", [linear_gaussian, linear_gaussian_moments])
def test_numbers_of_levels_that_do_not_exist_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="levels must be 1 to 4; got 5"):
        make(5)
    with pytest.raises(ValueError, match="levels must be"):
        make(0)
    with pytest.raises(TypeError, match="levels must be"):
        make(2.5)


# Moments of the levels


def test_moments_are_those_of_runs(levels: int) -> None:
    moments = linear_gaussian_moments(levels)
    _, x = drawn(linear_gaussian(levels))
    below = [torch.zeros_like(x[0]), *x]
    for level in range(levels):
        moved = x[level] - below[level]
        spread = (x[level] - x[level].mean(0)).square()
        moved_spread = (moved - moved.mean(0)).square()
        assert errors_off(spread, moments.variance[level]) < 4
        assert errors_off(moved.square(), moments.difference[level]) < 4
        assert errors_off(moved_spread, moments.difference_variance[level]) < 4
        # The control: 10 % more would be seen.
        assert errors_off(moved.square(), 1.1 * moments.difference[level]) > 4


def test_differences_halve_at_each_level() -> None:
    moments = linear_gaussian_moments(4)
    for part in (moments.difference, moments.difference_variance):
        torch.testing.assert_close(part[1:-1] / part[2:], torch.full((2, 4), 4.0).double())
    theta, x = drawn(linear_gaussian(4), 50)
    torch.testing.assert_close(x[2] - x[1], 2 * (x[3] - x[2]), atol=1e-5, rtol=0)
    assert len(theta) == 50


def test_the_finest_level_is_the_same_for_any_number_of_levels() -> None:
    finest = [drawn(linear_gaussian(levels), 20)[1][-1] for levels in LEVELS]
    assert all(torch.equal(x, finest[0]) for x in finest)
    variances = [linear_gaussian_moments(levels).variance[-1] for levels in LEVELS]
    assert all(torch.equal(variance, variances[0]) for variance in variances)


# The exact references


def evidence(x: Tensor) -> Tensor:
    """log p(x): normal, with the moments that many runs have; they are exact to their error."""
    _, runs = drawn(linear_gaussian(), 400_000, seed=11)
    law = torch.distributions.MultivariateNormal(runs[-1].mean(0), torch.cov(runs[-1].T))
    return law.log_prob(x)


def test_references_obey_bayes_rule() -> None:
    """log p(theta | x) = log p(theta) + log p(x | theta) - log p(x), of which each is known."""
    task = linear_gaussian()
    theta, x = drawn(task, 200)
    prior = -0.5 * theta.double().square().sum(1) - 1.5 * math.log(2 * math.pi)
    likelihood = task.reference_likelihood(theta, x[-1])
    posterior = task.reference_posterior(theta, x[-1])
    assert likelihood.shape == posterior.shape == (200,)
    assert likelihood.dtype == posterior.dtype == torch.float64
    off = posterior - (prior + likelihood - evidence(x[-1]))
    assert float(off.abs().max()) < 0.05  # a covariance of 400,000 runs is known to 0.2 %


def test_likelihood_is_that_of_the_finest_level_and_not_of_the_coarsest() -> None:
    """The mean of p(x | theta + shift) / p(x | theta) is one for runs at theta."""
    task = linear_gaussian()
    theta = torch.tensor([[0.4, -0.3, 0.5]])
    _, u = task.hierarchy.draw(RUNS, torch.Generator().manual_seed(7))
    off = []
    for level in (0, -1):
        x = task.hierarchy.levels[level].run(theta.expand(RUNS, -1), u)
        right, moved = (task.reference_likelihood(t, x) for t in (theta, theta + 0.1))
        off.append(errors_off((moved - right).exp().unsqueeze(1), torch.ones(1)))
    assert off[1] < 4 < off[0]


def test_posterior_is_that_of_the_finest_level_and_beats_wrong_pairs() -> None:
    """The mean of p(theta + shift | x) / p(theta | x) is one over pairs of theta and x."""
    task = linear_gaussian()
    theta, x = drawn(task)
    off = []
    for level in (0, -1):
        right, moved = (task.reference(t, x[level]) for t in (theta, theta + 0.1))
        off.append(errors_off((moved - right).exp().unsqueeze(1), torch.ones(1)))
    assert off[1] < 4 < off[0]
    right, wrong = (task.reference(theta, v) for v in (x[-1], x[-1].roll(1, 0)))
    assert float(wrong.mean()) < float(right.mean()) - 1


def test_posterior_integrates_to_one() -> None:
    """By Monte Carlo over the prior, at the x of one run."""
    task = linear_gaussian()
    theta, x = drawn(task, 100_000)
    prior = -0.5 * theta.double().square().sum(1) - 1.5 * math.log(2 * math.pi)
    ratio = (task.reference(theta, x[-1][:1]) - prior).exp()
    assert float(ratio.std()) / len(ratio) ** 0.5 < 0.05
    assert errors_off(ratio.unsqueeze(1), torch.ones(1)) < 4


def test_references_refuse_what_does_not_match() -> None:
    task = linear_gaussian()
    theta, x = drawn(task, 3)
    for reference in (task.reference_likelihood, task.reference_posterior):
        with pytest.raises(ValueError, match="x must have shape"):
            reference(theta, x[0][:2])
        with pytest.raises(ValueError, match="theta must have shape"):
            reference(theta[:, :1], x[0])
        assert reference(theta, x[0][:1]).shape == reference(theta[:1], x[0]).shape == (3,)
