"""theta as a strategy sees it: prior draws in the network's units, and covariates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi.estimators.transforms import Support, Transform
from mlsbi.prior import Prior

__all__ = ["Parameters"]


@dataclass(frozen=True)
class Parameters:
    """The prior of theta, and the transform that puts theta into the network's units.

    Attributes:
        prior: Over theta in the user's units.
        transform: Of the value for a posterior fit, of the context for a likelihood fit.
    """

    prior: Prior
    transform: Transform

    @property
    def dim(self) -> int:
        """Number of parameters, d."""
        return self.prior.dim

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Prior draws in the network's units, float32, `(n, d)`, on the CPU."""
        return self.transform(self.prior.sample(n, generator))

    def covariate(self, theta: Tensor) -> Tensor:
        """From the network's units to well spread covariates, both `(n, d)`.

        A parameter bounded on both sides becomes (place between the bounds - 1/2) sqrt(12), of unit
        variance under a uniform prior and without the tails that a normal quantile has; any other
        is about standardised already.
        """
        if not isinstance(self.transform, Support):
            return theta  # a context: its bounded parameters are in these units
        support = self.transform
        both = (torch.isfinite(support.low) & torch.isfinite(support.high)).to(theta.device)
        # A bounded parameter's location is 0 and its scale 1: see Support.fit.
        place = torch.special.ndtr(theta.double())
        return torch.where(both, (place - 0.5) * 12**0.5, theta.double()).to(theta.dtype)
