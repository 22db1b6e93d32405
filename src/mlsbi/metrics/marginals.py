"""Highest-density ranks of one parameter at a time, from draws.

The density of a parameter alone is not known, so it is estimated from the draws: a Gaussian kernel
on a grid, reflected at the ends of the grid, which the support's bounds cut off. The true value
counts as one draw more in the estimate. All n + 1 values are then treated alike, and the rank of
the true one is uniform under a calibrated posterior whatever the estimate is worth: full conformal
prediction (Vovk, Gammerman, Shafer 2005, section 2.2). A density estimated from the draws alone
would be too high at the draws, by their own kernels, and the regions would look too small. For the
same reason the true value counts as often as draws do on average, where these were resampled.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_seed
from mlsbi.metrics._draws import as_theta_and_draws
from mlsbi.metrics.coverage import hpd_ranks

__all__ = ["marginal_hpd_ranks"]

_GRID = 256
_PAD = 4.0  # bandwidths beyond the outermost values
_COLUMNS_AT_ONCE = 512


def marginal_hpd_ranks(
    theta: Any, draws: Any, *, low: Any = None, high: Any = None, seed: int
) -> Tensor:
    """Credibility of the smallest highest-density set of each marginal that holds the truth.

    Args:
        theta: True parameters, shape `(n, d)`.
        draws: Posterior draws, shape `(num_draws, n, d)`.
        low: Lower bounds of the support, shape `(d,)`, minus infinity where there is none; None:
            there are none.
        high: Upper bounds, as `low`.
        seed: Seed of the spreading over the ranks' steps.

    Returns:
        Ranks in (0, 1), float64, shape `(n, d)`; uniform if the posterior is calibrated.

    Raises:
        TypeError: If an argument is not array-like, or the seed no integer.
        ValueError: If shapes do not agree, or a value is not finite.
    """
    true, drawn = as_theta_and_draws(theta, draws)
    check_seed(seed)
    n, d = true.shape
    together = torch.cat([true[None], drawn]).permute(1, 2, 0).reshape(n * d, -1)
    bounds = [_bound(b, d, name=name).repeat(n) for b, name in ((low, "low"), (high, "high"))]
    parts = zip(*(v.split(_COLUMNS_AT_ONCE) for v in (together, *bounds)), strict=True)
    density = torch.cat([_density(*part) for part in parts])
    ranks = hpd_ranks(density[:, 0], density[:, 1:].T, seed=seed)
    return ranks.reshape(n, d)


def _bound(bound: Any, d: int, *, name: str) -> Tensor:
    none = -math.inf if name == "low" else math.inf
    if bound is None:
        return torch.full((d,), none, dtype=torch.float64)
    return as_tensor(bound, name=name, shape=(d,), dtype=torch.float64, finite=False).cpu()


def _density(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Estimated density at each of the values, both `(c, m)`, up to a factor a row.

    The first value is the true one.
    """
    width = _bandwidth(values)
    first = torch.maximum(values.amin(1) - _PAD * width, low)
    last = torch.minimum(values.amax(1) + _PAD * width, high)
    # a value outside the support (or all values equal) is no reason to stop
    first, last = torch.minimum(first, values.amin(1)), torch.maximum(last, values.amax(1))
    span = (last - first).clamp(min=1e-300)
    place = ((values - first[:, None]) / span[:, None]) * _GRID - 0.5  # in cells, centre to centre
    place = place.clamp(0, _GRID - 1)
    left = place.long().clamp(max=_GRID - 2)
    right = place - left
    counts = torch.zeros(len(values), _GRID, dtype=torch.float64)
    weight = torch.ones_like(values)
    weight[:, 0] = _copies(values[:, 1:])
    counts.scatter_add_(1, left, weight * (1 - right))
    counts.scatter_add_(1, left + 1, weight * right)
    smooth = _smoothed(counts, width / span)
    return smooth.gather(1, left) * (1 - right) + smooth.gather(1, left + 1) * right


def _copies(draws: Tensor) -> Tensor:
    """How often the value of a draw appears in its row `(c, m)`, on average, `(c,)`."""
    ordered = draws.sort(1).values.contiguous()
    last = torch.searchsorted(ordered, ordered, right=True)
    return (last - torch.searchsorted(ordered, ordered)).double().mean(1)


def _bandwidth(values: Tensor) -> Tensor:
    """Silverman's rule of thumb, with the quartiles' width where tails are heavy, `(c,)`."""
    quartiles = values.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=1)
    middle = (quartiles[1] - quartiles[0]) / 1.349
    sd = values.std(1)
    spread = torch.where(middle > 0, torch.minimum(sd, middle), sd)
    return 0.9 * spread * float(values.shape[1]) ** -0.2


def _smoothed(counts: Tensor, width: Tensor) -> Tensor:
    """Gaussian smoothing of cells `(c, g)` by `width` (a share of the grid), reflecting ends.

    In the cosine basis, whose functions are even about both ends, it is a factor for each row and
    frequency: exp(-(pi k width)^2 / 2).
    """
    k = torch.arange(_GRID, dtype=torch.float64)
    basis = torch.cos(math.pi / _GRID * k[:, None] * (k[None, :] + 0.5))
    norm = torch.full((_GRID,), 2.0 / _GRID, dtype=torch.float64)
    norm[0] /= 2
    damped = (counts @ basis.T) * norm * torch.exp(-0.5 * (math.pi * width[:, None] * k).square())
    return damped @ basis
