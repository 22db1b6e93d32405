"""By how much a density should be wider, from runs that it has not seen.

Three ways, by the scores of `mlsbi.checking.scaled`, s being the factor.

"score": the s of which log s is the mode of its posterior: the prior is N(0, 1), and the runs' log
score, sum_i log q_s(run i), is the likelihood. Few runs say little, and leave the factor near one.

"coverage": the s at which the mean of the credibilities u_i of the smallest regions that hold the
runs is 1/2, as it is where the regions of all credibilities hold the truth as often as they say on
average. A run far off counts no more than another, so that it widens more than the score where many
are a little off, and less where one is far off. Its logarithm is drawn towards zero by the same
prior, as if n runs of d dimensions told it to within sqrt(2 / (n d)), twice what Gaussians take.

"conformal": the least s at which the region of one credibility held ceil((n + 1) credibility) of
the n runs. A new run is then held with at least that probability, if the runs and the new one are
exchangeable and the fit has not seen them (Vovk, Gammerman and Shafer 2005; Lei et al. 2018, J. Am.
Stat. Assoc. 113, 1094). In cross-fitting the guarantee is that of CV+ (Barber et al. 2021, Ann.
Stat. 49, 486): twice the error at worst, and about the error in practice.

Measured on subsets of 10, 20, 50 and 150 of 500 test runs of single-level and transfer fits of two
tasks: of estimates by the score, with priors of several widths, by the chi-square of the ranks, and
by means of these with "coverage", the one above had the best log score of new runs, or was within
0.01 nats of the best, but for fits whose training was absurdly long. "coverage" had the lowest
coverage errors, at a cost of up to 0.1 nats.
"""

from __future__ import annotations

import math

import torch
from scipy import special
from torch import Tensor

from mlsbi.checking._censored import censored_normal
from mlsbi.checking.scaled import FACTORS

__all__ = ["METHODS", "at_factor", "factor_of", "relative_factors"]

METHODS = ("score", "coverage", "conformal")

_RANK_CUT = float(special.ndtri(0.998))  # what lies beyond it is farther than draws can say
_LOG_FACTORS = torch.tensor(FACTORS, dtype=torch.float64).log()
_STEP = float(_LOG_FACTORS[1] - _LOG_FACTORS[0])
_PRIOR_SD = 1.0  # of log s
_RELATIVE_SD = 0.3  # of the logarithms of the parameters' factors about their mean


def factor_of(
    log_prob: Tensor, hpd: Tensor, dim: int, *, method: str, credibility: float = 0.9
) -> float:
    """The factor that runs ask for.

    Args:
        log_prob: Their log densities under each of `FACTORS`, `(n, 33)`.
        hpd: The credibilities of the smallest regions that hold them, likewise.
        dim: Dimension d of what the density is of.
        method: One of `METHODS`.
        credibility: Of the region that "conformal" makes right.

    Returns:
        Between `FACTORS[0]` and `FACTORS[-1]`.

    Raises:
        ValueError: The runs are too few for "conformal", or too many of them lie outside the
            region even at the largest factor.
    """
    if method == "conformal":
        return _conformal(hpd, credibility)
    if method == "score":
        return math.exp(_best_score(log_prob))
    drawn = _PRIOR_SD**2 / (_PRIOR_SD**2 + 2 / (len(hpd) * dim))
    return math.exp(drawn * _crossing(hpd.mean(0), 0.5))


def _best_score(log_prob: Tensor) -> float:
    """The mode of log s; between factors by a parabola."""
    total = log_prob.sum(0) - 0.5 * (_LOG_FACTORS / _PRIOR_SD).square()
    best = int(total.argmax())
    if best in (0, len(FACTORS) - 1):
        return float(_LOG_FACTORS[best])
    before, at, after = total[best - 1 : best + 2].tolist()
    bend = before - 2 * at + after
    aside = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(_LOG_FACTORS[best]) + aside * _STEP


def _crossing(curve: Tensor, level: float) -> float:
    """Where a curve over the logarithms of `FACTORS` that falls on the whole comes down to it."""
    above = (curve > level).nonzero().flatten()
    if len(above) == 0:
        return float(_LOG_FACTORS[0])
    last = int(above[-1])
    if last == len(FACTORS) - 1:
        return float(_LOG_FACTORS[-1])
    high, low = float(curve[last]), float(curve[last + 1])
    return float(_LOG_FACTORS[last]) + _STEP * (high - level) / max(high - low, 1e-12)


def _conformal(hpd: Tensor, credibility: float) -> float:
    n = len(hpd)
    place = math.ceil((n + 1) * credibility - 1e-9)
    if place > n:
        least = math.ceil(credibility / (1 - credibility) - 1e-9)
        raise ValueError(
            f"credibility of {credibility:g} takes at least {least} runs by method='conformal'; "
            f"got {n}. Choose a lower one, or method='score'."
        )
    if int((hpd[:, -1] <= credibility).sum()) < place:
        raise ValueError(
            f"check has too many runs far from where the fit puts them: a region of credibility "
            f"{credibility:g} would have to be more than {FACTORS[-1]:g} times as wide to hold "
            "them. The fit is wrong rather than too narrow: look at its status and at the data, or "
            "use method='score'."
        )
    needed = sorted(_crossing(row, credibility) for row in hpd)
    return math.exp(needed[place - 1])


def relative_factors(rank: Tensor) -> Tensor:
    """By how much each parameter's factor departs from the one for all.

    An SBC rank u is uniform where a parameter's width is right; where it should be wider by s, the
    normal score of u is about N(0, s^2). Ranks do not change with the units, so that s is the
    factor in the network's units. The logarithms of the factors are drawn towards their mean, as
    if they were N(mean, 0.09) before the runs are seen.

    Args:
        rank: SBC ranks, `(n, d)`.

    Returns:
        Factors `(d,)` with a mean square of one, as the joint factor's square is the mean of the
        parameters'.
    """
    scores = torch.special.ndtri(rank.clamp(1e-9, 1 - 1e-9)).numpy()
    fits = [censored_normal(column, _RANK_CUT) for column in scores.T]
    logs = 0.5 * torch.tensor([mean**2 + variance for mean, variance, _ in fits]).double().log()
    aside = (logs - logs.mean()) * _RELATIVE_SD**2 / (_RELATIVE_SD**2 + 1 / (2 * len(rank)))
    factors = aside.exp()
    return factors / factors.square().mean().sqrt()


def at_factor(scores: Tensor, factor: float) -> Tensor:
    """Scores `(n, 33)` under each of `FACTORS`, at a factor between them, `(n,)`."""
    place = (math.log(factor) - float(_LOG_FACTORS[0])) / _STEP
    left = min(max(math.floor(place), 0), len(FACTORS) - 2)
    share = min(max(place - left, 0.0), 1.0)
    if share == 0:
        return scores[:, left]
    return (1 - share) * scores[:, left] + share * scores[:, left + 1]
