"""Synthetic runs of level L that training draws from: fixed theta and mean, fresh noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi.bridge.discrete import Lattice
from mlsbi.bridge.residuals import Residuals
from mlsbi.problem import DrawnRows

__all__ = ["SyntheticRows"]


@dataclass(frozen=True)
class SyntheticRows(DrawnRows):
    """N rows for each of k members, in the network's units.

    Attributes:
        theta: The same for every member, `(N, d)`.
        mean: Of x_L, `(k, N, D)`.
        deviation: Of x_L, `(k, N, D)`.
        usable: Rows whose draw is finite, bool `(k, N)`; the others are never drawn.
        noise: Standardised noise of the last step.
        lattice: Values that discrete outputs can take.
        kind: "posterior" or "likelihood".
    """

    theta: Tensor
    mean: Tensor
    deviation: Tensor
    usable: Tensor
    noise: Residuals
    lattice: Lattice
    kind: str

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Value and context of rows `(k, b)`, with noise of their own, each `(k, b, ...)`."""
        member = torch.arange(len(rows)).unsqueeze(1)
        noise = self.noise.draw(rows.shape[1], generator)
        x = self.lattice.snap(self.mean[member, rows] + self.deviation[member, rows] * noise)
        theta = self.theta[rows]
        return (theta, x) if self.kind == "posterior" else (x, theta)
