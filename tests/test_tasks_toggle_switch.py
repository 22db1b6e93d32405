"""The toggle switch task: the truncated normals, the coupling, the score against itself."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import truncnorm
from torch import Tensor

from mlsbi.metrics import median_length_scale
from mlsbi.tasks import Task, toggle_switch
from mlsbi.tasks.toggle_switch import LENGTH_SCALE, truncated_normal


@pytest.mark.parametrize(("truncation", "factor"), [("released", 1 / math.sqrt(2)), ("normal", 1)])
@pytest.mark.parametrize("mean", [-0.8, 0.1, 3.0, 30.0])
def test_truncated_normal_inverts_its_distribution(
    truncation: str, factor: float, mean: float
) -> None:
    sd = 0.5
    w = torch.tensor([2.0**-53, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6], dtype=torch.float64)
    draw = truncated_normal(torch.full_like(w, mean), sd, w, truncation=truncation)
    assert bool((draw > 0).all())
    assert bool((draw.diff() > 0).all())
    law = truncnorm(-mean / (sd * factor), math.inf, loc=mean, scale=sd * factor)
    assert law.cdf(draw.numpy()) == pytest.approx(w.numpy(), abs=1e-9)


def test_level_uses_its_own_first_steps_and_the_shared_observation() -> None:
    hierarchy = toggle_switch().hierarchy
    theta, u = hierarchy.draw(50, torch.Generator().manual_seed(0))
    _, fresh = hierarchy.draw(50, torch.Generator().manual_seed(1))
    for level, steps in zip(hierarchy.levels, (50, 80, 300), strict=True):
        later = {k: torch.cat([u[k][:, :steps], fresh[k][:, steps:]], 1) for k in ("u", "v")}
        earlier = {k: torch.cat([fresh[k][:, :steps], u[k][:, steps:]], 1) for k in ("u", "v")}
        x = level.run(theta, u)
        assert torch.equal(level.run(theta, {**u, **later}), x)
        assert not torch.equal(level.run(theta, {**u, **earlier}), x)
        assert not torch.equal(level.run(theta, {**u, "x": fresh["x"]}), x)


def test_rows_do_not_depend_on_how_many_run_together() -> None:
    level = toggle_switch().hierarchy.levels[0]
    theta, u = toggle_switch().hierarchy.draw(2500, torch.Generator().manual_seed(0))
    part = {k: v[2100:2103] for k, v in u.items()}
    assert torch.equal(level.run(theta, u)[2100:2103], level.run(theta[2100:2103], part))


def test_observations_are_positive_and_capped() -> None:
    task = toggle_switch()
    theta, u = task.hierarchy.draw(3000, torch.Generator().manual_seed(0))
    for level in task.hierarchy.levels:
        x = level.run(theta, u)
        assert bool(((x > 0) & (x <= 2000)).all())
    assert float(x.max()) == 2000.0  # the highest level reaches it in about 3 of 1000 runs


def test_budget_has_the_papers_cost() -> None:
    n = toggle_switch().budgets[0]
    costs = toggle_switch().costs
    assert costs == (50.0, 80.0, 300.0)
    pairs = zip(n, costs, (0.0, *costs), strict=False)
    assert sum(k * (fine + coarse) for k, fine, coarse in pairs) == 603_000


def test_length_scale_is_the_median_of_median_heuristics() -> None:
    task = toggle_switch()
    generator = torch.Generator().manual_seed(0)
    theta = task.hierarchy.prior.sample(150, generator).repeat_interleave(60, 0)
    _, u = task.hierarchy.draw(len(theta), generator)
    scales = median_length_scale(task.hierarchy.levels[2].run(theta, u).view(150, 60, 1))
    draws = scales[torch.randint(150, (500, 150), generator=generator)]  # bootstrap
    error = float(draws.median(1).values.std())
    assert abs(float(scales.median()) - LENGTH_SCALE) < 3 * error


class SimulatorFit:
    """A likelihood fit that draws from one level of the task: perfect if that is the highest."""

    def __init__(self, task: Task, level: int) -> None:
        self.hierarchy, self.level = task.hierarchy, level

    def sample(self, n: int, *, theta: Tensor, seed: int) -> Tensor:
        _, u = self.hierarchy.draw(n, torch.Generator().manual_seed(seed))
        return self.hierarchy.levels[self.level].run(theta.expand(n, -1), u)

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return -x[:, 0] / 100


class BatchedSimulatorFit(SimulatorFit):
    def sample_batched(self, n: int, *, theta: Tensor, seed: int) -> Tensor:
        return torch.stack([self.sample(n, theta=t, seed=seed + i) for i, t in enumerate(theta)], 1)


@pytest.mark.parametrize("fit_type", [SimulatorFit, BatchedSimulatorFit])
def test_score_of_the_true_simulator_is_the_bias_of_the_statistic(
    fit_type: type[SimulatorFit],
) -> None:
    task = toggle_switch()
    _, theta, x = task.data((2, 2, 2), seed=0)
    theta, x = theta[:12], x[:12]
    perfect = task.score(fit_type(task, 2), theta, x, seed=0)
    coarse = task.score(fit_type(task, 0), theta, x, seed=0)
    assert 0 < perfect["mmd_squared_mean"] < 2 * 2 / 500  # at most 1/n + 1/m, for the mean
    assert coarse["mmd_squared_mean"] > 0.02  # negative control
    assert perfect["log_density_mean"] == coarse["log_density_mean"] < 0
    assert task.score(fit_type(task, 2), theta, x, seed=0) == perfect
    assert task.score(fit_type(task, 2), theta, x, seed=1) != perfect
