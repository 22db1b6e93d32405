"""What a pilot's columns show of levels and pairs, in figures that the doctor judges.

Noise is seen in twins, two columns with the same theta and independent u: half the mean square of
their difference is the variance that u adds at that theta. Whether two levels share their noise is
asked of the twins' differences, for theta is gone from them: were the noises independent, each
twin's difference at one of the levels could as well have the other sign, so the test that flips
signs at random is exact (Fisher 1935, The design of experiments). Correlation of x itself would not
do, since both levels respond to theta. Whether a level tells anything at all is asked by permuting
its rows (Gretton et al. 2005, doi:10.1007/11564089_7, with linear kernels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.estimators.transforms import Standardise

if TYPE_CHECKING:
    from mlsbi.planning.columns import Columns

__all__ = [
    "LevelView",
    "NoiseLink",
    "basis_of_theta",
    "dependence",
    "link_noise",
    "link_residuals",
    "response_correlation",
    "view_level",
]

MATTERS = 0.01  # share of an output's variance below which its noise does not matter
NOTHING = 1e-6  # of the variance, a thousandth of the sd: no more than rounding
_NOISE_LEFT = 2.5  # most that residuals may vary, in the variance of the noise, to count as noise
_DRAWS = 4096  # of signs; fewer where fewer exist
_PERMUTATIONS = 999
_AT_ONCE = 50
_MOST_ROWS = 256
_MOST_OUTPUTS = 512
_ROUNDING = 5e-7  # of a float32, relative
_SAME = 1e-9  # relative: two draws of signs that give the same value are ties


@dataclass(frozen=True, eq=False)
class LevelView:
    """One level's columns in its own robust units, heavy tails bent by asinh.

    Attributes:
        z: Shape `(m, D)`, float64; rows that failed are NaN.
        ok: Shape `(m,)`.
        variance: Of z, `(D,)`.
        noise: Share of each output's variance that is noise, `(D,)`; zero where it never varies.
        num_twins: Pairs of twins that `noise` is from.
        own: Of each output, the variance of what is no function of (theta, u), as a share of its
            variance, `(D,)`; None without copies.
        num_copies: Rows that were run twice.
    """

    z: Tensor
    ok: Tensor
    variance: Tensor
    noise: Tensor
    num_twins: int
    own: Tensor | None
    num_copies: int

    @property
    def varies(self) -> Tensor:
        """Outputs that vary over columns, bool `(D,)`."""
        return self.variance > NOTHING

    @property
    def noisy(self) -> Tensor:
        """Outputs whose noise matters, bool `(D,)`."""
        return self.noise > MATTERS

    @property
    def deterministic(self) -> bool:
        """Whether u changes nothing; False where there is no twin to tell."""
        return self.num_twins > 0 and not bool((self.noise > NOTHING).any())


@dataclass(frozen=True)
class NoiseLink:
    """How the noises of two levels hang together.

    Attributes:
        correlation: Of the noises, all outputs pooled.
        error: Its standard error (jackknife over twins).
        p: Probability that independent noises show a link as strong as this, between the same
            outputs of the two levels.
        p_any: The same, between any output of the one and any of the other.
        rows: Twins, or columns, that it is from.
    """

    correlation: float
    error: float
    p: float
    p_any: float
    rows: int


def view_level(columns: Columns, level: int) -> LevelView:
    """Look at one level, which has at least one column that is ok."""
    ok = columns.ok[level]
    x = columns.x[level].flatten(1)
    units = Standardise.fit(x[ok], tails="asinh")
    z = torch.where(ok.unsqueeze(1), units(x.nan_to_num(0.0, 0.0, 0.0)).double(), torch.nan)
    variance = z[ok].var(0, correction=0)
    a, b = (z[columns.twins[:, i]] for i in (0, 1))
    both = (a - b).isfinite().all(1)
    first, second = (part.flatten(1) for part in columns.copies[level])
    usable = (first.isfinite() & second.isfinite()).all(1)
    own = None
    if bool(usable.any()):
        same = (first - second).abs() <= _ROUNDING * first.abs()
        apart = torch.where(same, 0.0, units(first).double() - units(second).double())
        own = _share(apart[usable], variance)
    return LevelView(
        z, ok, variance, _share((a - b)[both], variance), int(both.sum()), own, int(usable.sum())
    )


def _share(difference: Tensor, variance: Tensor) -> Tensor:
    """Half the mean square of differences `(r, D)`, as a share of the variance."""
    if len(difference) == 0:
        return torch.zeros_like(variance)
    share = difference.square().mean(0) / 2 / variance.clamp(min=1e-300)
    return torch.where(variance > NOTHING, share, 0.0)


def link_noise(coarse: LevelView, fine: LevelView, twins: Tensor) -> NoiseLink | None:
    """Test whether two levels of the same shape share their noise; None without twins."""
    picked = twins[:_MOST_ROWS]
    low, high = (v.z[picked[:, 0]] - v.z[picked[:, 1]] for v in (coarse, fine))
    rows = (low + high).isfinite().all(1)
    return _link(low[rows], high[rows], coarse, fine)


def link_residuals(coarse: LevelView, fine: LevelView, theta: Tensor) -> NoiseLink | None:
    """The same from what a regression on theta leaves of all columns: more rows, less exact.

    What the regression misses of the response looks like a link, so that there is no answer where
    more is left than noise, by the twins, accounts for.
    """
    rows = (coarse.ok & fine.ok).nonzero().flatten()[:_MOST_ROWS]
    basis = basis_of_theta(theta[rows])
    left = []
    for view in (coarse, fine):
        z = view.z[rows] - view.z[rows].mean(0)
        residual = z - basis @ (basis.mT @ z)
        freedom = max(1, len(rows) - 1 - basis.shape[1])
        share = (residual.square().sum(0) / freedom / view.variance.clamp(min=1e-300))[view.noisy]
        if float(share.mean()) > _NOISE_LEFT * float(view.noise[view.noisy].mean()):
            return None
        left.append(residual)
    return _link(left[0], left[1], coarse, fine)


def _link(low: Tensor, high: Tensor, coarse: LevelView, fine: LevelView) -> NoiseLink | None:
    """From differences or residuals of the two levels, both `(r, D)`."""
    both = coarse.noisy & fine.noisy
    if len(low) < 2 or not bool(coarse.noisy.any()) or not bool(fine.noisy.any()):
        return None
    correlation, error = _pooled_correlation(low[:, both], high[:, both])
    low, high = _signed_ranks(low), _signed_ranks(high)
    products = low[:, both] * high[:, both]
    low, high = low[:, coarse.noisy], high[:, fine.noisy]
    signs = _signs(len(low))

    def under_signs(form: Tensor) -> Tensor:
        return ((signs @ form) * signs).sum(1)

    # one sign for all outputs, and a sign of its own for each
    same = [under_signs(torch.outer(products.sum(1), products.sum(1)))]
    same.append(under_signs(products @ products.mT))
    any_two = under_signs((low @ low.mT) * (high @ high.mT))
    p_same, p_any = _best(torch.stack(same)), _best(any_two.unsqueeze(0))
    return NoiseLink(correlation, error, p_same, p_any, len(low))


def _pooled_correlation(low: Tensor, high: Tensor) -> tuple[float, float]:
    """Correlation about zero over all rows and outputs, and its jackknife error over rows."""
    if low.shape[1] == 0:
        return 0.0, 0.0
    low, high = (d / d.square().mean(0).sqrt().clamp(min=1e-300) for d in (low, high))
    parts = torch.stack([(low * high).sum(1), low.square().sum(1), high.square().sum(1)])

    def ratio(sums: Tensor) -> Tensor:
        return sums[0] / (sums[1] * sums[2]).sqrt().clamp(min=1e-300)

    left_out = ratio(parts.sum(1, keepdim=True) - parts)
    r = parts.shape[1]
    error = ((r - 1) / r * (left_out - left_out.mean()).square().sum()).sqrt()
    return float(ratio(parts.sum(1))), float(error)


def _signed_ranks(difference: Tensor) -> Tensor:
    """Sign times rank of the size, of each column: no row outweighs the others."""
    ranks = difference.abs().argsort(dim=0, stable=True).argsort(dim=0) + 1
    return difference.sign() * ranks / len(difference)


def _signs(rows: int) -> Tensor:
    """Draws of signs `(s, rows)`, the first all plus; all there are if they are few."""
    if 2**rows <= _DRAWS:
        bits = torch.arange(2**rows).unsqueeze(1) >> torch.arange(rows)
    else:
        bits = torch.randint(2, (_DRAWS, rows), generator=make_generator(0, "doctor", "signs"))
        bits[0] = 0
    return 1.0 - 2.0 * (bits % 2).double()


def _best(values: Tensor) -> float:
    """P-value of the best of several statistics, `(k, draws)` with the data's own draw first."""
    centred = values - values.mean(1, keepdim=True)
    spread = centred.std(1, correction=0, keepdim=True)
    size = values.abs().amax(1, keepdim=True)
    usable = spread > 1e-12 * size.clamp(min=1e-300)
    best = torch.where(usable, centred / spread.clamp(min=1e-300), 0.0).amax(0)
    return float((best >= best[0] - _SAME * best[0].abs()).double().mean())


def basis_of_theta(theta: Tensor) -> Tensor:
    """An orthonormal basis `(m, p)` of what theta, its squares and products can explain.

    At most a third of the rows: the leading directions where there are more.
    """
    z = Standardise.fit(theta, tails="asinh")(theta).double()
    d, most = z.shape[1], max(1, len(z) // 3)
    upper = torch.triu_indices(d, d)
    products = z[:, upper[0]] * z[:, upper[1]]
    if 2 * d <= most < d + products.shape[1]:
        products = z.square()  # without the mixed ones
    features = torch.cat([z, products], dim=1) if 2 * d <= most else z
    features = features - features.mean(0)
    features = features / features.std(0, correction=0).clamp(min=1e-12)
    left, values, _ = torch.linalg.svd(features, full_matrices=False)
    return left[:, values > 1e-6 * values.max()][:, :most]


def response_correlation(coarse: LevelView, fine: LevelView, theta: Tensor) -> float:
    """Correlation of what theta explains of one level with what it explains of the other."""
    rows = (coarse.ok & fine.ok).nonzero().flatten()[:_MOST_ROWS]
    basis = basis_of_theta(theta[rows])
    low, high = (basis.mT @ (v.z[rows] - v.z[rows].mean(0)) for v in (coarse, fine))
    return float((low * high).sum() / (low.norm() * high.norm()).clamp(min=1e-300))


def dependence(level: LevelView, theta: Tensor, other: LevelView | None) -> tuple[float, float]:
    """P-values of "the level does not depend on theta" and "nor does it hang with `other`"."""
    ok = level.ok if other is None else level.ok & other.ok
    rows = ok.nonzero().flatten()[:_MOST_ROWS]
    z = _few_outputs(_ranks(level.z[rows]))
    basis = basis_of_theta(theta[rows])
    generator = make_generator(0, "doctor", "rows")
    orders = [torch.arange(len(rows))]
    orders += [torch.randperm(len(rows), generator=generator) for _ in range(_PERMUTATIONS)]
    blocks = torch.stack(orders).split(_AT_ONCE)
    explained = torch.cat([(basis[block].mT @ z).square().sum(1) for block in blocks])
    of_theta = _best(torch.stack([explained.sum(1), explained.amax(1)]))
    if other is None:
        return of_theta, 1.0
    gram, target = (v @ v.mT for v in (z, _few_outputs(_ranks(other.z[rows]))))
    linked = [
        (target[block.unsqueeze(2), block.unsqueeze(1)] * gram).sum((1, 2)) for block in blocks
    ]
    return of_theta, _best(torch.cat(linked).unsqueeze(0))


def _ranks(z: Tensor) -> Tensor:
    """Ranks of each column, so that no row outweighs others; no mean, length one (or zero)."""
    varies = z.amax(0) > z.amin(0)
    ranks = z.argsort(dim=0, stable=True).argsort(dim=0).double()
    centred = torch.where(varies, ranks - ranks.mean(0), 0.0)
    length = centred.norm(dim=0)
    return torch.where(length > 1e-6, centred / length.clamp(min=1e-300), 0.0)


def _few_outputs(z: Tensor) -> Tensor:
    if z.shape[1] <= _MOST_OUTPUTS:
        return z
    return z[:, torch.linspace(0, z.shape[1] - 1, _MOST_OUTPUTS).round().long()]
