"""Outputs that take few values (counts, classes): synthetic draws are rounded to those values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Lattice"]

_MOST_VALUES = 0.1  # distinct values a run, above which an output counts as continuous


@dataclass(frozen=True)
class Lattice:
    """The values of each discrete output, sorted; None for continuous outputs."""

    values: tuple[Tensor | None, ...]

    @classmethod
    def fit(cls, *arrays: Tensor) -> Lattice:
        """From all levels' x, `(n, D)` each."""
        pooled = torch.cat(arrays)
        found: list[Tensor | None] = []
        for column in pooled.T:
            values = column.unique()
            few = len(values) <= max(2, _MOST_VALUES * len(column))
            found.append(values if few else None)
        return cls(tuple(found))

    @classmethod
    def none(cls, outputs: int) -> Lattice:
        """Every output continuous."""
        return cls((None,) * outputs)

    def snap(self, x: Tensor) -> Tensor:
        """Discrete outputs of x `(..., D)` moved to the nearest of their values."""
        if all(values is None for values in self.values):
            return x
        columns = [
            column if values is None else _nearest(column, values)
            for column, values in zip(x.unbind(-1), self.values, strict=True)
        ]
        return torch.stack(columns, -1)


def _nearest(column: Tensor, values: Tensor) -> Tensor:
    """The nearest of sorted values; what is not finite stays as it is, to be thrown out."""
    middles = (values[1:] + values[:-1]) / 2
    nearest = values[torch.bucketize(column.contiguous(), middles)]
    return torch.where(torch.isfinite(column), nearest, column)
