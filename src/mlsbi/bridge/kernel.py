"""Covariance of the bridge's Gaussian processes.

    c + sum_g a_g <f_g, f'_g> + (sum_g b_g <f_g, f'_g>)^2 + r exp(-1/2 sum_g w_g |f_g - f'_g|^2)

with one weight for each group g of features. The noise variance is log-linear in features of its
own. Hyperparameters are held as logarithms, `(B, G)` or `(B, 1)` for B processes; the slopes of the
noise, "slope" `(B, q)`, as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["JITTER", "Design", "Hyper", "covariance", "diagonal", "kernel", "noise"]

JITTER = 1e-8
_LOG_NOISE = (-16.0, 6.0)

Hyper = dict[str, Tensor]


@dataclass(frozen=True)
class Design:
    """What B processes see of n rows.

    Attributes:
        features: Of the mean, about standardised, `(B, n, p)`.
        noise: Of the log noise variance, `(B, n, q)`.
    """

    features: Tensor
    noise: Tensor

    def __len__(self) -> int:
        """Number of processes, B."""
        return self.features.shape[0]

    def rows(self, index: Tensor) -> Design:
        """Rows `(B, m)` of each process."""
        at = index.unsqueeze(-1)
        parts = (self.features, self.noise)
        return Design(*(torch.gather(f, 1, at.expand(-1, -1, f.shape[-1])) for f in parts))

    def split(self, size: int) -> list[Design]:
        """Chunks of rows."""
        chunks = zip(self.features.split(size, 1), self.noise.split(size, 1), strict=True)
        return [Design(*chunk) for chunk in chunks]

    def double(self) -> Design:
        """In float64."""
        return Design(self.features.double(), self.noise.double())


def covariance(hyper: Hyper, groups: Tensor, design: Design, train: Tensor) -> Tensor:
    """Kernel and noise over the training rows; all other rows are independent of everything."""
    both = train.unsqueeze(1) & train.unsqueeze(2)
    matrix = kernel(hyper, groups, design.features, design.features) * both
    variance = noise(hyper, design.noise) + JITTER
    return matrix + torch.diag_embed(torch.where(train, variance, 1.0))


def _weights(hyper: Hyper, groups: Tensor, name: str) -> Tensor:
    """A weight for each feature, `(B, 1, p)`, from its groups' weights."""
    return (hyper[name].exp() @ groups.mT).unsqueeze(1)


def kernel(hyper: Hyper, groups: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """k(f, f') of rows `left` (B, m, p) and `right` (B, n, p), `(B, m, n)`."""
    linear = (left * _weights(hyper, groups, "linear")) @ right.mT
    quadratic = (left * _weights(hyper, groups, "quadratic")) @ right.mT
    root = _weights(hyper, groups, "inverse_square_length").sqrt()
    a, b = left * root, right * root
    square = a.square().sum(-1).unsqueeze(2) + b.square().sum(-1).unsqueeze(1) - 2 * (a @ b.mT)
    smooth = hyper["amplitude"].exp().unsqueeze(2) * (-0.5 * square.clamp(min=0)).exp()
    return hyper["constant"].exp().unsqueeze(2) + linear + quadratic.square() + smooth


def diagonal(hyper: Hyper, groups: Tensor, features: Tensor) -> Tensor:
    """k(f, f) of each row, `(B, m)`."""
    squares = features.square()
    linear = (squares * _weights(hyper, groups, "linear")).sum(-1)
    quadratic = (squares * _weights(hyper, groups, "quadratic")).sum(-1)
    return hyper["constant"].exp() + linear + quadratic.square() + hyper["amplitude"].exp()


def noise(hyper: Hyper, features: Tensor) -> Tensor:
    """Noise variance of each row, `(B, m)`, log-linear in the features `(B, m, q)`."""
    slope = (features @ hyper["slope"].unsqueeze(-1)).squeeze(-1)
    return (hyper["noise"] + slope).clamp(*_LOG_NOISE).exp()
