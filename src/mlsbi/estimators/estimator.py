"""A density in the user's units: transforms around k members, mixed with equal weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.transforms import Transform

__all__ = ["Estimator"]

# Rows evaluated at once; keeps a pass over millions of rows in bounded memory.
_CHUNK = 16384


class Estimator(nn.Module):
    """log q(value | context) in the user's units, the equal mixture of its members."""

    def __init__(
        self, density: ConditionalDensity, value_transform: Transform, context_transform: Transform
    ) -> None:
        """Hold a density over transformed values and contexts."""
        super().__init__()
        self.density = density
        self.value_transform = value_transform
        self.context_transform = context_transform

    @property
    def members(self) -> int:
        """Number of ensemble members, k."""
        return self.density.members

    def transformed(self, value: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Values flattened to `(n, d)` and contexts `(n, *event)` in the network's units."""
        return self.value_transform(value).flatten(1), self.context_transform(context)

    def member_log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density under each member, `(k, n)`, float64, of `(n, *)` at `(n, *)`."""
        v, c = self.transformed(value, context)
        k = self.members
        inner = self.density.log_prob(
            v.expand(k, *v.shape).contiguous(), c.expand(k, *c.shape).contiguous()
        )
        return inner.double() + self.value_transform.log_det(value)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density of the mixture, `(n,)`, float32; in chunks."""
        parts = [
            torch.logsumexp(self.member_log_prob(v, c), 0) - math.log(self.members)
            for v, c in zip(value.split(_CHUNK), context.split(_CHUNK), strict=True)
        ]
        return torch.cat(parts).float()

    @torch.no_grad()
    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row of `context` (n, *event), from a member chosen at random for each row.

        Returns:
            Shape `(n, d)`, values in the user's units (flattened where they have an event shape).
        """
        parts = [self._sample(c, generator) for c in context.split(_CHUNK)]
        return torch.cat(parts)

    def _sample(self, context: Tensor, generator: torch.Generator) -> Tensor:
        c = self.context_transform(context)
        n, k = c.shape[0], self.members
        # Rows dealt to members at random; each member gets as many slots as the fullest one.
        owner = torch.randint(k, (n,), generator=generator, device=c.device)
        order = torch.argsort(owner, stable=True)
        counts = torch.bincount(owner, minlength=k)
        slot = torch.arange(n, device=c.device) - (counts.cumsum(0) - counts)[owner[order]]
        dealt = c.new_zeros(k, max(int(counts.max()), 1), *c.shape[1:])
        dealt[owner[order], slot] = c[order]
        drawn = self.density.sample(dealt, generator=generator)
        z = torch.empty(n, drawn.shape[-1], device=c.device)
        z[order] = drawn[owner[order], slot]
        event = self.value_event_shape
        return self.value_transform.inverse(z.reshape(n, *event)).flatten(1)

    @property
    def value_event_shape(self) -> torch.Size:
        """Shape of one value in the user's units."""
        return self.value_transform.location.shape
