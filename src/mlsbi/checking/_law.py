"""Do two sets of runs (theta, x) follow one law: few of the one, and few or many of the other.

If theta is drawn from the prior in both, every function of a run has one law in both, whatever the
function is, as long as none of these runs had a part in choosing it. Here it is what is left of x
when a quadratic regression on theta, fitted to other runs, has explained what it can, put to unit
covariance: its mean, its width, and its slope in theta are compared by permuting the runs between
the two sets (Fisher 1935, The design of experiments), which is exact however few they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.estimators.transforms import Standardise
from mlsbi.planning._evidence import basis_of_theta

__all__ = ["FEWEST", "Runs", "features_of", "same_law"]

FEWEST = 5  # runs of a set below which nothing is said
_FEWEST_TO_LEARN = 20
_MOST_TO_LEARN = 2000
_MOST_ROWS = 2000  # of a set
_MOST_OUTPUTS = 100
_MOST_SLOPES = 10
_PERMUTATIONS = 1999
_AT_ONCE = 200
_FAR = 6.0  # residuals count no more than as many standard deviations
_SHRINKAGE = 0.02
_SMALL = 0.01  # of a residual variance: smaller ones are as small
_SAME = 1e-9  # relative: two permutations that give the same value are ties


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of one law.

    Attributes:
        theta: Shape `(n, d)`.
        x: Shape `(n, *event)`.
    """

    theta: Tensor
    x: Tensor

    def __len__(self) -> int:
        return len(self.theta)

    def head(self, most: int) -> Runs:
        """The first rows."""
        return Runs(self.theta[:most], self.x[:most])

    def halves(self) -> tuple[Runs, Runs]:
        """Every second row, and the others."""
        return (
            Runs(self.theta[::2], self.x[::2]),
            Runs(self.theta[1::2], self.x[1::2]),
        )


def features_of(learn: Runs, sets: Sequence[Runs]) -> list[list[Tensor]] | None:
    """Functions of runs that regressions fitted to `learn` give.

    Args:
        learn: Runs of a law that is like theirs, none of them in a set.
        sets: The runs to describe.

    Returns:
        For each set a list of families, each of shape `(n, F)`: of place, of width (of what is
        wider and of what is narrower), of slope in theta. None where `learn` has too few runs.
    """
    if len(learn) < _FEWEST_TO_LEARN:
        return None
    learn = learn.head(_MOST_TO_LEARN)
    every = [learn, *sets]
    counts = [len(runs) for runs in every]
    units = Standardise.fit(learn.x.flatten(1), tails="asinh")
    z = torch.cat([_few_outputs(units(runs.x.flatten(1)).double()) for runs in every])
    basis = basis_of_theta(torch.cat([runs.theta for runs in every]))
    basis = basis * len(basis) ** 0.5  # of unit variance
    design = torch.cat([torch.ones(len(basis), 1, dtype=basis.dtype), basis], 1)
    known, target = design[: counts[0]], z[: counts[0]]
    ridge = 1e-6 * counts[0] * torch.eye(design.shape[1], dtype=basis.dtype)
    left = z - design @ torch.linalg.solve(known.mT @ known + ridge, known.mT @ target)
    left = (left @ _whitening(left[: counts[0]])).clamp(-_FAR, _FAR)
    slopes = (left[:, :, None] * basis[:, None, :_MOST_SLOPES]).flatten(1)
    families = [left, left.square(), (left.square() + _SMALL).log(), slopes]
    split = [family.split(counts)[1:] for family in families]
    return [list(one) for one in zip(*split, strict=True)]


def _few_outputs(z: Tensor) -> Tensor:
    if z.shape[1] <= _MOST_OUTPUTS:
        return z
    return z[:, torch.linspace(0, z.shape[1] - 1, _MOST_OUTPUTS).round().long()]


def _whitening(left: Tensor) -> Tensor:
    """A matrix that gives residuals unit covariance, shrunk towards each output's own variance."""
    covariance = torch.cov(left.T).reshape(left.shape[1], left.shape[1])
    own = covariance.diagonal().clamp(min=1e-12)
    scaled = covariance / (own[:, None] * own[None, :]).sqrt()
    shrinkage = max(_SHRINKAGE, min(0.5, left.shape[1] / len(left)))
    eye = torch.eye(len(own), dtype=left.dtype)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * scaled + shrinkage * eye)
    found: Tensor = own.rsqrt()[:, None] * vectors / values.sqrt()
    return found


def same_law(first: Sequence[Tensor], second: Sequence[Tensor], *, seed: int) -> float:
    """P-value of "both sets follow one law", by their families of features, (n, F) and (m, F)."""
    first, second = ([rows[:_MOST_ROWS] for rows in one] for one in (first, second))
    if len(second[0]) < len(first[0]):
        first, second = second, first
    picks = _picks(len(first[0]), len(second[0]), make_generator(seed, "same law"))
    found: list[Tensor] = []
    for one, other in zip(first, second, strict=True):
        found += _statistics(torch.cat([one, other]), picks)
    return _best(torch.stack(found))


def _statistics(rows: Tensor, picks: Tensor) -> list[Tensor]:
    """How far the means of the picked rows are from those of all: as a whole, and the farthest."""
    width = rows.std(0)
    rows = (rows - rows.mean(0)) / width.clamp(min=1e-9 * float(width.max().clamp(min=1e-300)))
    squares = torch.cat([_means(rows, block) for block in picks.split(_AT_ONCE)]).square()
    return [squares.sum(1), squares.amax(1)]


def _picks(n: int, m: int, generator: torch.Generator) -> Tensor:
    """Which of n + m rows are the n, `(p, n)`: as they are, then at random."""
    picks = [torch.arange(n)]
    picks += [torch.randperm(n + m, generator=generator)[:n] for _ in range(_PERMUTATIONS)]
    return torch.stack(picks)


def _means(rows: Tensor, picks: Tensor) -> Tensor:
    """Means of the rows that each of `picks` (p, n) picks, `(p, F)`."""
    chosen = torch.zeros(len(picks), len(rows), dtype=rows.dtype)
    chosen.scatter_(1, picks, 1 / picks.shape[1])
    return chosen @ rows


def _best(values: Tensor) -> float:
    """P-value of the best of several statistics, `(k, p)`, the first of the p as the runs are."""
    spread = values.std(1, correction=0, keepdim=True)
    usable = spread > 1e-12 * values.abs().amax(1, keepdim=True).clamp(min=1e-300)
    centred = (values - values.mean(1, keepdim=True)) / spread.clamp(min=1e-300)
    best = torch.where(usable, centred, 0.0).amax(0)
    return float((best >= best[0] - _SAME * best[0].abs()).double().mean())
