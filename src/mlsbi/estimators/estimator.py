"""A density in the user's units: transforms around k members, mixed with weights, and a scale.

With scales s the mixture q of the members is stretched about its centre c, in the network's units,

    q_s(z | context) = q(c + (z - c) / s | context) / prod_i s_i,    c = c(context),

which is exact for any c that is a function of the context alone: the density is still normalised,
its draws are c + s (z - c) of draws z of q, and the prior's support is kept, since the network's
units have no bounds. Scales of one are no scales: the same computation, bit for bit.
"""

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
    """log q(value | context) in the user's units, the mixture of its members, scaled."""

    log_weights: Tensor
    scale: Tensor

    def __init__(
        self,
        density: ConditionalDensity,
        value_transform: Transform,
        context_transform: Transform,
        *,
        weights: Tensor | None = None,
        scale: Tensor | float = 1.0,
    ) -> None:
        """Hold a density over transformed values and contexts.

        Args:
            density: k members.
            value_transform: From the user's values to the network's.
            context_transform: From the user's contexts to the network's.
            weights: Of the members, `(k,)`, not negative, with sum 1; None: equal ones.
            scale: Of the density about its centre, one for all or one for each of the value's
                entries in the network's units, `(d,)`; above 1 it is wider.
        """
        super().__init__()
        if weights is None:
            weights = torch.full((density.members,), 1 / density.members, dtype=torch.float64)
        self.register_buffer("log_weights", weights.detach().double().log())
        self.density = density
        self.value_transform = value_transform
        self.context_transform = context_transform
        d = math.prod(self.value_event_shape)
        given = torch.as_tensor(scale, dtype=torch.float64, device=weights.device)
        self.register_buffer("scale", given.detach().expand(d).clone())

    def with_scale(self, scale: Tensor | float) -> Estimator:
        """The same density under other scales, which stand in the place of its own.

        Args:
            scale: As in the constructor.

        Returns:
            A new estimator; the networks are shared, not copied.
        """
        made = Estimator(
            self.density,
            self.value_transform,
            self.context_transform,
            weights=self.log_weights.exp(),
            scale=scale,
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
        if self._scaled:
            centre = self._centre(c)
            v = centre + (v - centre) / self.scale.to(v.dtype)
            jacobian = jacobian - self.scale.log().sum()
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
    def log_prob_rescaled(self, value: Tensor, context: Tensor, factors: Tensor) -> Tensor:
        """Log densities with all scales multiplied by each of some factors.

        Args:
            value: Shape `(n, *)`.
            context: Shape `(n, *event)`.
            factors: Shape `(m,)`.

        Returns:
            Shape `(n, m)`, float64: column j is `with_scale(factors[j] * scale).log_prob`, but for
            rounding.

        Raises:
            ValueError: The density has no centre.
        """
        rows = max(1, _CHUNK // len(factors))
        parts = zip(value.split(rows), context.split(rows), strict=True)
        return torch.cat([self._rescaled(v, c, factors.to(v.device)) for v, c in parts])

    def _rescaled(self, value: Tensor, context: Tensor, factors: Tensor) -> Tensor:
        v, c = self.transformed(value, context)
        n, m, k = len(v), len(factors), self.members
        centre = self._centre(c)
        scale = (factors[:, None] * self.scale).to(v.dtype)  # (m, d)
        points = (centre + (v - centre) / scale[:, None]).flatten(0, 1)
        many = c.expand(m, *c.shape).flatten(0, 1)
        inner = self.density.log_prob(
            points.expand(k, *points.shape).contiguous(), many.expand(k, *many.shape).contiguous()
        )
        jacobian = self.value_transform.log_det(value) - scale.double().log().sum(1)[:, None]
        return (self._mixed(inner.double()).reshape(m, n) + jacobian).T

    @property
    def _scaled(self) -> bool:
        return bool((self.scale != 1).any())

    def _centre(self, c: Tensor) -> Tensor:
        """Of the mixture at contexts in the network's units, `(n, *event)`; `(n, d)`.

        Raises:
            ValueError: The density has none.
        """
        try:
            of_members = self.density.centre(c.expand(self.members, *c.shape).contiguous())
        except NotImplementedError as error:
            raise ValueError(
                f"estimator: {error}. Use one of mlsbi's own, such as estimator='mdn', or leave "
                "the fit as it is (a scale of 1)."
            ) from error
        used = self.log_weights > -torch.inf
        weights = self.log_weights[used].exp().to(of_members.dtype)
        return torch.einsum("k,knd->nd", weights, of_members[used])

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
        centres = None
        if self._scaled:
            each = context[:period].split(_CHUNK)
            centres = torch.cat([self._centre(self.context_transform(c)) for c in each])
        parts = []
        for i, rows in enumerate(context.split(_CHUNK)):
            z = self._sample(self.context_transform(rows), generator)
            if centres is not None:
                place = torch.arange(len(z), device=z.device) + i * _CHUNK
                centre = centres[place % len(centres)]
                z = centre + self.scale.to(z.dtype) * (z - centre)
            back = self.value_transform.inverse(z.reshape(-1, *self.value_event_shape))
            parts.append(back.flatten(1))
        return torch.cat(parts)

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
