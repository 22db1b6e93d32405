"""Exact log densities of the g-and-k distribution, by inverting its monotone map z -> x.

x = theta1 + theta2 (1 + 0.8 tanh(theta3 z / 2)) (1 + z^2)^k z with k = log theta4, hence
log p(x) = log p(z) - log(dx/dz) at the one z that gives x.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["CUBIC", "high_log_density", "low_log_density", "shape"]

CUBIC = math.pi / 12
"""Coefficient of v^3 in the coarse level's z = sqrt(2) c (v + pi/12 v^3), v = 2 u - 1."""

_BISECTIONS = 12
_NEWTON_STEPS = 8


def shape(z: Tensor, skew: Tensor, k: Tensor) -> Tensor:
    """The standardised quantile (x - theta1) / theta2 of z; all shapes broadcast."""
    return (1 + 0.8 * torch.tanh(skew * z / 2)) * (1 + z.square()) ** k * z


def high_log_density(theta: Tensor, x: Tensor) -> Tensor:
    """Exact log p(x | theta) of the fine level, z ~ N(0, 1); theta `(n, 4)`, x `(n,)`, float64."""
    z, log_slope = _invert(theta, x)
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi) - log_slope


def low_log_density(theta: Tensor, x: Tensor, *, c: float) -> Tensor:
    """Exact log p(x | theta) of the coarse level with constant c; -inf outside its range."""
    z, log_slope = _invert(theta, x)
    # The one real root v of v + CUBIC v^3 = z / (sqrt(2) c).
    root = math.sqrt(3 * CUBIC)
    v = 2 / root * torch.sinh(torch.asinh(1.5 * root * z / (math.sqrt(2) * c)) / 3)
    log_dz_du = torch.log(2 * math.sqrt(2) * c * (1 + 3 * CUBIC * v.square()))
    return torch.where(v.abs() <= 1, -log_dz_du - log_slope, -math.inf)


def _invert(theta: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The z of x, and log dx/dz there."""
    location, scale, skew, k = (*theta[..., :3].unbind(-1), theta[..., 3].log())
    target = (x - location) / scale
    z = _solve(target, skew, k)
    return z, scale.log() + _log_slope(z, skew, k)


def _solve(target: Tensor, skew: Tensor, k: Tensor) -> Tensor:
    """The z with shape(z) = target: bisection, then Newton steps that stay in the bracket."""
    # |shape(z)| is at least 0.2 |z|^(2k + 1), which bounds z.
    reach = (5 * target.abs()) ** (1 / (2 * k + 1))
    low, high = torch.where(target < 0, -reach, 0.0), torch.where(target < 0, 0.0, reach)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = shape(middle, skew, k) > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    z = (low + high) / 2
    for _ in range(_NEWTON_STEPS):
        residual = shape(z, skew, k) - target
        low, high = torch.where(residual > 0, low, z), torch.where(residual > 0, z, high)
        step = z - residual * torch.exp(-_log_slope(z, skew, k))
        inside = (step >= low) & (step <= high)
        z = torch.where(inside, step, (low + high) / 2)
    return z


def _log_slope(z: Tensor, skew: Tensor, k: Tensor) -> Tensor:
    """Log of d shape / dz."""
    square = z.square()
    t = torch.tanh(skew * z / 2)
    growth = (1 + 0.8 * t) * (1 + 2 * k * square / (1 + square)) + 0.4 * skew * (1 - t * t) * z
    return k * torch.log1p(square) + growth.log()
