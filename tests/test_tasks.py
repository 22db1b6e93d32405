"""Laws that every simulated task obeys, over a registry of tasks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlsbi.tasks import Task, g_and_k, linear_gaussian, ornstein_uhlenbeck, toggle_switch

TASKS: dict[str, Callable[[], Task]] = {
    "g_and_k likelihood": lambda: g_and_k(),
    "g_and_k likelihood maclaurin": lambda: g_and_k("likelihood", low="maclaurin"),
    "g_and_k posterior": lambda: g_and_k("posterior"),
    "ornstein_uhlenbeck 3": lambda: ornstein_uhlenbeck(3),
    "ornstein_uhlenbeck 4": lambda: ornstein_uhlenbeck(4),
    "toggle_switch released": lambda: toggle_switch(),
    "toggle_switch normal": lambda: toggle_switch("normal"),
    "linear_gaussian 3": lambda: linear_gaussian(3),
}
SMALL = {2: (60, 20), 3: (60, 30, 20)}


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]()


def small(task: Task) -> tuple[int, ...]:
    return SMALL[task.hierarchy.num_levels]


def test_data_have_the_shapes_of_the_budget(task: Task) -> None:
    data, theta, x = task.data(small(task), seed=0)
    assert tuple(data.n) == small(task)
    assert all(len(budget) == data.num_levels for budget in task.budgets)
    assert theta.shape == (len(x), len(task.parameter_names))
    assert x.shape[1:] == tuple(data.event_shape(data.num_levels - 1))
    assert theta.dtype == x.dtype == torch.float32
    assert bool(x.isfinite().all())
    assert bool(data.prior.contains(theta).all())


def test_data_are_a_function_of_the_seed(task: Task) -> None:
    n = small(task)
    first, again, other = (task.data(n, seed=s) for s in (3, 3, 4))
    for a, b, c in zip(first[1:], again[1:], other[1:], strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    for level in range(len(n)):
        assert torch.equal(first[0].x(level), again[0].x(level))
        assert not torch.equal(first[0].x(level), other[0].x(level))


def test_test_pairs_share_nothing_with_training_and_not_its_size(task: Task) -> None:
    data, theta, x = task.data(small(task), seed=0)
    _, theta_other, x_other = task.data([2] * data.num_levels, seed=0)
    assert torch.equal(theta, theta_other)
    assert torch.equal(x, x_other)
    seen = torch.cat([data.theta(level) for level in range(data.num_levels)])
    assert float(torch.cdist(seen, theta).min()) > 0.0


def test_coupled_levels_correlate_and_uncoupled_ones_less(task: Task) -> None:
    """Given theta, the shared noise alone must tie the levels together."""
    hierarchy, generator = task.hierarchy, torch.Generator().manual_seed(0)
    theta, _ = hierarchy.draw(1, generator)
    rows = theta.expand(800, -1)
    _, u = hierarchy.draw(800, generator)
    _, other = hierarchy.draw(800, generator)
    for level in range(1, hierarchy.num_levels):
        coarse, fine = hierarchy.pair(level, rows, u)
        _, uncoupled = hierarchy.pair(level, rows, other)
        assert rank_correlation(coarse[:, 0], fine[:, 0]) > 0.5
        assert abs(rank_correlation(coarse[:, 0], uncoupled[:, 0])) < 4 / 800**0.5


def rank_correlation(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([a.argsort().argsort(), b.argsort().argsort()]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def test_reference_is_finite_and_prefers_the_right_pairing(task: Task) -> None:
    _, theta, x = task.data(small(task), seed=0)
    if task.reference is None:
        assert task.reference_likelihood is None
        assert task.reference_posterior is None
        return
    theta, x = theta[:100], x[:100]
    right, wrong = task.reference(theta, x), task.reference(theta, x.roll(1, 0))
    assert right.shape == (len(x),)
    assert right.dtype == torch.float64
    assert bool(right.isfinite().all())
    assert float(right.mean()) > float(wrong.mean())


def test_score_refuses_test_sets_that_do_not_match(task: Task) -> None:
    dim = len(task.parameter_names)
    with pytest.raises(ValueError, match="theta_test must have shape"):
        task.score(None, torch.zeros(3, dim + 1), torch.zeros(3, 1), seed=0)
    with pytest.raises(ValueError, match="x_test must have shape"):
        task.score(None, torch.zeros(3, dim), torch.zeros(2, 1), seed=0)
    with pytest.raises(ValueError, match="seed"):
        task.data(small(task), seed=-1)


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of"):
        g_and_k("both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="low must be one of"):
        g_and_k(low="taylor")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="parameters must be 3 or 4"):
        ornstein_uhlenbeck(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="truncation must be one of"):
        toggle_switch("none")  # type: ignore[arg-type]


class PriorFit:
    """Stands in for a posterior fit: the prior itself, which is calibrated but knows nothing."""

    def __init__(self, task: Task) -> None:
        self.prior = task.hierarchy.prior

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return self.prior.log_prob(theta)

    def sample(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        return self.prior.sample(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["g_and_k posterior", "ornstein_uhlenbeck 3"])
def test_posterior_score_of_the_prior_is_its_entropy_and_calibrated(name: str) -> None:
    task = TASKS[name]()
    _, theta, x = task.data(small(task), seed=0)
    score = task.score(PriorFit(task), theta, x, seed=0)
    prior = task.hierarchy.prior
    entropy = float((prior.high - prior.low).log().sum())
    assert score["nlpd_mean"] == pytest.approx(entropy, abs=1e-5)
    assert score["coverage_error"] < 0.05
    assert abs(score["coverage_bias"]) <= score["coverage_error"]
