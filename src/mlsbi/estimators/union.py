"""Densities of several architectures as one of all their members; evaluated, never trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlsbi.estimators.base import ConditionalDensity

__all__ = ["UnionDensity", "union"]


class UnionDensity(ConditionalDensity):
    """The members of several densities, one density's after the other's.

    Its parameters do not share their first axis, so that the training loop cannot take it: each
    part is trained on its own, before.
    """

    def __init__(self, parts: Sequence[ConditionalDensity]) -> None:
        """Hold `parts`, with k_1, k_2, ... members."""
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.members = sum(self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [part.members for part in self._densities]

    @property
    def _densities(self) -> list[ConditionalDensity]:
        return [part for part in self.parts if isinstance(part, ConditionalDensity)]

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density, `(k, n)`, of values `(k, n, d)`; k is the sum of the parts' members."""
        rows = zip(
            self._densities, value.split(self._sizes), context.split(self._sizes), strict=True
        )
        return torch.cat([part.log_prob(v, c) for part, v, c in rows])

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row and member, `(k, n, d)`."""
        rows = zip(self._densities, context.split(self._sizes), strict=True)
        return torch.cat([part.sample(c, generator=generator) for part, c in rows])

    def centre(self, context: Tensor) -> Tensor:
        """Each part's own centres, `(k, n, d)`; see `ConditionalDensity.centre`."""
        rows = zip(self._densities, context.split(self._sizes), strict=True)
        return torch.cat([part.centre(c) for part, c in rows])

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Each part's own, each `(k, n, d)`; see `ConditionalDensity.moments`."""
        rows = zip(self._densities, context.split(self._sizes), strict=True)
        centre, spread = zip(*(part.moments(c) for part, c in rows), strict=True)
        return torch.cat(centre), torch.cat(spread)


def union(densities: Sequence[ConditionalDensity]) -> ConditionalDensity:
    """`densities` as one; a single one is itself, and unions among them are opened.

    This is the layout that `Blueprint.of_parts` rebuilds.
    """
    parts: list[ConditionalDensity] = []
    for density in densities:
        inner = density._densities if isinstance(density, UnionDensity) else [density]
        parts.extend(inner)
    return parts[0] if len(parts) == 1 else UnionDensity(parts)
