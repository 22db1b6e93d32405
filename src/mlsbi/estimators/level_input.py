"""A density that also sees which level a run comes from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.embedding import StackedModule

__all__ = ["LevelDensity", "with_level"]


def with_level(context: Tensor, place: float) -> Tensor:
    """Contexts `(n, *event)` flattened, with l / L behind: `(n, size + 1)`."""
    flat = context.flatten(1)
    return torch.cat([flat, flat.new_full((flat.shape[0], 1), place)], 1)


class LevelDensity(ConditionalDensity):
    """q(value | embedding(context), l / L).

    A context in its own event shape is one of level L: what a fit evaluates. One that `with_level`
    made carries its level.
    """

    def __init__(
        self,
        density: ConditionalDensity,
        embedding: StackedModule | None,
        context_shape: tuple[int, ...],
    ) -> None:
        """Put the level, and `embedding` if there is one, in front of `density`."""
        super().__init__()
        self.density, self.embedding = density, embedding or nn.Identity()
        self.members, self.context_shape = density.members, context_shape

    def _inputs(self, context: Tensor) -> Tensor:
        """Embedded contexts with the level behind, `(k, n, c + 1)`."""
        if tuple(context.shape[2:]) == self.context_shape:
            level = context.new_ones(*context.shape[:2], 1)
        else:
            context, level = context[..., :-1], context[..., -1:]
            context = context.reshape(*context.shape[:2], *self.context_shape)
        return torch.cat([self.embedding(context).flatten(2), level], -1)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density, `(k, n)`, of values `(k, n, d)`."""
        return self.density.log_prob(value, self._inputs(context))

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row, `(k, n, d)`."""
        return self.density.sample(self._inputs(context), generator=generator)

    def centre(self, context: Tensor) -> Tensor:
        """The inner density's centre, `(k, n, d)`; see `ConditionalDensity.centre`."""
        return self.density.centre(self._inputs(context))

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The inner density's, each `(k, n, d)`; see `ConditionalDensity.moments`."""
        return self.density.moments(self._inputs(context))
