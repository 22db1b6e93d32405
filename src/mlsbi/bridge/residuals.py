"""The shape of the bridge's noise: a smoothed bootstrap of standardised residuals.

A draw is a residual vector of some training row, all outputs together, shrunk and blurred by a
Gaussian of the residuals' correlation so that mean and variance stay (Silverman 1986, "Density
estimation", section 6.4). Few rows blur it to nearly a Gaussian; many let through heavy tails,
skewness, several modes and any dependence between outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Residuals", "shrunk_correlation"]

_FEWEST = 12  # rows, below which a shape cannot be told


@dataclass(frozen=True)
class Residuals:
    """Standardised noise of k members.

    Attributes:
        bank: Residuals with mean 0 and variance 1 a member and output, `(k, m, D)`.
        counts: How many rows of the bank each member has, `(k,)`; they come first.
        factor: Lower factor of each member's correlation, `(k, D, D)`.
        blur: Share of the standard deviation that is Gaussian, `(k,)`.
    """

    bank: Tensor
    counts: Tensor
    factor: Tensor
    blur: Tensor

    @classmethod
    def fit(cls, z: Tensor, train: Tensor) -> Residuals:
        """From residuals z `(k, n, D)` of the rows where `train` `(k, n)` is true.

        The noise is Gaussian unless the residuals themselves, each left out in turn, are better
        described by the bootstrap, by two standard errors.
        """
        members, _, outputs = z.shape
        counts = train.sum(1)
        order = torch.argsort((~train).int(), dim=1, stable=True)[:, : int(counts.max())]
        bank = torch.gather(z, 1, order.unsqueeze(-1).expand(-1, -1, outputs))
        valid = torch.gather(train, 1, order).unsqueeze(-1)
        n = counts.reshape(-1, 1, 1)
        bank = torch.where(valid, bank - (bank * valid).sum(1, keepdim=True) / n, 0.0)
        scale = (bank.square().sum(1, keepdim=True) / n).sqrt()
        bank = bank / torch.where(scale > 1e-9, scale, 1.0)
        correlation = torch.stack(
            [shrunk_correlation(bank[e, : counts[e]]) for e in range(members)]
        )
        blur = (4 / (outputs + 2) / counts.double()).pow(1 / (outputs + 4)).clamp(max=1.0)
        shape = cls(bank, counts, torch.linalg.cholesky(correlation), blur)
        return shape if shape._beats_gaussian() else replace(shape, blur=torch.ones_like(blur))

    def _beats_gaussian(self) -> bool:
        """Whether the bootstrap describes residuals that it was not made of better."""
        gains, errors = [], []
        for bank, count, factor, blur in zip(
            self.bank, self.counts, self.factor, self.blur, strict=True
        ):
            if count < _FEWEST:
                return False
            gain = _bootstrap_log_density(bank[:count], factor, blur) - _log_normal(
                bank[:count], factor
            )
            gains.append(gain.mean())
            errors.append(gain.std() / count**0.5)
        # The members share most of their rows: their errors do not average out.
        return bool(torch.stack(gains).mean() > 2 * torch.stack(errors).mean())

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Noise of n rows for each member, `(k, n, D)`, float32."""
        members, outputs = self.factor.shape[:2]
        place = torch.rand(members, n, generator=generator)
        rows = (place * self.counts.unsqueeze(1)).long().clamp(max=self.bank.shape[1] - 1)
        kernel = torch.randn(members, n, outputs, generator=generator) @ self.factor.mT.float()
        chosen = self.bank.float()[torch.arange(members).unsqueeze(1), rows]
        blur = self.blur.float().reshape(-1, 1, 1)
        return (1 - blur.square()).clamp(min=0).sqrt() * chosen + blur * kernel


def shrunk_correlation(z: Tensor) -> Tensor:
    """Correlation of the columns of z `(n, D)`, shrunk towards none.

    The intensity is that of Schaefer and Strimmer (2005), doi:10.2202/1544-6115.1175, target D.
    """
    n, outputs = z.shape
    identity = torch.eye(outputs, dtype=z.dtype)
    if n < 4 or outputs == 1:
        return identity
    z = z - z.mean(0)
    z = z / z.square().mean(0).sqrt().clamp(min=1e-9)
    products = z.unsqueeze(2) * z.unsqueeze(1)
    correlation = products.mean(0)
    variance = products.var(0) / n
    off = ~identity.bool()
    share = variance[off].sum() / correlation[off].square().sum().clamp(min=1e-12)
    share = share.clamp(0.0, 1.0)
    shrunk = (1 - share) * correlation
    return torch.where(off, shrunk, identity) * (1 - 1e-6) + 1e-6 * identity


def _log_normal(z: Tensor, factor: Tensor) -> Tensor:
    """Log density of N(0, R) up to a constant that all densities here share, `(..., n)`."""
    white = torch.linalg.solve_triangular(factor, z.mT, upper=False)
    return -0.5 * white.square().sum(-2) - factor.diagonal().log().sum()


def _bootstrap_log_density(z: Tensor, factor: Tensor, blur: Tensor) -> Tensor:
    """Log density of each row under the smoothed bootstrap of the others, `(n,)`."""
    n, outputs = z.shape
    away = z.unsqueeze(1) - (1 - blur.square()).sqrt() * z.unsqueeze(0)
    each = _log_normal(away / blur, factor) - outputs * blur.log()
    each = each.masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return torch.logsumexp(each, 1) - math.log(n - 1)
