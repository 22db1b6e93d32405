"""What ranks say of a posterior's width and centre: estimates, intervals, p-values.

If a posterior is calibrated, the SBC ranks of a parameter are uniform, so their normal scores
w = Phi^-1(rank) are N(0, 1), whatever the posterior's shape. Where its widths have to be multiplied
by s and its centres moved by b of its standard deviations, w is N(b, s^2) if the posterior is
Gaussian, and nearly so else. The same holds of the joint highest-density ranks and chi^2_d.

Intervals are those of normal samples (chi^2, Student's t, Hotelling's T^2). A rank beyond all draws
says only that w lies beyond a cut (`_censored.py`); what these lack is taken off the degrees of
freedom. Where the posterior is calibrated that is next to nothing, and all is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from mlsbi.checking._censored import censored_chi_square, censored_normal
from mlsbi.checking.bands import Band

__all__ = ["SCALE", "SHIFT", "Estimate", "Zone", "joint_scale", "joint_shift", "parameter"]

_Array = np.ndarray[Any, np.dtype[np.float64]]

_TOLERABLE_TOGETHER = math.log(1.15)  # however many parameters
_SURE = 0.9  # confidence of the interval that has to lie inside the tolerance
_BISECTIONS = 60


@dataclass(frozen=True)
class Zone:
    """How far off is good enough.

    Attributes:
        indifferent: Up to here a fit is as good as right: no alarm.
        tolerable: An interval inside of this is called calibrated.
    """

    indifferent: float
    tolerable: float


SCALE = Zone(math.log(1.1), math.log(4 / 3))  # of |log factor|
SHIFT = Zone(0.15, 0.5)  # in posterior standard deviations


@dataclass(frozen=True)
class Estimate:
    """One figure and what it proves.

    Attributes:
        band: The estimate and its interval.
        p_value: Of the hypothesis that the truth is indifferent.
        fine: Whether a 90 % interval lies inside the tolerance.
        distance: |log factor|, or |shift|, in units in which the zones hold.
        unit: Standard error of that distance times the root of the number of runs.
        zone: The zones.
    """

    band: Band
    p_value: float
    fine: bool
    distance: float
    unit: float
    zone: Zone


def parameter(ranks: _Array, *, num_draws: int, level: float) -> tuple[Estimate, Estimate]:
    """Width factor and shift of one parameter.

    Args:
        ranks: Its SBC ranks, shape `(n,)`, n >= 2.
        num_draws: Posterior draws that they are ranks among.
        level: Confidence of the intervals.

    Returns:
        The factor's and the shift's.
    """
    scores, cut = _normal_scores(ranks), float(special.ndtri(num_draws / (num_draws + 1)))
    n = len(scores)
    mean, variance, missing = censored_normal(scores, cut)
    known = max(n * (1 - missing), 2.0)
    scale = _scale(math.sqrt(variance * n / (n - 1)), known - 1, SCALE, n=n, level=level)
    error = scale.band.value / math.sqrt(known)

    def ends(confidence: float) -> tuple[float, float]:
        reach = error * float(special.stdtrit(known - 1, (1 + confidence) / 2))
        return mean - reach, mean + reach

    low, high = ends(_SURE)
    near, far = ((abs(mean) + side * SHIFT.indifferent) / error for side in (-1, 1))
    shift = Estimate(
        Band(mean, *ends(level), level, "Student's t of normal scores"),
        float(special.stdtr(known - 1, -near) + special.stdtr(known - 1, -far)),
        -SHIFT.tolerable < low and high < SHIFT.tolerable,
        abs(mean),
        scale.band.value,
        SHIFT,
    )
    return scale, shift


def joint_scale(
    hpd: _Array, dim: int, *, num_draws: int, level: float, shift: float = 0.0
) -> Estimate:
    """Width factor of all parameters together.

    Args:
        hpd: Joint highest-density ranks, shape `(n,)`.
        dim: Number of parameters d.
        num_draws: Posterior draws that they are ranks among.
        level: Confidence of the interval.
        shift: What `joint_shift` finds; its part in the ranks is taken off, since a region whose
            centre is off holds the truth less often than it says, as a narrow one does.

    Returns:
        The factor's estimate.
    """
    squares = special.chdtri(dim, np.clip(1 - hpd, 1e-15, 1.0))
    n, cut = len(squares), float(special.chdtri(dim, 1 / (num_draws + 1)))
    variance, missing = censored_chi_square(squares, dim, cut)
    value = math.sqrt(variance / (1 + shift**2 / dim))
    zone = Zone(SCALE.indifferent, max(SCALE.tolerable / math.sqrt(dim), _TOLERABLE_TOGETHER))
    return _scale(value, max(n * dim * (1 - missing), 1.0), zone, n=n, level=level)


def joint_shift(
    ranks: _Array, parameters: Sequence[tuple[Estimate, Estimate]], *, level: float
) -> Estimate | None:
    """Length of the shift of all centres together.

    It is the Mahalanobis length of the mean normal score, by Hotelling's T^2: in standard
    deviations of the truth around the posterior's centre.

    Args:
        ranks: SBC ranks, shape `(n, d)`.
        parameters: What `parameter` says of each.
        level: Confidence of the interval.

    Returns:
        The length's estimate; None if there are fewer than d + 3 runs.
    """
    n, dim = ranks.shape
    spare = n - dim
    if spare < 3:
        return None
    scores = _normal_scores(ranks)
    centred = scores - scores.mean(0)
    centred /= np.maximum(np.sqrt(np.square(centred).sum(0)), 1e-12)
    alike = centred.T @ centred
    mean = np.array([shift.band.value / scale.band.value for scale, shift in parameters])
    squared = n * float(mean @ np.linalg.pinv(alike, hermitian=True) @ mean)
    ratio = squared * spare / (dim * (n - 1))
    root = math.sqrt(dim)

    def end(least: float, chance: float) -> float:
        return math.sqrt(_noncentrality(max(ratio, least), dim, spare, chance) / n)

    # A ratio below what chance gives on average would prove more than there is to prove.
    ends = end(0.0, (1 + level) / 2), end(1.0, (1 - level) / 2)
    value = math.sqrt(max(ratio * dim * (spare - 2) / spare - dim, 0.0) / n)
    edge = n * (SHIFT.indifferent * root) ** 2
    return Estimate(
        Band(value, *ends, level, "Hotelling's T^2 of normal scores"),
        1 - float(special.ncfdtr(dim, spare, edge, ratio)),
        end(1.0, (1 - _SURE) / 2) < SHIFT.tolerable * root,
        value / root,
        1.0,
        SHIFT,
    )


def _normal_scores(ranks: _Array) -> _Array:
    scores: _Array = special.ndtri(np.clip(ranks, 1e-12, 1 - 1e-12))
    return scores


def _scale(value: float, known: float, zone: Zone, *, n: int, level: float) -> Estimate:
    """A width factor's evidence; `known` degrees of freedom."""
    value = max(value, 1e-6)

    def ends(confidence: float) -> tuple[float, float]:
        tails = (1 - confidence) / 2, (1 + confidence) / 2  # of the upper tail: low end first
        low, high = (value * math.sqrt(known / special.chdtri(known, t)) for t in tails)
        return low, high

    low, high = ends(_SURE)
    return Estimate(
        Band(value, *ends(level), level, "chi-square of normal scores"),
        _scale_p_value(value, known, math.exp(zone.indifferent)),
        -zone.tolerable < math.log(low) and math.log(high) < zone.tolerable,
        abs(math.log(value)),
        math.sqrt(n / (2 * known)),
        zone,
    )


def _scale_p_value(value: float, known: float, edge: float) -> float:
    """Of the hypothesis that the factor lies within 1 / edge .. edge; of both sides alike.

    The chance, at the less favourable edge, of an estimate as far beyond the edge that it is near
    to, plus that of one as unlikely on the other side.
    """
    total = known * value**2
    side = min(special.chdtrc(known, total / edge**2), special.chdtr(known, total * edge**2))
    side = min(max(float(side), 1e-300), 0.5)
    below = special.chdtr(known, special.chdtri(known, 1 - side) / edge**4) if side > 1e-15 else 0.0
    above = special.chdtrc(known, special.chdtri(known, side) * edge**4)
    return min(1.0, side + float(max(below, above)))


def _noncentrality(ratio: float, dim: int, spare: int, chance: float) -> float:
    """The noncentrality with which F is below `ratio` with this chance; 0 if none is."""
    if float(special.fdtr(dim, spare, ratio)) <= chance:
        return 0.0
    low, high = 0.0, 1.0
    while float(special.ncfdtr(dim, spare, high, ratio)) > chance:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if float(special.ncfdtr(dim, spare, middle, ratio)) > chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2
