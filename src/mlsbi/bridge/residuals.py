"""The shape of the bridge's noise: Gaussian, Student's t, or a smoothed bootstrap of residuals.

Student's t has one scale for all outputs of a run: what makes noise heavy-tailed is mostly a width
that the model missed. A draw of the bootstrap is a residual vector of some training row, all
outputs together, shrunk and blurred by a Gaussian of the residuals' correlation so that mean and
variance stay (Silverman 1986, "Density estimation", section 6.4); it lets through skewness, several
modes and any dependence between outputs. How much it is blurred, up to the Gaussian itself, is
decided by the likelihood of residuals that are left out in turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Residuals", "shrunk_correlation"]

_BLURS = (0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.7)
_WORTH_IT = 3.0  # nats, for the choice among several blurs
_FEWEST = 12  # rows, below which a shape cannot be told


@dataclass(frozen=True)
class Residuals:
    """Standardised noise of k members.

    Attributes:
        bank: Residuals with mean 0 and variance 1 a member and output, `(k, m, D)`.
        counts: How many rows of the bank each member has, `(k,)`; they come first.
        factor: Lower factor of each member's correlation, `(k, D, D)`.
        blur: Share of the standard deviation that is Gaussian; 1: all of it.
        freedom: Degrees of freedom; infinite: not Student's t.
    """

    bank: Tensor
    counts: Tensor
    factor: Tensor
    blur: float = 1.0
    freedom: float = math.inf

    @classmethod
    def fit(cls, z: Tensor, train: Tensor) -> Residuals:
        """From residuals z `(k, n, D)` of the rows where `train` `(k, n)` is true.

        The noise is Gaussian unless the bootstrap makes them more likely by a few nats.
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
        return cls(bank, counts, torch.linalg.cholesky(correlation))._blurred()

    @property
    def gaussian(self) -> bool:
        """Whether the noise is Gaussian."""
        return self.blur >= 1.0 and math.isinf(self.freedom)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Noise of n rows for each member, `(k, n, D)`, float32."""
        members, outputs = self.factor.shape[:2]
        kernel = torch.randn(members, n, outputs, generator=generator) @ self.factor.mT.float()
        if self.gaussian:
            return kernel
        if not math.isinf(self.freedom):
            return kernel * _root_inverse_gamma(self.freedom, members, n, generator)
        place = torch.rand(members, n, generator=generator)
        rows = (place * self.counts.unsqueeze(1)).long().clamp(max=self.bank.shape[1] - 1)
        chosen = self.bank.float()[torch.arange(members).unsqueeze(1), rows]
        return (1 - self.blur**2) ** 0.5 * chosen + self.blur * kernel

    def marginal_log_density(self, z: Tensor) -> Tensor:
        """Log density of each output's noise by itself, of z `(k, n, D)`, the same shape."""
        normal = -0.5 * math.log(2 * math.pi)
        if self.gaussian:
            return normal - 0.5 * z.square()
        if not math.isinf(self.freedom):
            return _log_student(z.square(), self.freedom)
        away = z.unsqueeze(2) - (1 - self.blur**2) ** 0.5 * self.bank.unsqueeze(1)
        each = normal - math.log(self.blur) - 0.5 * (away / self.blur).square()  # (k, n, m, D)
        place = torch.arange(self.bank.shape[1])
        missing = place >= self.counts.unsqueeze(1)
        each = each.masked_fill(missing[:, None, :, None], -torch.inf)
        return torch.logsumexp(each, 2) - self.counts.double().log().reshape(-1, 1, 1)

    def of(self, outputs: Tensor) -> Residuals:
        """Of some outputs, bool `(D,)`, alone; for their densities."""
        factor = self.factor[:, outputs][:, :, outputs]
        return replace(self, bank=self.bank[..., outputs], factor=factor)

    def student(self, freedom: float) -> Residuals:
        """Student's t noise with the same correlation."""
        return replace(self, blur=1.0, freedom=freedom)

    def _blurred(self) -> Residuals:
        """The bootstrap with the most likely blur, where it is worth it."""
        if int(self.counts.min()) < _FEWEST:
            return self
        best, best_gain = self, _WORTH_IT
        for blur in _BLURS:
            gains = [
                (_bootstrap_log_density(b[:n], f, blur) - _log_normal(b[:n], f)).sum()
                for b, n, f in zip(self.bank, self.counts, self.factor, strict=True)
            ]
            gain = float(torch.stack(gains).mean())
            if gain > best_gain:
                best, best_gain = replace(self, blur=blur), gain
        return best


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
    """Log density of N(0, R) but for (2 pi)^(-D/2), `(..., n)`."""
    white = torch.linalg.solve_triangular(factor, z.mT, upper=False)
    return -0.5 * white.square().sum(-2) - factor.diagonal().log().sum()


def _log_student(square: Tensor, freedom: float) -> Tensor:
    """Log density of Student's t of unit scale at numbers whose squares are given."""
    return (
        math.lgamma((freedom + 1) / 2)
        - math.lgamma(freedom / 2)
        - 0.5 * math.log(freedom * math.pi)
        - (freedom + 1) / 2 * torch.log1p(square / freedom)
    )


def _root_inverse_gamma(freedom: float, members: int, n: int, generator: torch.Generator) -> Tensor:
    """sqrt(freedom / chi^2) of each row, `(k, n, 1)`: makes normal rows Student's t."""
    half = torch.full((members, n, 1), freedom / 2)
    # What torch's own Gamma distribution calls, which passes no generator on.
    return (freedom / (2 * torch._standard_gamma(half, generator=generator))).sqrt()


def _bootstrap_log_density(z: Tensor, factor: Tensor, blur: float) -> Tensor:
    """Log density of each row under the smoothed bootstrap of the others, `(n,)`."""
    n, outputs = z.shape
    away = z.unsqueeze(1) - (1 - blur**2) ** 0.5 * z.unsqueeze(0)
    each = _log_normal(away / blur, factor) - outputs * math.log(blur)
    each = each.masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
    return torch.logsumexp(each, 1) - math.log(n - 1)
