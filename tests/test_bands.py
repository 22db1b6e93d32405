"""Intervals: their stated rate, at n where a normal approximation has not got it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlsbi._json import to_json
from mlsbi.checking.bands import Band, coverage_band, mean_band, simultaneous_band

LEVELS = torch.arange(1, 20, dtype=torch.float64) / 20


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def uniforms(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def rate_error(rate: float, replications: int) -> float:
    """Three standard errors of a rate that is estimated from so many."""
    return 3 * math.sqrt(rate * (1 - rate) / replications)


def student(values: Tensor) -> Band:
    """The usual t interval at n = 20."""
    mean, reach = float(values.mean()), 2.093 * float(values.std()) / math.sqrt(20)
    return Band(mean, mean - reach, mean + reach)


def score_gaussian(n: int, seed: int) -> Tensor:
    """-log q of a Gaussian in one dimension, up to a constant and a factor."""
    return normals(n, seed=seed).square() / 2


def score_gaussians(n: int, seed: int) -> Tensor:
    return normals(n, 3, seed=seed).square().sum(1) / 2


def symmetric(n: int, seed: int) -> Tensor:
    return normals(n, seed=seed)


# scores, their mean, and the lowest coverage of 95 % intervals at n = 20 (benchmarks/bands.py)
SCORES = {
    "gaussian": (score_gaussian, 0.5, 0.94),
    "three parameters": (score_gaussians, 1.5, 0.94),
    "symmetric": (symmetric, 0.0, 0.95),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_interval_of_a_mean_covers_it_at_its_rate(name: str) -> None:
    draw, mean, rate = SCORES[name]
    found = [mean in mean_band(draw(20, seed)) for seed in range(1000)]
    assert sum(found) / 1000 > rate - rate_error(rate, 1000)
    assert sum(found) < 1000  # and is not without bounds


def test_the_t_interval_of_skewed_scores_does_not() -> None:
    """The negative control: it is what mean_band is for."""
    found = [0.5 in student(score_gaussian(20, seed)) for seed in range(1000)]
    assert sum(found) / 1000 < 0.94 - rate_error(0.94, 1000)


def test_of_symmetric_scores_it_is_the_t_interval() -> None:
    values = normals(10)
    values = torch.cat([values, -values])
    ours, usual = mean_band(values), student(values)
    assert [ours.low, ours.high] == pytest.approx([usual.low, usual.high], abs=1e-3)


def test_the_longer_arm_is_on_the_side_of_the_tail() -> None:
    values = score_gaussian(20, 0)
    band, mirrored = mean_band(values), mean_band(-values)
    assert band.high - band.value > band.value - band.low > 0
    assert (mirrored.low, mirrored.high) == pytest.approx((-band.high, -band.low))


def test_it_moves_and_stretches_with_the_scores() -> None:
    values = score_gaussian(20, 0)
    band, moved = mean_band(values), mean_band(3 * values - 7)
    expected = (3 * band.low - 7, 3 * band.high - 7)
    assert (moved.low, moved.high) == pytest.approx(expected)


def test_means_that_are_infinite_and_scores_that_are_alike() -> None:
    assert mean_band([1.0, math.inf, 2.0]) == Band(math.inf, math.inf, math.inf, 0.95, "infinite")
    assert mean_band([2.0, 2.0]).high == 2.0
    two = mean_band([1.0, 2.0])
    assert two.low < 1.0 < 2.0 < two.high


@pytest.mark.parametrize("n", [1, 5, 20, 100])
def test_pointwise_intervals_cover_the_coverage_at_their_rate(n: int) -> None:
    truth = LEVELS.square()  # of ranks that are not uniform
    inside = torch.zeros_like(LEVELS)
    for seed in range(1000):
        low, high = coverage_band(uniforms(n, seed=seed).sqrt(), LEVELS)
        inside += ((low <= truth) & (truth <= high)).double()
    mean = float(inside.mean()) / 1000  # over levels; a single one takes steps, as ranks are few
    assert mean == pytest.approx(0.95, abs=0.015 + rate_error(0.95, 1000))


def test_pointwise_intervals_are_jeffreys() -> None:
    from scipy.stats import beta

    low, high = coverage_band([0.1, 0.2, 0.6], [0.05, 0.5, 0.9], level=0.9)
    assert low[0] == 0.0
    assert high[2] == 1.0
    expected = beta.ppf([0.05, 0.95], 2.5, 1.5)
    assert [float(low[1]), float(high[1])] == pytest.approx(list(expected))


@pytest.mark.parametrize("n", [1, 2, 20, 100])
def test_whole_curves_of_calibrated_fits_stay_inside_at_their_rate(n: int) -> None:
    low, high = simultaneous_band(n, LEVELS)
    ranks = uniforms(4000, n)
    curves = (ranks[:, :, None] <= LEVELS).double().mean(1)
    rate = float(((curves >= low - 1e-9) & (curves <= high + 1e-9)).all(1).double().mean())
    assert rate > 0.95 - rate_error(0.95, 4000)
    if n == 100:  # its steps are small enough
        assert rate < 0.97


def test_curves_stay_inside_pointwise_binomials_too_rarely() -> None:
    """The negative control: 95 % at each point is not 95 % of the curves."""
    from scipy.stats import binom

    curves = (uniforms(4000, 100)[:, :, None] <= LEVELS).double().sum(1)
    low, high = (torch.tensor(binom.ppf(q, 100, LEVELS)) for q in (0.025, 0.975))
    assert float(((curves >= low) & (curves <= high)).all(1).double().mean()) < 0.85


def test_the_simultaneous_probability_is_exact() -> None:
    """Two points, by enumeration of all counts."""
    from scipy.stats import multinomial

    low, high = simultaneous_band(6, [0.3, 0.6], level=0.8)
    total = sum(
        float(multinomial.pmf([i, j, 6 - i - j], 6, [0.3, 0.3, 0.4]))
        for i in range(7)
        for j in range(7 - i)
        if low[0] * 6 <= i + 1e-9 <= high[0] * 6 + 1e-8
        and low[1] * 6 <= i + j + 1e-9 <= high[1] * 6 + 1e-8
    )
    assert 0.8 <= total < 0.95


def test_at_the_ends_a_curve_has_no_freedom() -> None:
    low, high = simultaneous_band(20, [0.0, 0.5, 1.0])
    assert low.tolist()[::2] == high.tolist()[::2] == [0.0, 1.0]
    assert low[1] < 0.5 < high[1]


def test_the_band_of_many_runs_is_narrow() -> None:
    low, high = simultaneous_band(2000, LEVELS)
    assert 0.025 < float(high[9] - 0.5) < 0.04
    assert float(0.5 - low[9]) == pytest.approx(float(high[9] - 0.5), abs=1e-9)


def test_bands_survive_json() -> None:
    for band in (Band(1.0, 0.5, 2.0, 0.9, "a"), Band(math.nan, -math.inf, math.inf)):
        read = Band.from_dict(json.loads(to_json(band.to_dict())))
        assert repr(read) == repr(band)
    assert 1.0 in Band(1.0, 0.5, 2.0)
    assert 3.0 not in Band(1.0, 0.5, 2.0)


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: mean_band([1.0]), ValueError, "at least 2"),
    (lambda: mean_band([1.0, math.nan]), ValueError, "1 are NaN"),
    (lambda: mean_band("ab"), TypeError, "values must be"),
    (lambda: mean_band([1.0, 2.0], level=1.0), ValueError, "level must lie"),
    (lambda: coverage_band([], LEVELS), ValueError, "ranks must hold"),
    (lambda: coverage_band([0.5], [1.5]), ValueError, "levels must hold"),
    (lambda: coverage_band([1.5], [0.5]), ValueError, "ranks must hold"),
    (lambda: simultaneous_band(0, LEVELS), ValueError, "n must be at least 1"),
    (lambda: simultaneous_band(5, [0.5, 0.4]), ValueError, "levels must increase"),
    (lambda: simultaneous_band(5, [0.5, 1.4]), ValueError, "levels must increase"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
