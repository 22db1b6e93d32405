"""Estimates from scores of which the largest are known to be beyond a cut only.

Ranks come from a finite number of draws: one above (or below) all of them says that the score lies
beyond a cut, and not how far; here, no farther than twice as far. Estimates are of maximum
likelihood, by EM; the share of the sample's information that is missing is EM's rate of convergence
(Dempster, Laird and Rubin 1977, "Maximum likelihood from incomplete data via the EM algorithm", J.
R. Stat. Soc. B 39, 1-38).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

__all__ = ["censored_chi_square", "censored_normal"]

_Array = np.ndarray[Any, np.dtype[np.float64]]

_FARTHEST = 2.0  # times the cut: where a censored score may lie at most
_MOST_MISSING = 0.9
_STEPS, _TOLERANCE = 200, 1e-8


def censored_normal(scores: _Array, cut: float) -> tuple[float, float, float]:
    """Fit N(mean, variance) to scores of which those beyond +-cut are known to be so, and no more.

    Args:
        scores: Normal scores, shape `(n,)`.
        cut: What lies beyond it is censored.

    Returns:
        Mean and variance (with divisor n) of greatest likelihood, and the share that is missing.
    """
    n = len(scores)
    inside = scores[np.abs(scores) < cut]
    above, below = int((scores >= cut).sum()), int((scores <= -cut).sum())
    total, squares = float(inside.sum()), float(np.square(inside).sum())
    if above + below == 0:
        return total / n, squares / n - (total / n) ** 2, 0.0

    # With most of them beyond one side, the width is not seen: it is taken to be right, or wider.
    least = 1.0 if 2 * max(above, below) > n else 1e-6

    def update(mean: float, variance: float) -> tuple[float, float]:
        sd = math.sqrt(variance)
        up, up_square = _moments_beyond(mean, sd, cut)
        down, down_square = _moments_beyond(-mean, sd, cut)
        first = (total + above * up - below * down) / n
        second = (squares + above * up_square + below * down_square) / n
        return first, max(second - first**2, least)

    clipped = np.clip(scores, -cut, cut)
    mean, variance = float(clipped.mean()), max(float(clipped.var()), least, 1e-2)
    for _ in range(_STEPS):
        before = mean, variance
        mean, variance = update(mean, variance)
        if abs(mean - before[0]) + abs(variance - before[1]) < _TOLERANCE:
            break
    step = 1e-4 * variance
    rate = (update(mean, variance + step)[1] - update(mean, variance)[1]) / step
    return mean, variance, min(max(rate, 0.0), _MOST_MISSING)


def _moments_beyond(mean: float, sd: float, cut: float) -> tuple[float, float]:
    """First two moments of N(mean, sd^2) between the cut and where a score may lie at most."""
    a, b = (cut - mean) / sd, (_FARTHEST * cut - mean) / sd
    mass = (
        float(special.ndtr(-a) - special.ndtr(-b))
        if a > 0
        else float(special.ndtr(b) - special.ndtr(a))
    )
    if mass < 1e-12:
        nearest = min(max(mean, cut), _FARTHEST * cut)
        return nearest, nearest**2
    density_a, density_b = (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) for z in (a, b))
    shift = (density_a - density_b) / mass
    first = mean + sd * shift
    spread = 1 + (a * density_a - b * density_b) / mass - shift**2
    return first, first**2 + sd**2 * max(spread, 0.0)


def censored_chi_square(squares: _Array, dim: int, cut: float) -> tuple[float, float]:
    """Fit variance * chi^2_dim to squares of which those beyond the cut are known to be so only.

    Args:
        squares: Squared lengths, shape `(n,)`.
        dim: Degrees of freedom.
        cut: What lies beyond it is censored.

    Returns:
        Variance of greatest likelihood, and the share that is missing.
    """
    n, inside, outside = (
        len(squares),
        float(squares[squares < cut].sum()),
        int((squares >= cut).sum()),
    )
    if outside == 0:
        return inside / (n * dim), 0.0

    def update(variance: float) -> float:
        return (inside + outside * _mean_beyond(variance, dim, cut)) / (n * dim)

    variance = max(float(np.minimum(squares, cut).mean()) / dim, 1e-4)
    for _ in range(_STEPS):
        before, variance = variance, update(variance)
        if abs(variance - before) < _TOLERANCE:
            break
    step = 1e-4 * variance
    rate = (update(variance + step) - update(variance)) / step
    return variance, min(max(rate, 0.0), _MOST_MISSING)


def _mean_beyond(variance: float, dim: int, cut: float) -> float:
    """Mean of variance times chi^2_dim between the cut and where a score may lie at most."""
    a, b = cut / variance, _FARTHEST**2 * cut / variance
    mass = float(special.chdtrc(dim, a) - special.chdtrc(dim, b))
    if mass < 1e-12:
        return cut if variance * dim < cut else _FARTHEST**2 * cut
    more = float(special.chdtrc(dim + 2, a) - special.chdtrc(dim + 2, b))
    return variance * dim * more / mass
