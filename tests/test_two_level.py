"""Coverage with the help of the level below: no bias, and less variance, or left alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from mlsbi._json import to_json
from mlsbi.checking.bands import coverage_band
from mlsbi.checking.two_level import TwoLevel, _corrected, two_level_coverage

LEVELS = np.arange(1, 20) / 20
CHEAP = 500


def ranks(n: int, correlation: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fine ranks that are calibrated, coarse ones that are not, and more of the latter."""
    rng = np.random.default_rng(seed)
    fine = rng.standard_normal(n)
    coarse = correlation * fine + math.sqrt(1 - correlation**2) * rng.standard_normal(n)
    return ndtr(fine), ndtr(coarse) ** 0.7, rng.random(CHEAP) ** 0.7


@dataclass
class Simulated:
    """Of many replications: errors of both curves, squared standard errors, how often used."""

    errors: np.ndarray
    plain: np.ndarray
    variance: np.ndarray
    inside: np.ndarray
    used: float

    @staticmethod
    def of(n: int, correlation: float, replications: int = 400) -> Simulated:
        found = []
        for seed in range(replications):
            fine, coarse, cheap = ranks(n, correlation, seed)
            estimate = two_level_coverage(fine, coarse, cheap, levels=LEVELS)
            low, high = (ends.numpy() for ends in estimate.band())
            found.append(
                (
                    estimate.coverage.empirical.numpy() - LEVELS,
                    (fine[:, None] <= LEVELS).mean(0) - LEVELS,
                    estimate.standard_error.square().numpy(),
                    (low <= LEVELS) & (high >= LEVELS),
                    estimate.used,
                )
            )
        columns = [np.array(column) for column in zip(*found, strict=True)]
        return Simulated(*columns[:4], float(columns[4].mean()))

    @property
    def ratio(self) -> float:
        """Squared error over that of the plain curve."""
        return float(np.square(self.errors).mean() / np.square(self.plain).mean())


# correlation, and the greatest ratio of squared errors
@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize(("correlation", "most"), [(0.95, 0.65), (0.8, 0.85)])
def test_the_error_falls_where_coarse_ranks_tell(n: int, correlation: float, most: float) -> None:
    simulated = Simulated.of(n, correlation)
    assert simulated.used > 0.8
    assert simulated.ratio < most


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_it_is_no_worse_where_they_tell_little(n: int, correlation: float) -> None:
    simulated = Simulated.of(n, correlation)
    assert simulated.used < (0.03 if correlation == 0 else 0.5)
    assert simulated.ratio < 1.03


@pytest.mark.parametrize(("n", "correlation"), [(20, 0.95), (20, 0.5), (100, 0.8)])
def test_standard_errors_are_those_of_replications(n: int, correlation: float) -> None:
    simulated = Simulated.of(n, correlation)
    true = simulated.errors.var(0).mean()
    # 400 replications give a variance to 7 %, a little less over correlated levels
    assert simulated.variance.mean() / true == pytest.approx(1.0, abs=0.25)
    assert simulated.inside.mean() > 0.92


def bias(correlation: float, *, law: float) -> float:
    """Greatest bias of the corrected curve of 12 pairs, in standard errors of 2000 replications."""
    curves = []
    for seed in range(2000):
        fine, coarse, cheap = ranks(12, correlation, seed)
        each = (r[:, None] <= LEVELS for r in (fine, coarse, cheap**law))
        curves.append(_corrected(*(indicator.astype(float) for indicator in each)))
    errors = np.array(curves) - LEVELS
    return float(np.abs(errors.mean(0) / (errors.std(0) / math.sqrt(len(errors)))).max())


@pytest.mark.parametrize("correlation", [0.0, 0.95, -0.9])
def test_the_corrected_curve_has_no_bias(correlation: float) -> None:
    """Not even with few pairs, from which the coefficient is estimated."""
    assert bias(correlation, law=1.0) < 4  # the greatest of 19


def test_it_has_one_where_cheap_runs_are_not_of_the_coarse_halves_law() -> None:
    """The negative control, and what the estimate rests on."""
    assert bias(0.95, law=2.0) > 10


def test_identical_levels_are_the_cheap_curve_nearly() -> None:
    """Coarse ranks equal fine ones: n + m runs of one level."""
    rng = np.random.default_rng(0)
    fine, cheap = rng.random(50), rng.random(2000)
    estimate = two_level_coverage(fine, fine, cheap, levels=LEVELS)
    together = (np.concatenate([fine, cheap])[:, None] <= LEVELS).mean(0)
    assert estimate.used
    assert np.abs(estimate.coverage.empirical.numpy() - together).max() < 0.02
    assert estimate.explained > 0.9
    assert float((estimate.standard_error / estimate.plain_standard_error).mean()) < 0.35


def test_the_curve_rises_within_zero_and_one() -> None:
    for seed in range(50):
        curve = two_level_coverage(*ranks(10, 0.95, seed), levels=LEVELS).coverage.empirical
        assert bool((curve.diff() >= 0).all())
        assert curve.min() >= 0
        assert curve.max() <= 1


def test_without_the_correction_it_is_the_plain_curve_with_its_interval() -> None:
    fine, coarse, _ = ranks(20, 0.95, 0)
    estimate = two_level_coverage(fine, coarse, [], levels=LEVELS)
    assert not estimate.used
    assert estimate.coefficient == 0.0
    assert "no run of the level below" in estimate.reason
    assert torch.equal(estimate.standard_error, estimate.plain_standard_error)
    for ours, plain in zip(estimate.band(), coverage_band(fine, LEVELS), strict=True):
        assert torch.allclose(ours, plain)


def test_the_reason_says_how_much_coarse_runs_tell() -> None:
    used = two_level_coverage(*ranks(50, 0.95, 0), levels=LEVELS)
    assert used.reason.startswith("used: the coarse halves explain ")
    assert f"{used.explained:.0%} of the variance" in used.reason
    assert "500 more runs" in used.reason
    blind = two_level_coverage(*ranks(50, 0.0, 0), levels=LEVELS)
    assert blind.reason.startswith("not used: the coarse halves' ranks tell little")
    few = two_level_coverage(*ranks(4, 0.95, 0), levels=LEVELS)
    assert "4 pairs are too few" in few.reason


def test_ranks_that_are_all_alike_are_no_error() -> None:
    for value in (0.0, 1.0):
        same = np.full(20, value)
        estimate = two_level_coverage(same, same, same, levels=LEVELS)
        assert not estimate.used
        assert bool(estimate.standard_error.isfinite().all())


def test_it_survives_json() -> None:
    for correlation in (0.0, 0.95):
        estimate = two_level_coverage(*ranks(30, correlation, 0), levels=LEVELS)
        read = TwoLevel.from_dict(json.loads(to_json(estimate.to_dict())))
        assert read.to_dict() == estimate.to_dict()
        assert torch.equal(read.coverage.ranks, estimate.coverage.ranks)


BAD: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: two_level_coverage([], [], [0.5], levels=LEVELS), ValueError, "one rank for each"),
    (lambda: two_level_coverage([0.5], [], [0.5], levels=LEVELS), ValueError, "one rank for each"),
    (lambda: two_level_coverage([0.5], [0.5], [0.5], levels=[]), ValueError, "levels a number"),
    (lambda: two_level_coverage([1.5], [0.5], [0.5], levels=LEVELS), ValueError, "fine_hpd must"),
    (lambda: two_level_coverage([0.5], [0.5], "no", levels=LEVELS), TypeError, "cheap_hpd must"),
    (lambda: two_level_coverage([0.5], [math.nan], [], levels=LEVELS), ValueError, "coarse_hpd"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_named(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
