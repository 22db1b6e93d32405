"""A density in the user's units: transforms around k members, mixed with weights, and a scale.

How scales and a widening stretch it is in `mlsbi.estimators.stretch`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.stretch import remedy_named, stretch_by
from mlsbi.estimators.transforms import Transform

__all__ = ["Estimator"]

# Rows evaluated at once; keeps a pass over millions of rows in bounded memory.
_CHUNK = 16384


class Estimator(nn.Module):
    """log q(value | context) in the user's units, the mixture of its members, scaled."""

    log_weights: Tensor
    scale: Tensor
    widening: Tensor

    def __init__(
        self,
        density: ConditionalDensity,
        value_transform: Transform,
        context_transform: Transform,
        *,
        weights: Tensor | None = None,
        scale: Tensor | float = 1.0,
        widening: Tensor | float = 1.0,
    ) -> None:
        """Hold a density over transformed values and contexts.

        Args:
            density: k members.
            value_transform: From the user's values to the network's.
            context_transform: From the user's contexts to the network's.
            weights: Of the members, `(k,)`, not negative, with sum 1; None: equal ones.
            scale: Of the density about its centre, one for all or one for each of the value's
                entries in the network's units, `(d,)`; above 1 it is wider.
            widening: Of the scaled density, likewise, up to what is known beforehand.
        """
        super().__init__()
        if weights is None:
            weights = torch.full((density.members,), 1 / density.members, dtype=torch.float64)
        self.register_buffer("log_weights", weights.detach().double().log())
        self.density = density
        self.value_transform = value_transform
        self.context_transform = context_transform
        d = math.prod(self.value_event_shape)
        for name, factors in (("scale", scale), ("widening", widening)):
            given = torch.as_tensor(factors, dtype=torch.float64, device=weights.device)
            self.register_buffer(name, given.detach().expand(d).clone())

    def with_scale(self, scale: Tensor | float) -> Estimator:
        """The same density under other scales, which stand in the place of its own.

        Args:
            scale: As in the constructor.

        Returns:
            A new estimator; the networks are shared, not copied.
        """
        return self._variant(scale, self.widening)

    def with_widening(self, widening: Tensor | float) -> Estimator:
        """The same, scales included, under another widening, in the place of its own.

        Args:
            widening: As in the constructor.

        Returns:
            A new estimator; the networks are shared, not copied.
        """
        return self._variant(self.scale, widening)

    def _variant(self, scale: Tensor | float, widening: Tensor | float) -> Estimator:
        made = Estimator(
            self.density,
            self.value_transform,
            self.context_transform,
            weights=self.log_weights.exp(),
            scale=scale,
            widening=widening,
        )
        made.log_weights = self.log_weights  # the same bits
        return made.train(self.training)

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
        k, jacobian = self.members, self.value_transform.log_det(value)
        if self._stretched:
            centre, stretch = self._stretch(c)
            v = centre + (v - centre) / stretch
            jacobian = jacobian - stretch.double().log().sum(-1)
        inner = self.density.log_prob(
            v.expand(k, *v.shape).contiguous(), c.expand(k, *c.shape).contiguous()
        )
        return inner.double() + jacobian

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density of the mixture, `(n,)`, float32; in chunks."""
        parts = [
            self._mixed(self.member_log_prob(v, c))
            for v, c in zip(value.split(_CHUNK), context.split(_CHUNK), strict=True)
        ]
        return torch.cat(parts).float()

    @torch.no_grad()
    def log_prob_widened(
        self, value: Tensor, context: Tensor, factors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log densities with the widening multiplied by each of some factors.

        Args:
            value: Shape `(n, *)`.
            context: Shape `(n, *event)`.
            factors: Shape `(m,)`.

        Returns:
            Shape `(n, m)`, float64: column j is `with_widening(factors[j] * widening).log_prob`,
            but for rounding. And what it loses to the stretch, sum_i log s_i r_i, likewise.

        Raises:
            ValueError: The density knows no centre or width.
        """
        rows = max(1, _CHUNK // len(factors))
        parts = zip(value.split(rows), context.split(rows), strict=True)
        found = [self._widened(v, c, factors.to(v.device)) for v, c in parts]
        return torch.cat([one for one, _ in found]), torch.cat([lost for _, lost in found])

    def _widened(self, value: Tensor, context: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        v, c = self.transformed(value, context)
        n, m, k = len(v), len(factors), self.members
        centre, spread = self._moments(c)
        stretch = stretch_by(
            spread, self.scale, (factors[:, None] * self.widening)[:, None]
        )  # (m, n, d)
        points = (centre + (v - centre) / stretch).flatten(0, 1)
        many = c.expand(m, *c.shape).flatten(0, 1)
        inner = self.density.log_prob(
            points.expand(k, *points.shape).contiguous(), many.expand(k, *many.shape).contiguous()
        )
        lost = stretch.double().log().sum(-1)
        log_prob = self._mixed(inner.double()).reshape(m, n) - lost
        return (log_prob + self.value_transform.log_det(value)).T, lost.T

    @property
    def _stretched(self) -> bool:
        return bool((self.scale != 1).any()) or self._is_widened

    @property
    def _is_widened(self) -> bool:
        return bool((self.widening != 1).any())

    def _stretch(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Centres `(n, d)`, and by how much about them, `(n, d)` or `(d,)`.

        Raises:
            ValueError: The density does not know.
        """
        if self._is_widened:
            centre, spread = self._moments(c)
            return centre, stretch_by(spread, self.scale, self.widening)
        with remedy_named():
            centre = self._mean_of_members(self.density.centre(self._for_members(c)))
        return centre, self.scale.to(centre.dtype)

    def _moments(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Centre and spread of the mixture as it is, each `(n, d)`.

        Raises:
            ValueError: The density does not know.
        """
        with remedy_named():
            centres, spreads = self.density.moments(self._for_members(c))
        centre = self._mean_of_members(centres)
        return centre, self._mean_of_members(spreads.square() + (centres - centre).square()).sqrt()

    def _for_members(self, c: Tensor) -> Tensor:
        return c.expand(self.members, *c.shape).contiguous()

    def _mean_of_members(self, figures: Tensor) -> Tensor:
        """Of `(k, n, d)`, by the members' weights; one without weight does not matter."""
        used = self.log_weights > -torch.inf
        weights = self.log_weights[used].exp().to(figures.dtype)
        return torch.einsum("k,knd->nd", weights, figures[used])

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
    def sample(
        self, context: Tensor, *, generator: torch.Generator, period: int | None = None
    ) -> Tensor:
        """One draw a row of `context` (n, *event), from a member chosen at random for each row.

        Args:
            context: The rows.
            generator: The only source of randomness.
            period: The rows repeat after so many, which saves time where there are scales; None:
                they may all differ. It does not change the draws.

        Returns:
            Shape `(n, d)`, values in the user's units (flattened where they have an event shape).
        """
        stretch = None
        if self._stretched:
            each = context[:period].split(_CHUNK)
            stretch = self._stretch_of([self.context_transform(c) for c in each])
        parts = []
        for i, rows in enumerate(context.split(_CHUNK)):
            z = self._sample(self.context_transform(rows), generator)
            if stretch is not None:
                place = torch.arange(len(z), device=z.device) + i * _CHUNK
                centre, factor = (t[place % len(t)] for t in stretch)
                z = centre + factor * (z - centre)
            back = self.value_transform.inverse(z.reshape(-1, *self.value_event_shape))
            parts.append(back.flatten(1))
        return torch.cat(parts)

    def _stretch_of(self, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Centres and factors, each `(n, d)`, of contexts in the network's units."""
        found = [self._stretch(c) for c in parts]
        centres = torch.cat([centre for centre, _ in found])
        return centres, torch.cat([factor.expand_as(centre) for centre, factor in found])

    def _sample(self, c: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of the mixture as it is, in the network's units, `(n, d)`."""
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
        return z

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
