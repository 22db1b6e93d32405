"""The local two-sample test: exact where the posterior is right, and local."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from exact_fits import ExactPosterior, runs
from mlsbi.metrics import LocalTest, lc2st


def found(fit: ExactPosterior, n: int, *, seed: int, trials: int = 19) -> LocalTest:
    theta, x = runs(n + 1, seed=seed)
    draws = fit.sample_batched(200, x=x[:n], seed=seed)
    here = fit.sample_batched(200, x=x[n:], seed=seed + 1)
    return lc2st(theta[:n], draws, here[:, 0], num_trials=trials, seed=seed)


@pytest.mark.parametrize("fault", [{"scale": 0.4}, {"scale": 2.5}, {"shift": 1.5}])
def test_a_wrong_posterior_is_seen_with_forty_runs(fault: dict[str, float]) -> None:
    result = found(ExactPosterior(**fault), 40, seed=1)
    assert result.p_value == pytest.approx(1 / 20)  # the smallest that there is
    assert result.statistic > 2 * result.null_mean
    assert result.num_runs == 40


def test_a_right_posterior_is_not_rejected() -> None:
    p = [found(ExactPosterior(), 30, seed=10 * i, trials=9).p_value for i in range(5)]
    assert min(p) < max(p)
    assert sum(p) / 5 > 0.25  # uniform on 0.1, 0.2 .. 1: 0.55, with a standard error of 0.13


def wrong_on_the_right(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """theta and draws of precisions that are right at x = -1.5, and grow with x."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    theta = x + 0.5 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    width = 0.5 * (1 + (x + 1.5).clamp(min=-0.8)) ** -0.5
    return theta, x + width * torch.randn(200, n, 1, generator=generator, dtype=torch.float64)


def test_it_is_local() -> None:
    theta, draws = wrong_on_the_right(200, seed=0)
    normal = torch.randn(300, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    there = lc2st(theta, draws, 1.5 + normal / 4, num_trials=19, seed=0)
    here = lc2st(theta, draws, -1.5 + normal / 2, num_trials=19, seed=0)
    assert there.p_value == pytest.approx(1 / 20)
    assert here.p_value > 1 / 20
    assert there.statistic > 3 * here.statistic


def test_the_same_seed_gives_the_same_result() -> None:
    fit = ExactPosterior()
    assert found(fit, 20, seed=3, trials=3) == found(fit, 20, seed=3, trials=3)


def test_no_global_generator_is_touched() -> None:
    import numpy as np

    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    found(ExactPosterior(), 20, seed=3, trials=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_the_result_survives_its_record() -> None:
    result = LocalTest(0.1, 0.05, 0.01, 20)
    assert LocalTest.from_dict(result.to_dict()) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta": torch.zeros(19, 2), "draws": torch.zeros(50, 19, 2)}, "at least 20 runs"),
        ({"draws": torch.zeros(50, 19, 2)}, "draws must have shape"),
        ({"draws_o": torch.zeros(50, 3)}, "draws_o must have shape"),
        ({"draws_o": torch.full((50, 2), torch.nan)}, "draws_o must be finite"),
        ({"num_trials": 0}, "num_trials must be at least 1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    usual = {
        "theta": torch.zeros(20, 2),
        "draws": torch.zeros(50, 20, 2),
        "draws_o": torch.zeros(50, 2),
        "num_trials": 9,
    }
    with pytest.raises(ValueError, match=message):
        lc2st(**(usual | change), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 50, 100, 500])
def test_p_values_are_uniform_under_the_exact_posterior(n: int) -> None:
    count = 100 if n < 500 else 40
    p = torch.tensor([found(ExactPosterior(), n, seed=100 * i).p_value for i in range(count)])
    for level in (0.1, 0.25, 0.5):
        share = float((p <= level + 1e-9).double().mean())
        assert share == pytest.approx(level, abs=4 * (level * (1 - level) / count) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "least"), [(20, 0.5), (50, 0.8), (100, 0.9)])
@pytest.mark.parametrize("fault", [{"scale": 0.5}, {"scale": 2.0}, {"shift": 1.0}])
def test_power(n: int, least: float, fault: dict[str, float]) -> None:
    p = [found(ExactPosterior(**fault), n, seed=100 * i).p_value for i in range(30)]
    assert sum(v <= 0.05 + 1e-9 for v in p) / 30 >= least
