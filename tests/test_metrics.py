"""The metrics against closed forms, direct loops and, for coverage, wrong posteriors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from mlsbi.metrics import (
    coverage_of_ranks,
    expected_coverage,
    hpd_ranks,
    kld_grid,
    kld_on_grid,
    median_length_scale,
    mmd_squared,
    nlpd,
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- NLPD


def test_nlpd_is_the_summary_of_minus_the_log_density() -> None:
    log_prob = torch.tensor([1.0, -2.0, 0.5, -7.0, 3.0])
    result = nlpd(log_prob)
    assert result.mean == pytest.approx(4.5 / 5)
    assert result.median == pytest.approx(-0.5)
    assert result.q90 == pytest.approx(5.0)  # between 2 and 7, at 0.6 of the way
    assert result.standard_error == pytest.approx(float(log_prob.std()) / math.sqrt(5))


def test_nlpd_of_impossible_pairs_is_infinite_but_its_median_is_not() -> None:
    result = nlpd([0.0, 0.0, 0.0, -math.inf])
    assert result.mean == math.inf
    assert result.median == 0.0
    assert result.standard_error == math.inf


@pytest.mark.parametrize("value", [[], [math.nan, 0.0], [math.inf, 0.0], [[0.0]]])
def test_nlpd_refuses_what_is_no_set_of_log_densities(value: list[float]) -> None:
    with pytest.raises(ValueError, match="log_prob"):
        nlpd(value)


# ---------------------------------------------------------------- KLD


def test_kld_of_two_gaussians_is_the_closed_form() -> None:
    p, q = Normal(0.5, 1.0), Normal(torch.tensor([[-1.0], [0.5]]), torch.tensor([[2.0], [1.0]]))
    grid = kld_grid().float()
    exact = torch.distributions.kl_divergence(p, q).squeeze(1)
    got = kld_on_grid(p.log_prob(grid).expand(2, -1), q.log_prob(grid))
    assert torch.allclose(got, exact.double(), atol=1e-4)


def test_kld_is_forward_and_ignores_constants() -> None:
    grid = kld_grid()
    p, q = Normal(0.0, 1.0).log_prob(grid), Normal(0.0, 3.0).log_prob(grid)
    assert float(kld_on_grid(p + 7.0, q - 2.0)) == pytest.approx(float(kld_on_grid(p, q)))
    assert float(kld_on_grid(p, q)) == pytest.approx(math.log(3) + 1 / 18 - 0.5, abs=1e-4)
    assert float(kld_on_grid(q, p)) > 2.0  # backward is another number


def test_kld_where_a_density_vanishes() -> None:
    p, q = torch.tensor([0.0, 0.0, -math.inf]), torch.tensor([0.0, 0.0, 0.0])
    assert float(kld_on_grid(p, q)) == pytest.approx(math.log(1.5))
    assert float(kld_on_grid(q, p)) == math.inf


@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        ([0.0, 0.0], [0.0, 0.0, 0.0], "log_q must have the shape"),
        ([0.0], [0.0], "log_p must have shape"),
        ([-math.inf, -math.inf], [0.0, 0.0], "log_p must be a log density"),
        ([0.0, 0.0], [0.0, math.nan], "log_q must be a log density"),
    ],
)
def test_kld_refuses_bad_tables(p: list[float], q: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kld_on_grid(p, q)


# ---------------------------------------------------------------- MMD


def direct_mmd(x: Tensor, y: Tensor, s: float) -> float:
    def mean_kernel(a: Tensor, b: Tensor) -> float:
        values = [math.exp(-float((p - q).square().sum()) / (2 * s * s)) for p in a for q in b]
        return sum(values) / len(values)

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


@pytest.mark.parametrize("dim", [1, 3])
def test_mmd_equals_a_direct_loop(dim: int) -> None:
    x = torch.randn(13, dim, generator=generator(0)).double()
    y = 0.5 + 2 * torch.randn(17, dim, generator=generator(1)).double()
    assert mmd_squared(x, y, 0.7) == pytest.approx(direct_mmd(x, y, 0.7), abs=1e-10)
    assert mmd_squared(x, x, 0.7) == pytest.approx(0.0, abs=1e-12)


def test_median_heuristic_is_the_median_distance_over_root_two() -> None:
    x = torch.tensor([[0.0], [1.0], [10.0]])  # distances 1, 9, 10
    assert median_length_scale(x) == pytest.approx(9 / math.sqrt(2))
    y = torch.tensor([[2.0], [5.0]])
    assert mmd_squared(x, y) == pytest.approx(direct_mmd(x, y, 9 / math.sqrt(2)))


def test_mmd_of_a_batch_is_that_of_its_samples() -> None:
    x = torch.randn(4, 20, 2, generator=generator(0)) * torch.arange(1, 5)[:, None, None]
    y = torch.randn(4, 30, 2, generator=generator(1))
    for scale in (None, 1.3):
        batch = mmd_squared(x, y, scale)
        single = [mmd_squared(a, b, scale) for a, b in zip(x, y, strict=True)]
        assert batch.tolist() == pytest.approx(single)


def test_mmd_of_equal_laws_is_its_known_bias_and_of_others_is_not() -> None:
    n, s = 500, 1.0
    x = torch.randn(40, n, 1, generator=generator(0))
    y = torch.randn(40, n, 1, generator=generator(1))
    same = mmd_squared(x, y, s)
    bias = 2 / n * (1 - 1 / math.sqrt(3))  # E k(x, x') = s / sqrt(s^2 + 2) for unit normals
    assert abs(float(same.mean()) - bias) < 4 * float(same.std()) / math.sqrt(40)
    assert float(mmd_squared(x, y + 0.5, s).min()) > float(same.max())  # negative control


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(5), torch.zeros(5, 1), "x must have shape"),
        (torch.zeros(5, 1), torch.zeros(5, 2), "y must have shape"),
        (torch.zeros(5, 1), torch.ones(5, 1), "positive median distance"),
        (torch.full((5, 1), math.nan), torch.ones(5, 1), "x must be finite"),
    ],
)
def test_mmd_refuses_bad_samples(x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mmd_squared(x, y)


# ---------------------------------------------------------------- coverage


class GaussianFit:
    """Posterior of theta ~ N(0, 1), x = theta + N(0, 1), with its sd scaled by a factor."""

    def __init__(self, factor: float = 1.0, dim: int = 2) -> None:
        self.sd, self.dim = factor * math.sqrt(0.5), dim

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return Normal(x / 2, self.sd).log_prob(theta).sum(1)

    def sample(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        return x / 2 + self.sd * torch.randn(n, self.dim, generator=generator(seed))


class BatchedGaussianFit(GaussianFit):
    def sample(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        raise RuntimeError("the batched method is there to be used")

    def sample_batched(self, n: int, x: Tensor, *, seed: int) -> Tensor:
        return x / 2 + self.sd * torch.randn(n, *x.shape, generator=generator(seed))


def pairs(n: int, dim: int = 2) -> tuple[Tensor, Tensor]:
    theta = torch.randn(n, dim, generator=generator(10))
    return theta, theta + torch.randn(n, dim, generator=generator(11))


@pytest.mark.parametrize("fit_type", [GaussianFit, BatchedGaussianFit])
def test_exact_posterior_covers_within_binomial_error(fit_type: type[GaussianFit]) -> None:
    result = expected_coverage(fit_type(), *pairs(1000), seed=0)
    deviation = (result.empirical - result.levels).abs()
    assert bool((deviation < 4 * result.standard_error).all())
    assert abs(result.bias) < 0.04


@pytest.mark.parametrize(("factor", "sign"), [(0.5, -1), (2.0, 1)])
def test_wrong_widths_show_with_their_sign(factor: float, sign: int) -> None:
    result = expected_coverage(BatchedGaussianFit(factor), *pairs(1000), seed=0)
    assert sign * result.bias > 0.15
    assert result.error > 0.15


def test_coverage_curve_of_a_wrong_width_is_the_closed_form() -> None:
    factor, n = 0.6, 4000
    result = expected_coverage(BatchedGaussianFit(factor, dim=1), *pairs(n, 1), seed=0)
    half_width = Normal(0.0, 1.0).icdf((1 + result.levels) / 2)
    exact = 2 * Normal(0.0, 1.0).cdf(factor * half_width) - 1
    assert bool(((result.empirical - exact).abs() < 4 * (exact * (1 - exact) / n).sqrt()).all())


def test_flat_posterior_is_calibrated_by_spreading_ties() -> None:
    ranks = hpd_ranks(torch.zeros(2000), torch.zeros(50, 2000), seed=0)
    assert coverage_of_ranks(ranks).error < 0.03


def test_coverage_is_a_function_of_the_seed() -> None:
    theta, x = pairs(300)
    first, again, other = (
        expected_coverage(BatchedGaussianFit(), theta, x, seed=s).ranks for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_coverage_refuses_bad_input() -> None:
    theta, x = pairs(10)
    with pytest.raises(ValueError, match="x must have shape"):
        expected_coverage(GaussianFit(), theta, x[:9], seed=0)
    with pytest.raises(ValueError, match="num_samples"):
        expected_coverage(GaussianFit(), theta, x, num_samples=0, seed=0)
    with pytest.raises(ValueError, match="NaN"):
        hpd_ranks([math.nan], torch.zeros(3, 1), seed=0)
    with pytest.raises(ValueError, match="ranks"):
        coverage_of_ranks([0.5, 1.5])
