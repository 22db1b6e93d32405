"""Metrics of posterior draws against closed forms, and on posteriors that are wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from exact_fits import p_uniform
from mlsbi.metrics import (
    contraction,
    marginal_hpd_ranks,
    sbc_ranks,
    tarp_ranks,
    uniformity_tests,
    z_scores,
)

N, DRAWS = 1000, 200


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------- SBC ranks


def test_a_rank_is_the_share_of_draws_below_within_its_step() -> None:
    draws = torch.arange(9.0).reshape(9, 1, 1).expand(9, 3, 1)
    ranks = sbc_ranks([[-1.0], [3.5], [100.0]], draws, seed=0).flatten() * 10
    assert [int(r) for r in ranks] == [0, 4, 9]


def test_ties_are_spread_evenly() -> None:
    theta, draws = torch.zeros(2000, 1), torch.zeros(9, 2000, 1)
    assert p_uniform(sbc_ranks(theta, draws, seed=0)) > 1e-3


def test_few_draws_give_uniform_ranks_too() -> None:
    assert p_uniform(sbc_ranks(normal(N, 2), normal(3, N, 2, seed=1), seed=2)) > 1e-3
    assert p_uniform(sbc_ranks(normal(N, 2) + 0.5, normal(3, N, 2, seed=1), seed=2)) < 1e-5


def test_tests_of_uniformity_hold_their_level_with_five_runs() -> None:
    p = torch.stack([uniformity_tests(uniform(5, seed=i)) for i in range(800)])
    share = float((p <= 0.05).double().mean())
    assert share == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 800) ** 0.5)


def test_tests_of_uniformity_are_of_each_column() -> None:
    ranks = torch.stack([uniform(50), uniform(50, seed=1) ** 3], 1)
    p = uniformity_tests(ranks)
    assert p.shape == (2,)
    assert float(p[0]) == pytest.approx(float(kstest(ranks[:, 0].numpy(), "uniform").pvalue))
    assert float(p[0]) > 1e-3
    assert float(p[1]) < 1e-5


# ---------------------------------------------------------------- moments


def test_z_and_contraction_by_hand() -> None:
    draws = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    assert float(z_scores([[4.0]], draws)) == pytest.approx(-2.0)  # mean 2, sd 1
    assert float(contraction(draws, [4.0])) == pytest.approx(0.75)


def test_a_posterior_wider_than_the_prior_has_negative_contraction() -> None:
    assert bool((contraction(3 * normal(500, 4, 1), [1.0]) < -5).all())


# ---------------------------------------------------------------- marginal regions


def bimodal(*shape: int, seed: int) -> Tensor:
    return normal(*shape, seed=seed) * 0.3 + (uniform(*shape, seed=seed + 100) > 0.7) * 3.0


def edge(*shape: int, seed: int) -> Tensor:
    return -uniform(*shape, seed=seed).log()  # exponential: most of it at the bound, 0


def constant(*shape: int, seed: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def cauchy(*shape: int, seed: int) -> Tensor:
    return (torch.pi * (uniform(*shape, seed=seed) - 0.5)).tan()


@pytest.mark.parametrize("law", [normal, bimodal, edge, cauchy, constant])
def test_marginal_ranks_are_uniform_whatever_the_shape(law: Any) -> None:
    theta, draws = law(N, 1, seed=1), law(DRAWS, N, 1, seed=2)
    low = [0.0] if law is edge else None
    assert p_uniform(marginal_hpd_ranks(theta, draws, low=low, seed=0)) > 1e-3


@pytest.mark.parametrize("law", [normal, bimodal, edge])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_marginal_ranks_see_a_wrong_width(law: Any, factor: float) -> None:
    theta, draws = law(N, 1, seed=1), factor * law(DRAWS, N, 1, seed=2)
    assert p_uniform(marginal_hpd_ranks(theta, draws, low=[-1e9], seed=0)) < 1e-5


def test_marginal_regions_of_a_density_at_its_bound() -> None:
    """The smallest region of an exponential that holds theta is [0, theta]."""
    theta = torch.linspace(0.0, 4.0, 200, dtype=torch.float64)[:, None]
    draws = edge(2000, 200, 1, seed=2)
    exact = 1 - (-theta).exp()
    bounded = marginal_hpd_ranks(theta, draws, low=[0.0], seed=0)
    unbounded = marginal_hpd_ranks(theta, draws, seed=0)
    near = theta < 0.1
    assert float((bounded - exact).abs().mean()) < 0.02
    assert float((bounded - exact)[near].abs().mean()) < 0.03
    assert float((unbounded - exact)[near].abs().mean()) > 0.1  # the kernels leak over the bound


@pytest.mark.parametrize("law", [normal, uniform])
def test_draws_that_were_resampled_do_not_count_for_themselves(law: Any) -> None:
    theta, distinct = law(3000, 1, seed=1), law(100, 3000, 1, seed=2)
    draws = distinct.repeat(3, 1, 1)
    ranks = marginal_hpd_ranks(theta, draws, seed=0)
    assert float(ranks.mean()) == pytest.approx(0.5, abs=4 * (12 * 3000) ** -0.5)


def test_the_valley_between_two_modes_is_outside_their_region() -> None:
    draws = bimodal(1000, 2, 1, seed=2)
    valley, mode = marginal_hpd_ranks([[1.5], [0.0]], draws, seed=0).flatten()
    assert float(valley) > 0.97
    assert float(mode) < 0.2
    assert 0.5 < float(sbc_ranks([[1.5], [0.0]], draws, seed=0)[0]) < 0.8  # which ranks do not see


def test_a_truth_beyond_all_draws() -> None:
    draws = normal(200, 1, 1)
    for far in (8.0, 1e3, 1e9):
        assert float(marginal_hpd_ranks([[far]], draws, seed=0)) > 0.995


# ---------------------------------------------------------------- TARP


def test_tarp_by_hand() -> None:
    draws = torch.tensor([[0.0], [1.0], [2.0], [5.0]]).reshape(4, 1, 1)
    rank = tarp_ranks([[3.0]], draws, [[0.5]], scale=[1.0], seed=0)
    assert 3 / 5 < float(rank) < 4 / 5  # three of four draws are nearer to 0.5 than 3 is


def test_tarp_is_uniform_under_the_right_posterior() -> None:
    theta, draws, points = normal(N, 3, seed=1), normal(DRAWS, N, 3, seed=2), normal(N, 3, seed=3)
    assert p_uniform(tarp_ranks(theta, draws, 4 * points, seed=0)) > 1e-3
    assert p_uniform(tarp_ranks(theta, draws, points, scale=[1.0, 9.0, 0.1], seed=0)) > 1e-3


@pytest.mark.parametrize("fault", ["narrow", "wide", "shifted"])
def test_tarp_sees_faults(fault: str) -> None:
    theta, draws, points = normal(N, 3, seed=1), normal(DRAWS, N, 3, seed=2), normal(N, 3, seed=3)
    wrong = {"narrow": draws * 0.5, "wide": draws * 2, "shifted": draws + 1.0}[fault]
    assert p_uniform(tarp_ranks(theta, wrong, 4 * points, seed=0)) < 1e-5


def test_every_parameter_has_a_say_in_tarp() -> None:
    """A fault in a well determined one is seen, though its distances are a hundredth."""
    sd = torch.tensor([0.01, 1.0], dtype=torch.float64)
    theta, draws = sd * normal(N, 2, seed=1), sd * normal(DRAWS, N, 2, seed=2)
    draws[..., 0] += 0.02
    points = 4 * normal(N, 2, seed=3)
    assert p_uniform(tarp_ranks(theta, draws, points, seed=0)) < 1e-5
    assert p_uniform(tarp_ranks(theta, draws, points, scale=[1.0, 100.0], seed=0)) < 1e-5
    unseen = tarp_ranks(theta, draws, points, scale=[100.0, 1.0], seed=0)
    assert p_uniform(unseen) > 1e-3


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("metric", [sbc_ranks, z_scores, marginal_hpd_ranks])
@pytest.mark.parametrize(
    ("theta", "draws", "message"),
    [
        (torch.zeros(3), torch.zeros(5, 3, 1), "theta must have 2 dimension"),
        (torch.zeros(3, 1), torch.zeros(5, 2, 1), "draws must have shape"),
        (torch.zeros(3, 1), torch.zeros(0, 3, 1), "draws must have shape"),
        (torch.zeros(3, 1), torch.full((5, 3, 1), torch.nan), "draws must be finite"),
    ],
)
def test_wrong_draws(metric: Any, theta: Tensor, draws: Tensor, message: str) -> None:
    options = {} if metric is z_scores else {"seed": 0}
    with pytest.raises(ValueError, match=message):
        metric(theta, draws, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniformity_tests([]), "ranks must hold at least 1"),
        (lambda: uniformity_tests([1.2]), r"in \[0, 1\]"),
        (lambda: z_scores([[0.0]], torch.zeros(1, 1, 1)), "at least 2 draws"),
        (lambda: contraction(torch.zeros(2, 1, 1), [0.0]), "prior_variance must be positive"),
        (lambda: contraction(torch.zeros(2, 1, 1), [1.0, 1.0]), "prior_variance must have shape"),
        (
            lambda: tarp_ranks([[0.0]], torch.zeros(2, 1, 1), [[0.0, 1.0]], seed=0),
            "references must have shape",
        ),
        (
            lambda: tarp_ranks([[0.0]], torch.zeros(2, 1, 1), [[1.0]], scale=[0.0], seed=0),
            "scale must be positive",
        ),
        (
            lambda: marginal_hpd_ranks([[0.0]], torch.zeros(2, 1, 1), low=[0.0, 1.0], seed=0),
            "low must have shape",
        ),
    ],
)
def test_wrong_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
