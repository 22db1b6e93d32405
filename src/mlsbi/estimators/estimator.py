"""A density in the user's units: transforms around k members, mixed with weights."""

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
    """log q(value | context) in the user's units, the mixture of its members."""

    log_weights: Tensor

    def __init__(
        self,
        density: ConditionalDensity,
        value_transform: Transform,
        context_transform: Transform,
        *,
        weights: Tensor | None = None,
    ) -> None:
        """Hold a density over transformed values and contexts.

        Args:
            density: k members.
            value_transform: From the user's values to the network's.
            context_transform: From the user's contexts to the network's.
            weights: Of the members, `(k,)`, not negative, with sum 1; None: equal ones.
        """
        super().__init__()
        if weights is None:
            weights = torch.full((density.members,), 1 / density.members, dtype=torch.float64)
        self.register_buffer("log_weights", weights.detach().double().log())
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
            self._mixed(self.member_log_prob(v, c))
            for v, c in zip(value.split(_CHUNK), context.split(_CHUNK), strict=True)
        ]
        return torch.cat(parts).float()

    @property
    def _equal(self) -> bool:
        return bool((self.log_weights == self.log_weights[0]).all())

    def _mixed(self, log_prob: Tensor) -> Tensor:
        """Log density of the mixture, `(n,)`, from its members', `(k, n)`."""
        if self._equal:
            return torch.logsumexp(log_prob, 0) - math.log(self.members)
        used = self.log_weights > -torch.inf  # what a member without weight says does not matter
        return torch.logsumexp(log_prob[used] + self.log_weights[used].unsqueeze(1), 0)

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
        owner = self._owners(n, generator)
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

    def _owners(self, n: int, generator: torch.Generator) -> Tensor:
        """A member for each of n rows, drawn by the weights."""
        if self._equal:
            place = self.log_weights.device
            return torch.randint(self.members, (n,), generator=generator, device=place)
        return torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)

    @property
    def value_event_shape(self) -> torch.Size:
        """Shape of one value in the user's units."""
        return self.value_transform.location.shape
