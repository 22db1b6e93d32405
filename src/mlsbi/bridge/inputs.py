"""What a step is told: theta and the coarse run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi.bridge.kernel import Design

__all__ = ["Inputs"]

_FAR = 6.0  # robust standard deviations beyond which a feature carries no more news


@dataclass(frozen=True)
class Inputs:
    """Inputs of n runs, each `(n, ...)`, or of `(k, n, ...)` for k members.

    Attributes:
        covariate: Of theta, d of them.
        coarse: x_(l-1), D outputs; None: there is no lower level.
    """

    covariate: Tensor
    coarse: Tensor | None = None

    def expand(self, members: int) -> Inputs:
        """The same inputs for each member."""
        return self.map(lambda values: values.expand(members, *values.shape))

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The inputs with every array changed."""
        return Inputs(change(self.covariate), None if self.coarse is None else change(self.coarse))

    def design(self, outputs: int) -> Design:
        """Features of each member's outputs, `(k D, n, ...)`, its own numbers first."""
        covariate = self.covariate.double().unsqueeze(1).expand(-1, outputs, -1, -1)
        features, noise = [covariate], [covariate]
        if self.coarse is not None:
            coarse = self.coarse.double().clamp(-_FAR, _FAR)
            order = [[j, *(i for i in range(outputs) if i != j)] for j in range(outputs)]
            features.insert(0, coarse[:, :, torch.tensor(order)].transpose(1, 2))
            noise.append(coarse.transpose(1, 2).unsqueeze(-1))  # one feature an output
        return Design(torch.cat(features, -1).flatten(0, 1), torch.cat(noise, -1).flatten(0, 1))

    def groups(self, outputs: int) -> Tensor:
        """Share of each feature in each group `(p, G)`: the other outputs' are one group."""
        blocks = []
        if self.coarse is not None:
            blocks.append(torch.ones(1, 1))
            if outputs > 1:
                blocks.append(torch.full((outputs - 1, 1), 1 / (outputs - 1)))
        return torch.block_diag(*blocks, torch.eye(self.covariate.shape[-1]))
