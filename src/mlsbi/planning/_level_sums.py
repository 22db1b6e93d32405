"""Sums over columns for the multilevel table. Twins share theta, so they count as one column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Groups", "correlations", "kurtosis", "noise_share", "rate", "top_share", "twin_groups"]

_ROUNDING = 1e-12  # a mean square in standardised units that float32 outputs do not tell from 0


def twin_groups(twins: Tensor, rows: Tensor) -> Tensor:
    """A number for each of `rows`, the same for both of a pair of twins, from 0 without gaps."""
    last = max((int(of.max()) for of in (twins, rows) if len(of)), default=0)
    name = torch.arange(last + 1)
    name[twins[:, 1]] = name[twins[:, 0]]
    return name[rows].unique(return_inverse=True)[1]


class Groups:
    """Columns that are ok, by theta: means of the groups are independent of each other."""

    def __init__(self, ok: Tensor, twins: Tensor) -> None:
        """Group columns.

        Args:
            ok: Which columns count, bool, shape `(m,)`.
            twins: Pairs of columns with the same theta, shape `(r, 2)`.
        """
        self._rows = ok.nonzero().flatten()
        self._group = twin_groups(twins, self._rows)
        self._size = self._group.bincount()

    def __len__(self) -> int:
        return len(self._size)

    def _means(self, values: Tensor) -> Tensor:
        """Of each group, from values of all columns, shape `(m, *any)` to `(g, *any)`."""
        own = values[self._rows]
        total = torch.zeros(len(self), *own.shape[1:], dtype=own.dtype)
        size = self._size.reshape(-1, *[1] * (own.ndim - 1))
        return total.index_add(0, self._group, own) / size

    def mean(self, values: Tensor) -> tuple[float | None, float | None]:
        """Mean of `values`, shape `(m,)`, and its standard error; None for too few columns."""
        if len(self) == 0:
            return None, None
        means = self._means(values)
        error = float(means.std() / len(self) ** 0.5) if len(self) > 1 else None
        return float(means.mean()), error

    def variance(self, values: Tensor) -> tuple[float | None, float | None]:
        """Variance of `values`, shape `(m, p)`, mean over the p, and its standard error."""
        if len(self) < 2:
            return None, None
        squares = (values - self._means(values).mean(0)).square().mean(1)
        mean, error = self.mean(squares)
        unbiased = len(self) / (len(self) - 1)  # all but exactly, where there are twins
        return (None if mean is None else unbiased * mean), error

    def root_mean(self, values: Tensor) -> float | None:
        """Root mean square over the p of the means of `values`, shape `(m, p)`."""
        if len(self) == 0:
            return None
        return float(self._means(values).mean(0).square().mean().sqrt())


def correlations(fine: Tensor, coarse: Tensor) -> Tensor:
    """Of each column of two arrays `(n, p)`, shape `(p,)`; NaN where one does not vary."""
    if len(fine) < 3:
        return torch.full(fine.shape[1:], math.nan, dtype=fine.dtype)
    fine, coarse = fine - fine.mean(0), coarse - coarse.mean(0)
    spread = fine.square().mean(0) * coarse.square().mean(0)
    known = (fine * coarse).mean(0) / spread.sqrt()
    return torch.where(spread > _ROUNDING**2, known.clamp(-1, 1), math.nan)


def kurtosis(moved: Tensor) -> float | None:
    """Largest of the columns' E d^4 / (E d^2)^2 about the mean; None where nothing varies."""
    if len(moved) < 2:
        return None
    centred = moved - moved.mean(0)
    second, fourth = centred.square().mean(0), centred.pow(4).mean(0)
    varies = second > _ROUNDING
    return float((fourth[varies] / second[varies].square()).max()) if bool(varies.any()) else None


def top_share(moved: Tensor, share: float) -> float | None:
    """Share of the sum of squares that the largest `share` of the rows hold; None for zeros."""
    squares = moved.square().sum(1)
    total = float(squares.sum())
    if total <= _ROUNDING * moved.numel():
        return None
    return float(squares.topk(math.ceil(share * len(squares))).values.sum()) / total


def noise_share(x: Tensor, ok: Tensor, twins: Tensor) -> float | None:
    """Share of the variance of x, shape `(m, p)`, that is left at fixed theta."""
    both = twins[ok[twins].all(1)]
    variance, _ = Groups(ok, twins).variance(x)
    if len(both) == 0 or not variance:
        return None
    noise = float((x[both[:, 0]] - x[both[:, 1]]).square().mean()) / 2
    return min(noise / variance, 1.0)  # few twins may say more than all


def rate(values: Sequence[float | None], *, sign: int) -> float | None:
    """Slope of log2 of the values of levels 1 .. L against the level, times `sign`.

    None for fewer than 2 values, or where one is not known, or zero.
    """
    if len(values) < 2 or any(value is None or value <= 0 for value in values):
        return None
    y = torch.tensor(values, dtype=torch.float64).log2()
    level = torch.arange(len(values), dtype=torch.float64)
    level = level - level.mean()
    return sign * float((level * y).sum() / level.square().sum())
