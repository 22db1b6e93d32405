"""Exact likelihood and posterior of the discretised Ornstein-Uhlenbeck task.

The recorded values of the Euler-Maruyama path are a Gaussian Markov chain: over k steps of length
dt, x' ~ N(mu + a^k (x - mu), sigma^2 dt (1 - a^(2k)) / (1 - a^2)) with a = 1 - gamma dt. The
likelihood is thus a product of five normal densities. The posterior's normalisation is an integral
over the prior's box: over x_0 in closed form, over mu in closed form (or by quadrature where x_0 is
unknown too), and over (gamma, sigma) by Gauss-Legendre quadrature on a grid.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["log_evidence", "log_likelihood"]

DT = 0.1
_STEPS = (1, 3, 6, 22, 68)
_ROWS_AT_ONCE = 32


def log_likelihood(theta: Tensor, x: Tensor, *, x0: float) -> Tensor:
    """Exact log p(x | theta).

    Args:
        theta: (gamma, mu, sigma) or (gamma, mu, sigma, x_0), shape `(n, 3)` or `(n, 4)`, float64.
        x: The recorded values, shape `(n, 5)`, float64.
        x0: Start of the path where theta does not hold it.

    Returns:
        Shape `(n,)`.
    """
    gamma, mu, sigma = theta[:, :1], theta[:, 1:2], theta[:, 2:3]
    start = theta[:, 3:] if theta.shape[1] == 4 else torch.full_like(mu, x0)
    decay, variance = _transition(gamma, sigma)
    mean = mu + decay * (torch.cat([start.expand(len(x), 1), x[:, :-1]], dim=1) - mu)
    return _normal_log_density(x - mean, variance).sum(1)


def log_evidence(x: Tensor, *, low: Tensor, high: Tensor, x0: float, num_nodes: int = 40) -> Tensor:
    """Log evidence p(x): the likelihood averaged over the uniform prior on the box, shape `(n,)`.

    Args:
        x: The recorded values, shape `(n, 5)`, float64.
        low: Lower corner of the box, shape `(3,)` or `(4,)`, float64.
        high: Upper corner.
        x0: Start of the path where it is no parameter.
        num_nodes: Quadrature nodes for gamma and for sigma.

    Returns:
        Shape `(n,)`, float64.
    """
    gamma, log_w_gamma = _nodes(low[0], high[0], num_nodes)
    sigma, log_w_sigma = _nodes(low[2], high[2], num_nodes)
    grid_gamma, grid_sigma = torch.meshgrid(gamma, sigma, indexing="ij")
    decay, variance = _transition(grid_gamma[..., None], grid_sigma[..., None])
    log_weights = (log_w_gamma[:, None] + log_w_sigma).flatten()
    decay, variance = decay.flatten(0, 1), variance.flatten(0, 1)
    integrate = _over_mu if len(low) == 3 else _over_mu_and_start
    blocks = [
        torch.logsumexp(integrate(block, decay, variance, low, high, x0) + log_weights, dim=1)
        for block in x.split(_ROWS_AT_ONCE)
    ]
    return torch.cat(blocks) - (high - low).log().sum()


def _transition(gamma: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """a^k and the variance of each of the five transitions, along a new last dimension of five."""
    a = 1 - gamma * DT
    decay = a ** torch.tensor(_STEPS, dtype=a.dtype)
    return decay, sigma.square() * DT * (1 - decay.square()) / (1 - a.square())


def _over_mu(
    x: Tensor, decay: Tensor, variance: Tensor, low: Tensor, high: Tensor, x0: float
) -> Tensor:
    """Log of the likelihood integrated over mu, for x `(b, 5)` at g nodes, shape `(b, g)`."""
    start = torch.full_like(x[:, :1], x0)
    previous = torch.cat([start, x[:, :-1]], dim=1)
    peak, mean, precision = _quadratic_in_mu(x, previous, decay, variance)
    root = precision.sqrt()
    inside = _log_interval((low[1] - mean) * root, (high[1] - mean) * root)
    return peak + 0.5 * (2 * math.pi / precision).log() + inside


def _over_mu_and_start(
    x: Tensor, decay: Tensor, variance: Tensor, low: Tensor, high: Tensor, x0: float
) -> Tensor:
    """Log of the likelihood integrated over mu and x_0, shape `(b, g)`.

    Only the first transition depends on x_0; given mu, its integral over x_0 is in closed form.
    """
    del x0
    peak, mean, precision = _quadratic_in_mu(x[:, 1:], x[:, :-1], decay[:, 1:], variance[:, 1:])
    half_width = 8 / precision.sqrt()
    left = torch.maximum(mean - half_width, low[1]).clamp(max=high[1])
    right = torch.minimum(mean + half_width, high[1]).clamp(min=low[1])
    total = torch.full_like(peak, -math.inf)
    a, sd = decay[:, 0], variance[:, 0].sqrt()
    unit, log_unit_weights = _nodes(torch.tensor(0.0), torch.tensor(1.0), 32)
    for u, log_w in zip(unit, log_unit_weights, strict=True):
        mu = left + u * (right - left)
        residual = x[:, :1] - (1 - a) * mu
        first = _log_interval((a * low[3] - residual) / sd, (a * high[3] - residual) / sd)
        value = first - 0.5 * precision * (mu - mean).square()
        total = torch.logaddexp(total, value + log_w)
    return peak + total + (right - left).log() - a.log()


def _quadratic_in_mu(
    x: Tensor, previous: Tensor, decay: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The log likelihood as peak - precision (mu - mean)^2 / 2; each of shape `(b, g)`."""
    residual = x[:, None] - decay * previous[:, None]
    weight = (1 - decay) / variance
    precision = ((1 - decay) * weight).sum(-1).expand(len(x), -1)
    mean = (residual * weight).sum(-1) / precision
    deviation = residual - (1 - decay) * mean[..., None]
    return _normal_log_density(deviation, variance).sum(-1), mean, precision


def _normal_log_density(deviation: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * (deviation.square() / variance + (2 * math.pi * variance).log())


def _log_interval(left: Tensor, right: Tensor) -> Tensor:
    """log(Phi(right) - Phi(left)), from the tail in which the difference keeps its digits."""
    flip = left > 0
    upper = torch.where(flip, -left, right) / math.sqrt(2)
    lower = torch.where(flip, -right, left) / math.sqrt(2)
    return (0.5 * (torch.erfc(-upper) - torch.erfc(-lower))).clamp_min(0.0).log()


def _nodes(low: Tensor, high: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes on [low, high] and the logs of their weights, float64."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(num))
    half = (high - low).double() / 2
    return low.double() + half * (nodes + 1), (half * weights).log()
