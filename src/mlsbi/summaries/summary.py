"""A summary as a transform, which stands where x's standardisation stands otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from mlsbi.estimators.transforms import Transform
from mlsbi.summaries.posterior_mean import PosteriorMean
from mlsbi.summaries.ridge import Ridge

__all__ = ["Summary"]


class Summary(Transform):
    """x of one level to its standardised summary, `(n, *event) -> (n, s)`.

    No bijection: x cannot be had back. What a likelihood fit models behind it is the density of the
    summary, in the summary's own units, so that the Jacobian is one and `inverse` leaves draws as
    they are.
    """

    def __init__(self, compressor: PosteriorMean | Ridge, final: Transform) -> None:
        """Hold what compresses x, and what standardises the result."""
        super().__init__()
        self.compressor, self.final = compressor, final
        # In its own units a summary has location 0; the shape is that of one summary.
        self.register_buffer("location", torch.zeros_like(final.location), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        """Standardised summaries of x, float32, `(n, s)`."""
        if value.shape[0] > 1 and value.stride(0) == 0:  # one x for many theta
            one: Tensor = self.final(self.compressor(value[:1]))
            return one.expand(value.shape[0], *one.shape[1:])
        summary: Tensor = self.final(self.compressor(value))
        return summary

    def inverse(self, z: Tensor) -> Tensor:
        """The summaries themselves."""
        return z

    def log_det(self, value: Tensor) -> Tensor:
        """Zero, `(n,)`, float64: the density is that of the summary."""
        return torch.zeros(value.shape[0], dtype=torch.float64, device=value.device)
