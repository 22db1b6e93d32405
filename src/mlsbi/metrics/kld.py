"""Kullback-Leibler divergence of an exact and a learned density on a grid, forward: KL(p || q).

Both densities are normalised on the grid first, as in the comparisons of Hikida et al. (2025,
arXiv:2506.06087): what a learned density puts outside the grid is not counted.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_type

__all__ = ["kld_grid", "kld_on_grid"]


def kld_grid(*, low: float = -30.0, high: float = 30.0, num_points: int = 2000) -> Tensor:
    """The even grid of the g-and-k comparison, shape `(num_points,)`, float64.

    Args:
        low: First point.
        high: Last point.
        num_points: Number of points, at least 2.

    Returns:
        The points, shape `(num_points,)`.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If `low` is not below `high`, or there are fewer than two points.
    """
    num_points = check_count(num_points, name="num_points", minimum=2)
    for name, value in (("low", low), ("high", high)):
        check_type(value, (int, float), name=name, remedy="Pass a number.")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"low must be below high, both finite; got low={low} and high={high}. "
            "Pass for example low=-30.0, high=30.0."
        )
    return torch.linspace(low, high, num_points, dtype=torch.float64)


def kld_on_grid(log_p: Any, log_q: Any) -> Tensor:
    """Forward divergence KL(p || q) of two densities tabulated on the same even grid.

    Args:
        log_p: Log of the exact density at the grid points, shape `(*batch, g)`; any constant may
            be missing, since both are normalised on the grid.
        log_q: Log of the learned density at the same points, shape `(*batch, g)`.

    Returns:
        The divergence in nats, shape `(*batch,)`, float64; infinite where only q vanishes.

    Raises:
        TypeError: If an argument is not array-like.
        ValueError: If the shapes differ, a density is zero everywhere, or a value is NaN or `+inf`.
    """
    p = _normalised(log_p, name="log_p")
    q = _normalised(log_q, name="log_q")
    if p.shape != q.shape:
        raise ValueError(
            f"log_q must have the shape of log_p, {tuple(p.shape)}; got {tuple(q.shape)}. "
            "Evaluate both densities at the same grid points."
        )
    # Where p is zero its term is zero, whatever q is: without this, 0 * (-inf) would be NaN.
    terms = torch.where(p == -torch.inf, 0.0, p.exp() * (p - q))
    return terms.sum(-1)


def _normalised(value: Any, *, name: str) -> Tensor:
    """Log weights of the grid points that sum to one along the last dimension."""
    log_density = as_tensor(value, name=name, dtype=torch.float64, finite=False).detach().cpu()
    if log_density.ndim == 0 or log_density.shape[-1] < 2:
        raise ValueError(
            f"{name} must have shape (*batch, g) with g >= 2 grid points; "
            f"got {tuple(log_density.shape)}."
        )
    total = log_density.logsumexp(-1, keepdim=True)
    if not bool(total.isfinite().all()):
        raise ValueError(
            f"{name} must be a log density with some mass on the grid; got NaN, +inf, or -inf at "
            "every point of a row. Widen the grid or look at the fit's status."
        )
    return log_density - total
