"""Masked autoregressive and neural spline flows of `zuko`, k members at once.

MAF: Papamakarios et al. 2017, arXiv:1705.07057. NSF: Durkan et al. 2019, arXiv:1906.04032.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlsbi._random import isolated_rng
from mlsbi._zuko import zuko
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.base_points import base_points, spread_of_images
from mlsbi.estimators.stacked import Dropout, stack_linears

__all__ = ["FlowDensity"]

_LOG_2PI = math.log(2 * math.pi)


class FlowDensity(ConditionalDensity):
    """A zuko flow whose linear layers are stacked over members."""

    def __init__(
        self,
        family: type[zuko.lazy.Flow],
        members: int,
        value_dim: int,
        context_dim: int,
        *,
        generator: torch.Generator,
        transforms: int,
        hidden: tuple[int, ...],
        dropout: float = 0.0,
        common_dropout: bool = True,
    ) -> None:
        """Build the flow and stack its layers.

        Args:
            family: `zuko.flows.MAF`, `zuko.flows.NSF` or another autoregressive flow of zuko.
            members: k.
            value_dim: Dimension d of the value.
            context_dim: Length of the (embedded) context vector.
            generator: Draws the initial weights.
            transforms: Number of autoregressive transforms.
            hidden: Widths of each transform's hidden layers.
            dropout: Rate behind each activation, in training mode.
            common_dropout: One mask for all rows of a pass (see `Dropout`).
        """
        super().__init__()
        self.members, self.value_dim = members, value_dim
        # zuko initialises from the global generator. The template supplies the structure only;
        # its weights are drawn anew, from `generator`, when the layers are stacked.
        with isolated_rng(0):
            self.flow = family(
                features=value_dim,
                context=context_dim,
                transforms=transforms,
                hidden_features=hidden,
                activation=nn.SiLU,
            )
        behind = (lambda: Dropout(dropout, common=common_dropout)) if dropout > 0 else None
        stack_linears(self.flow, members, generator=generator, after_activation=behind)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density, `(k, n)`, of values `(k, n, d)` at contexts `(k, n, c)`."""
        z, log_det = self.flow.transform(context).call_and_ladj(value)
        normal = -0.5 * (z.square() + _LOG_2PI).sum(-1)
        # a single feature is transformed elementwise: its Jacobian keeps the feature's axis
        return normal + (log_det.sum(-1) if log_det.dim() == z.dim() else log_det)

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row, `(k, n, d)`, at contexts `(k, n, c)`."""
        shape = (*context.shape[:2], self.value_dim)
        noise = torch.randn(shape, generator=generator, device=context.device)
        return self.flow.transform(context).inv(noise)

    def centre(self, context: Tensor) -> Tensor:
        """What the flow makes of its base's mean, `(k, n, d)`; see `ConditionalDensity.centre`."""
        zero = context.new_zeros(*context.shape[:2], self.value_dim)
        return self.flow.transform(context).inv(zero)

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The centre, and the spread of images of a few fixed points of the base."""
        k, n = context.shape[:2]
        points = base_points(self.value_dim).to(context)
        many = context.repeat(1, len(points), 1)
        start = points.repeat_interleave(n, 0).expand(k, -1, -1)
        images = self.flow.transform(many).inv(start).reshape(k, len(points), n, -1)
        centre = self.centre(context)
        return centre, spread_of_images(images.transpose(0, 1), centre)
