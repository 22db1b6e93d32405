"""Intervals that admit how few runs there are.

`mean_band` is for the mean of skewed scores, `coverage_band` for the points of a coverage curve,
and `simultaneous_band` says where the whole curve of a calibrated fit lies. None draws random
numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_fraction

__all__ = ["Band", "coverage_band", "mean_band", "simultaneous_band"]

_Array = np.ndarray[Any, np.dtype[np.float64]]

_HALVINGS = 25  # of the pointwise error: a factor of 3e7 is enough for any number of points


@dataclass(frozen=True)
class Band:
    """An estimate and the interval around it.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        level: Confidence of the interval.
        method: How the interval was made, in a word or two.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""

    def __contains__(self, number: float) -> bool:
        """Whether `number` lies in the interval, its ends included."""
        return self.low <= number <= self.high

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Band:
        """The band that `to_dict` wrote; numbers may be text ("nan", "inf"), as JSON has none."""
        numbers = {name: float(values[name]) for name in ("value", "low", "high", "level")}
        return Band(**numbers, method=str(values["method"]))


def mean_band(values: Any, *, level: float = 0.95) -> Band:
    """Confidence interval of a mean, for scores that are skewed, and few.

    Negative log densities have a long upper tail: the usual t interval is too short, above all
    upwards, and misses on that side. Here the t statistic is first made nearly symmetric by Hall's
    cubic, which knows the sample's skewness, and is then compared with Student's quantiles
    (P. Hall 1992, "On the removal of skewness by transformation", J. R. Stat. Soc. B 54, 221-228).
    Symmetric scores get the t interval. In simulation (`benchmarks/bands.py`) it covers as well as
    the studentised bootstrap or better, and needs no draws; the BCa bootstrap does no better than
    the t interval at n = 20. Nothing helps where the tail has not been seen yet.

    Args:
        values: One score a run, shape `(n,)`, n >= 2; infinite ones make the mean infinite.
        level: Confidence.

    Returns:
        The mean and its interval.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If there are fewer than 2 scores, or one is NaN.
    """
    from scipy.special import stdtrit

    scores = as_tensor(values, name="values", ndim=1, dtype=torch.float64, finite=False).cpu()
    level = check_fraction(level, name="level")
    n = len(scores)
    if n < 2 or bool(scores.isnan().any()):
        raise ValueError(
            f"values must hold at least 2 numbers, none of them NaN; got {n}, of which "
            f"{int(scores.isnan().sum())} are NaN. Score more runs."
        )
    mean = float(scores.mean())
    if not math.isfinite(mean):  # some are infinite, so the mean is, for certain
        return Band(mean, mean, mean, level, "infinite")
    centred = (scores - scores.mean()).numpy()
    deviation = float(np.sqrt(np.square(centred).sum() / (n - 1)))
    if deviation == 0:
        return Band(mean, mean, mean, level, "all alike")
    skewness = float(np.power(centred / deviation, 3).sum()) * n / ((n - 1) * max(n - 2, 1))
    quantile, unit = float(stdtrit(n - 1, (1 + level) / 2)), deviation / math.sqrt(n)
    low = mean - unit * _unskewed(quantile, skewness, n)
    high = mean - unit * _unskewed(-quantile, skewness, n)
    return Band(mean, min(low, mean), max(high, mean), level, "Hall's transformed t")


def _unskewed(quantile: float, skewness: float, n: int) -> float:
    """The t statistic that Hall's cubic takes to `quantile`."""
    steepness = skewness / math.sqrt(n)
    if abs(steepness) < 1e-6:  # the limit; the formula divides by it
        return quantile
    cubed = 1.0 + steepness * quantile - steepness**2 / 6.0
    return 3.0 / steepness * (math.cbrt(cubed) - 1.0)


def coverage_band(ranks: Any, levels: Any, *, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Confidence interval of each point of a coverage curve, one point at a time.

    Jeffreys intervals: quantiles of Beta(k + 1/2, n - k + 1/2), where k of n ranks are not above
    the nominal credibility (Brown, Cai and DasGupta 2001, "Interval estimation for a binomial
    proportion", Statistical Science 16, 101-133). They stay inside [0, 1] and are not empty where
    all ranks fall on one side.

    Args:
        ranks: What `hpd_ranks` returns, shape `(n,)`.
        levels: Nominal credibilities, shape `(k,)`.
        level: Confidence.

    Returns:
        Lower and upper ends, each of shape `(k,)`, float64.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If `ranks` is empty, or a number lies outside [0, 1].
    """
    from scipy.special import betaincinv

    values = as_tensor(ranks, name="ranks", ndim=1, dtype=torch.float64).cpu().numpy()
    nominal = as_tensor(levels, name="levels", ndim=1, dtype=torch.float64).cpu().numpy()
    tail = (1 - check_fraction(level, name="level")) / 2
    for name, numbers in (("ranks", values), ("levels", nominal)):
        if len(numbers) == 0 or bool(((numbers < 0) | (numbers > 1)).any()):
            raise ValueError(f"{name} must hold at least one number, all of them in [0, 1].")
    n, inside = len(values), (values[:, None] <= nominal).sum(0)
    low = np.where(inside == 0, 0.0, betaincinv(inside + 0.5, n - inside + 0.5, tail))
    high = np.where(inside == n, 1.0, betaincinv(inside + 0.5, n - inside + 0.5, 1 - tail))
    return torch.from_numpy(low), torch.from_numpy(high)


def simultaneous_band(n: int, levels: Any, *, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Where the whole coverage curve (or rank ECDF) of a calibrated fit lies.

    The curve of n uniform ranks stays inside at all `levels` together with probability `level` or a
    little more (it takes steps of 1/n). Pointwise binomial intervals are widened alike until it
    does; the probability is exact, by recursion from one level to the next (Säilynoja, Bürkner and
    Vehtari 2022, "Graphical test for discrete uniformity and its applications in goodness-of-fit
    evaluation and multiple sample comparison", Statistics and Computing 32, arXiv:2103.10522).

    Args:
        n: Number of ranks.
        levels: Where the curve is looked at, increasing, in [0, 1], shape `(k,)`.
        level: Probability.

    Returns:
        Lower and upper ends, each of shape `(k,)`, float64: shares of the n ranks.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If `n` is less than 1, or `levels` do not increase or leave [0, 1].
    """
    n = check_count(n, name="n")
    points = as_tensor(levels, name="levels", ndim=1, dtype=torch.float64).cpu()
    level = check_fraction(level, name="level")
    outside = bool(((points < 0) | (points > 1)).any())
    if len(points) == 0 or outside or bool((points.diff() <= 0).any()):
        raise ValueError(
            f"levels must increase, within [0, 1]; got {points.tolist()}. Sort them, each once."
        )
    low, high = _simultaneous_counts(n, tuple(points.tolist()), level)
    return torch.from_numpy(low / n), torch.from_numpy(high / n)


@lru_cache(maxsize=64)
def _simultaneous_counts(n: int, levels: tuple[float, ...], level: float) -> tuple[_Array, _Array]:
    """Fewest and most ranks up to each level, as whole numbers in float64."""
    cdf = np.cumsum([_binomial(np.arange(n + 1), n, p) for p in levels], axis=1)
    least, most = (1 - level) / len(levels), 1 - level  # pointwise error; Bonferroni's is enough
    best = _pointwise_counts(cdf, least)
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        counts = _pointwise_counts(cdf, middle)
        if _probability_inside(n, levels, *counts) >= level:
            least, best = middle, counts
        else:
            most = middle
    return best[0].astype(np.float64), best[1].astype(np.float64)


def _pointwise_counts(cdf: _Array, error: float) -> tuple[Any, Any]:
    """Quantiles `error / 2` and `1 - error / 2` of each row's distribution, as counts."""
    top = cdf.shape[1] - 1  # rounding may leave the last sum just below 1
    ends = [np.array([np.searchsorted(row, p) for row in cdf]) for p in (error / 2, 1 - error / 2)]
    return np.minimum(ends[0], top), np.minimum(ends[1], top)


def _probability_inside(n: int, levels: tuple[float, ...], low: Any, high: Any) -> float:
    """Probability that n uniform ranks have between low and high up to every level."""
    before, states, weights = 0.0, np.array([0]), np.array([1.0])
    for point, least, most in zip(levels, low, high, strict=True):
        counts = np.arange(least, most + 1)
        share = (point - before) / (1 - before)
        steps, left = counts[None, :] - states[:, None], n - states[:, None]
        weights = weights @ _binomial(steps, left, share)
        before, states = point, counts
    return float(weights.sum())


def _binomial(k: Any, n: Any, p: float) -> _Array:
    """Probability of k of n, 0 where k is negative or above n."""
    from scipy.special import gammaln, xlog1py, xlogy

    possible = (k >= 0) & (k <= n)
    k = np.where(possible, k, 0)
    ways = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    chance = np.exp(ways + xlogy(k, p) + xlog1py(n - k, -p))
    return np.where(possible, chance, 0.0)
