"""Normal scores, and tails of few values: how far is one value from runs of which there are few.

With n runs no count gives a p-value below 1 / (n + 1), which is 0.05 at twenty, and outputs are
many. So outputs are put on a scale on which the many runs of a cheaper level are standard normal,
and what is left for the few runs is a location and a width: Student's t says the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlsbi.estimators.transforms import robust_location_scale

__all__ = ["LinearScale", "NormalScale", "two_sided", "upper_tail", "z_of"]

_TAIL = 0.025  # share of the values that say how steep a tail is
_LEAST = 1e-6  # of a unit: no width is smaller
_MOST = 99.0  # sd; farther is as far


class NormalScale:
    """Outputs to normal scores, each by the ranks of its own reference values.

    Beyond the reference values a score goes on as a straight line: as steep as the tail, and never
    steeper than the values' own robust width is, so that a tail that ends is no cliff.
    """

    def __init__(self, x: Tensor, weights: Tensor | None = None) -> None:
        """Hold reference values `x`, shape `(n, D)`, with weights `(n,)` where they are unequal."""
        order = x.double().T.sort(dim=1)
        self._values = order.values.contiguous()  # (D, n)
        if weights is None:
            weights = torch.ones(len(x), dtype=torch.float64)
        share = (weights.double() / weights.sum())[order.indices]
        self._below = torch.nn.functional.pad(share.cumsum(1), (1, 0))  # (D, n + 1)
        effective = float(weights.double().sum().square() / weights.double().square().sum())
        self._least = min(0.5 / effective, 0.25)
        self._edge = float(torch.special.ndtri(torch.tensor(1 - self._least)))
        width = robust_location_scale(x)[1]
        self._steep = tuple(self._steepness(width, upper=upper) for upper in (False, True))

    def _steepness(self, width: Tensor, *, upper: bool) -> Tensor:
        """Scores a unit of x beyond the lowest or highest value, `(D,)`."""
        tail = max(_TAIL, 2 * self._least)
        place = (1 - tail) if upper else tail
        points = torch.searchsorted(self._below[:, 1:].contiguous(), _column(place, len(width)))
        inner = self._values.gather(1, points.clamp(max=self._values.shape[1] - 1))[:, 0]
        outer = self._values[:, -1 if upper else 0]
        rise = self._edge - float(torch.special.ndtri(torch.tensor(1 - tail)))
        own = rise / (outer - inner).abs().clamp(min=1e-300)
        return torch.minimum(1 / width, own)

    def __call__(self, x: Tensor) -> Tensor:
        """Scores of x, both `(m, D)`; float64."""
        columns = x.double().T.contiguous()
        first = torch.searchsorted(self._values, columns, side="left")
        last = torch.searchsorted(self._values, columns, side="right")
        place = (self._below.gather(1, first) + self._below.gather(1, last)) / 2
        score = torch.special.ndtri(place.clamp(self._least, 1 - self._least))
        low, high = self._values[:, :1], self._values[:, -1:]
        score = score - self._steep[0][:, None] * (low - columns).clamp(min=0)
        return (score + self._steep[1][:, None] * (columns - high).clamp(min=0)).T


class LinearScale:
    """Outputs in robust widths from their median; for values that are too few for ranks."""

    def __init__(self, x: Tensor) -> None:
        """Hold the statistics of `x`, shape `(n, D)`."""
        self._location, self._width = robust_location_scale(x)

    def __call__(self, x: Tensor) -> Tensor:
        """Scores of x, both `(m, D)`; float64."""
        return (x.double() - self._location) / self._width


def _column(value: float, rows: int) -> Tensor:
    return torch.full((rows, 1), value, dtype=torch.float64)


def z_of(rows: Tensor, one: Tensor) -> Tensor:
    """Standard deviations of `rows` (n, D) that `one` (D,) is away from their mean, `(D,)`."""
    width = rows.std(0).clamp(min=_LEAST)
    return ((one - rows.mean(0)) / width).clamp(-_MOST, _MOST)


def two_sided(z: Tensor, n: int) -> Tensor:
    """P-value of a z that `z_of` found among n >= 2 normal rows, of the shape of `z`."""
    from scipy import stats

    t = z.abs() / math.sqrt(1 + 1 / n)
    found: Tensor = torch.from_numpy(2 * stats.t.sf(t.numpy(), n - 1)).reshape(z.shape)
    return found


def upper_tail(values: Tensor, one: float) -> float:
    """P-value of a value as large as `one` from the law of the n >= 3 positive `values`.

    Their logs count as normal; and never more than the share of the values says by a factor of two
    where there are enough of them to say it.
    """
    from scipy import stats

    logs = values.double().clamp(min=1e-300).log()
    z = (math.log(max(one, 1e-300)) - logs.mean()) / logs.std().clamp(min=_LEAST)
    p = float(stats.t.sf(float(z) / math.sqrt(1 + 1 / len(logs)), len(logs) - 1))
    counted = (1 + int((values >= one).sum())) / (1 + len(values))
    return max(p, counted / 2) if one <= float(values.max()) else p
