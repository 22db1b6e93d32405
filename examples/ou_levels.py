"""An Ornstein-Uhlenbeck path on three time steps: the levels of `ou_study.toml`."""

from __future__ import annotations

import torch
from torch import Tensor

FINEST = 96  # steps of the finest level, over 10 units of time
SEEN = 6  # values of the path that are data


def noise(n: int, generator: torch.Generator) -> Tensor:
    """Standard normal steps of the finest level, shape `(n, 96)`: what all levels share."""
    return torch.randn(n, FINEST, generator=generator)


def path(theta: Tensor, u: Tensor, *, steps: int) -> Tensor:
    """Euler's method for dx = rate (mean - x) dt + spread dW, with the increments of one path.

    A coarse step takes the sum of the fine increments that it spans, so that levels that run with
    the same u follow the same Brownian path.

    Args:
        theta: rate, mean and spread, shape `(n, 3)`.
        u: The noise, shape `(n, 96)`.
        steps: Number of time steps, a divisor of 96 and a multiple of 6.

    Returns:
        The path at six times, shape `(n, 6)`.
    """
    rate, mean, spread = theta.unbind(1)
    dt = 10.0 / steps
    together = FINEST // steps
    increments = u.reshape(len(u), steps, together).sum(2) * (dt / together) ** 0.5
    x, seen = torch.full_like(mean, 2.0), []
    for i in range(steps):
        x = x + rate * (mean - x) * dt + spread * increments[:, i]
        if (i + 1) % (steps // SEEN) == 0:
            seen.append(x)
    return torch.stack(seen, dim=1)
