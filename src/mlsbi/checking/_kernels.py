"""Kernel mixtures as proposals, made from weighted points, for many targets at once.

Around resampled points, t kernels with the covariance of all points, by Silverman's rule. That is
too wide for narrow modes that lie far from each other: where a target's points have not drawn
closer since the round before, and few have weight, kernels of two smaller widths join, with shares
that follow the weights which they bring (Douc, Guillin, Marin, Robert 2007, Annals of Statistics
35).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["ENOUGH", "WIDTHS", "Kernels", "effective_size"]

ENOUGH = 50.0  # effective size below which weights are no estimate, and are tempered
WIDTHS = (1.0, 0.2, 0.04)
_FIRST_SHARES = (0.8, 0.1, 0.1)
_LEAST_SHARE = 0.02
_CENTRES = 25  # for each parameter, at least 100 together
_DEGREES = 5.0  # of freedom
_CLOSER = 0.5  # nats of volume that a round should win


def effective_size(log_weight: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 over the last axis; zero where no point has weight."""
    size = (2 * log_weight.logsumexp(-1) - (2 * log_weight).logsumexp(-1)).exp()
    return size.nan_to_num(0.0)


@dataclass(frozen=True, eq=False)
class Kernels:
    """t kernels of one shape and three widths around each of k centres, for each of b targets.

    Attributes:
        centres: Shape `(b, k, d)`.
        factor: Cholesky factor of the widest kernels' scale matrix, `(b, d, d)`.
        shares: Of the widths, `(b, 3)`.
        narrow: Whether the smaller widths are in use, `(b,)`.
    """

    centres: Tensor
    factor: Tensor
    shares: Tensor
    narrow: Tensor

    @staticmethod
    def around(
        z: Tensor,
        log_weight: Tensor,
        came_from: Tensor,
        before: Kernels | None,
        generator: torch.Generator,
    ) -> Kernels:
        """Kernels around weighted points.

        Args:
            z: The points, `(b, m, d)`.
            log_weight: Their weights, `(b, m)`, at least one of a row finite.
            came_from: How likely each came from the kernels of each width, `(b, m, 3)`.
            before: The kernels that proposed them; None if they came from the prior.
            generator: Source of randomness.
        """
        d = z.shape[-1]
        weight, tempered = _tempered(log_weight, size=max(ENOUGH, 10.0 * d))
        off = z - (weight[..., None] * z).sum(1, keepdim=True)
        covariance = torch.einsum("bn,bni,bnj->bij", weight, off, off)
        count = max(100, _CENTRES * d)
        width = (4 / (count * (d + 2))) ** (1 / (d + 4))
        scale = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
        ridge = 1e-6 * scale[:, None, None] * torch.eye(d, dtype=torch.float64)
        factor = width * torch.linalg.cholesky(covariance + ridge)
        chosen = torch.multinomial(weight, count, replacement=True, generator=generator)
        centres = z.gather(1, chosen[..., None].expand(-1, -1, d))
        narrow, shares = _shares(tempered, _log_volume(factor), weight, came_from, before)
        return Kernels(centres, factor, shares, narrow)

    def rows(self, mask: Tensor) -> Kernels:
        """Those of some of the targets."""
        return Kernels(**{f.name: getattr(self, f.name)[mask] for f in fields(self)})

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws, `(b, n, d)`."""
        b, k, d = self.centres.shape
        chosen = torch.randint(k, (b, n), generator=generator)
        width = torch.multinomial(self.shares, n, replacement=True, generator=generator)
        normal = torch.randn(b, n, d, generator=generator, dtype=torch.float64)
        # a chi-square with few degrees of freedom: a sum of squares is as good as any sampler
        squares = torch.randn(b, n, int(_DEGREES), generator=generator, dtype=torch.float64)
        t = normal / (squares.square().sum(-1, keepdim=True) / _DEGREES).sqrt()
        t = t * torch.tensor(WIDTHS, dtype=torch.float64)[width][..., None]
        centres = self.centres.gather(1, chosen[..., None].expand(-1, -1, d))
        return centres + torch.einsum("bij,bnj->bni", self.factor, t)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log of what each width adds to the density, `(b, n, 3)`, at z `(b, n, d)`."""
        d = z.shape[-1]
        white = [
            torch.linalg.solve_triangular(self.factor, v.mT, upper=False).mT
            for v in (z, self.centres)
        ]
        squared = torch.cdist(white[0], white[1]).square()
        parts = [self._of_width(squared, i, d) for i in range(len(WIDTHS))]
        constant = (
            math.lgamma((_DEGREES + d) / 2)
            - math.lgamma(_DEGREES / 2)
            - 0.5 * d * math.log(_DEGREES * math.pi)
            - math.log(white[1].shape[1])
        )
        return torch.stack(parts, -1) + constant - _log_volume(self.factor)[:, None, None]

    def _of_width(self, squared: Tensor, i: int, d: int) -> Tensor:
        value = squared.new_full(squared.shape[:2], -torch.inf)
        used = self.shares[:, i] > 0
        if bool(used.any()):
            width = WIDTHS[i]
            log_t = torch.log1p(squared[used] / (_DEGREES * width**2)) * (-0.5 * (_DEGREES + d))
            log_share = self.shares[used, i].log()[:, None]
            value[used] = log_t.logsumexp(-1) - d * math.log(width) + log_share
        return value


def _log_volume(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=1, dim2=2).log().sum(-1)


def _shares(
    tempered: Tensor, volume: Tensor, weight: Tensor, came_from: Tensor, before: Kernels | None
) -> tuple[Tensor, Tensor]:
    """For which targets `(b,)` the smaller widths are used, and shares of the widths `(b, 3)`."""
    widest = torch.tensor([1.0, *[0.0] * (len(WIDTHS) - 1)], dtype=torch.float64)
    if before is None:
        return torch.zeros(len(weight), dtype=torch.bool), widest.expand(len(weight), -1)
    stuck = tempered & (volume > _log_volume(before.factor) - _CLOSER)
    first = torch.tensor(_FIRST_SHARES, dtype=torch.float64)
    brought = (weight[..., None] * came_from).sum(1).clamp(min=_LEAST_SHARE)
    brought = brought / brought.sum(1, keepdim=True)
    narrow = before.narrow | stuck
    shares = torch.where(before.narrow[:, None], brought, first)
    return narrow, torch.where(narrow[:, None], shares, widest)


def _tempered(log_weight: Tensor, *, size: float) -> tuple[Tensor, Tensor]:
    """Normalised weights `(b, m)`, and whether they are tempered `(b,)`.

    They are taken to the power in (0, 1] that leaves an effective size of `size`, if there is one.
    """
    worst = torch.where(log_weight > -torch.inf, log_weight, torch.inf).amin(1, keepdim=True)
    log_weight = torch.where(log_weight > -torch.inf, log_weight, worst - 1e3)
    good = effective_size(log_weight) >= size
    low = torch.zeros(len(log_weight), 1, dtype=torch.float64)
    high = torch.ones_like(low)
    for _ in range(40):
        middle = (low + high) / 2
        enough = (effective_size(middle * log_weight) >= size)[:, None]
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return (torch.where(good[:, None], 1.0, low) * log_weight).softmax(1), ~good
