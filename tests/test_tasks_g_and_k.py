"""The g-and-k task: its exact densities against its own simulators, its summaries, its score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlsbi.tasks import g_and_k
from mlsbi.tasks.g_and_k import g_and_k_log_density, summaries

LEVELS = [(0, "low", "released"), (0, "low", "maclaurin"), (1, "high", "released")]
GRID = torch.sinh(torch.linspace(-16, 16, 200_001, dtype=torch.float64))  # tails are heavy


def distribution(theta: Tensor, **level: Any) -> tuple[Tensor, float]:
    """Distribution function on GRID and total mass, both by integrating the density."""
    density = g_and_k_log_density(theta, GRID[:, None], **level).exp()
    cumulative = torch.cumulative_trapezoid(density, GRID)
    return cumulative, float(cumulative[-1])


def ks_statistic(x: Tensor, cumulative: Tensor) -> float:
    place = torch.searchsorted(GRID, x.double().sort().values).clamp(1, len(cumulative))
    uniform = cumulative[place - 1]
    steps = torch.arange(1, len(x) + 1, dtype=torch.float64) / len(x)
    return float(torch.maximum((uniform - steps).abs(), (uniform - steps + 1 / len(x)).abs()).max())


@pytest.mark.parametrize(("index", "level", "low"), LEVELS)
def test_exact_density_is_that_of_the_simulator(index: int, level: str, low: str) -> None:
    hierarchy, n = g_and_k(low=low).hierarchy, 20_000
    generator = torch.Generator().manual_seed(0)
    thetas, _ = hierarchy.draw(4, generator)
    _, u = hierarchy.draw(n, generator)
    for theta in thetas.split(1):
        x = hierarchy.levels[index].run(theta.expand(n, -1), u)[:, 0]
        cumulative, mass = distribution(theta, level=level, low=low)
        assert mass == pytest.approx(1.0, abs=5e-5)
        assert ks_statistic(x, cumulative) < 1.95 / n**0.5  # 1 in 1000


def test_other_levels_density_does_not_fit() -> None:
    """Negative control of the test above."""
    hierarchy, n = g_and_k().hierarchy, 20_000
    theta, _ = hierarchy.draw(1, torch.Generator().manual_seed(0))
    _, u = hierarchy.draw(n, torch.Generator().manual_seed(1))
    low = hierarchy.levels[0].run(theta.expand(n, -1), u)[:, 0]
    assert ks_statistic(low, distribution(theta, level="high")[0]) > 5 * 1.95 / n**0.5


def test_coarse_level_is_the_fine_one_to_third_order_around_the_median() -> None:
    hierarchy = g_and_k(low="maclaurin").hierarchy
    theta = torch.tensor([[1.0, 2.0, 1.0, 2.0]]).expand(2, -1)
    u = torch.tensor([[0.5], [0.55]], dtype=torch.float64)
    coarse, fine = hierarchy.pair(1, theta, u)
    assert torch.equal(coarse[0], fine[0])
    assert float(coarse[0]) == 1.0
    assert abs(float(coarse[1] - fine[1])) < 1e-4
    released, _ = g_and_k().hierarchy.pair(1, theta, u)
    assert abs(float(released[1] - fine[1])) > 0.1


def test_summaries_are_those_of_octiles() -> None:
    x = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    e = np.quantile(x.numpy(), np.arange(1, 8) / 8, axis=1)
    spread = e[5] - e[1]
    expected = np.stack(
        [e[3], spread, (e[5] + e[1] - 2 * e[3]) / spread, (e[6] - e[4] + e[2] - e[0]) / spread], 1
    )
    assert np.allclose(summaries(x).numpy(), expected)


class DensityFit:
    def __init__(self, log_density: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.log_prob = log_density


def test_score_is_zero_for_the_exact_density_only() -> None:
    task = g_and_k()
    _, theta, x = task.data((5, 5), seed=0)
    exact = task.score(DensityFit(g_and_k_log_density), theta, x, seed=0)
    assert set(exact) == {"kld_mean", "kld_median", "kld_q90"}
    assert max(exact.values()) < 1e-6

    def cauchy(theta: Tensor, x: Tensor) -> Tensor:
        return torch.distributions.Cauchy(theta[:, 0], theta[:, 1] + 0.01).log_prob(x[:, 0])

    assert task.score(DensityFit(cauchy), theta[:20], x[:20], seed=0)["kld_median"] > 0.05


def test_density_broadcasts_and_refuses_what_does_not_match() -> None:
    theta = torch.tensor([[1.0, 1.0, 1.0, 2.0]])
    x = torch.linspace(-3, 3, 7)[:, None]
    assert torch.equal(g_and_k_log_density(theta, x), g_and_k_log_density(theta.expand(7, -1), x))
    with pytest.raises(ValueError, match="x must have shape"):
        g_and_k_log_density(theta.expand(3, -1), x)
    with pytest.raises(ValueError, match="theta must have shape"):
        g_and_k_log_density(theta[:, :3], x)
