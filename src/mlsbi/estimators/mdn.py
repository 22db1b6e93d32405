"""Mixture density network with full covariances, k members at once.

q(v | c) = sum_j w_j(c) N(v; m_j(c), (P_j P_j^T)^-1), the weights, means and the precision's
triangular factors being outputs of one network a member (Bishop 1994, "Mixture density networks").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.stacked import Dropout, StackedLinear

__all__ = ["MixtureDensity"]

_LOG_2PI = math.log(2 * math.pi)


class MixtureDensity(ConditionalDensity):
    """Full-covariance Gaussian mixture; two hidden layers of SiLU and a linear skip connection."""

    _lower: Tensor

    def __init__(
        self,
        members: int,
        value_dim: int,
        context_dim: int,
        *,
        generator: torch.Generator,
        components: int = 4,
        hidden: tuple[int, ...] = (64, 64),
        dropout: float = 0.0,
        common_dropout: bool = True,
    ) -> None:
        """Build the networks of all members.

        Args:
            members: k.
            value_dim: Dimension d of the value.
            context_dim: Length of the (embedded) context vector.
            generator: Draws the initial weights.
            components: Mixture components.
            hidden: Widths of the hidden layers.
            dropout: Rate behind each activation, in training mode.
            common_dropout: One mask for all rows of a pass (see `Dropout`).
        """
        super().__init__()
        self.members, self.value_dim, self.components = members, value_dim, components
        d, j = value_dim, components
        self._sizes = [j, j * d, j * d, j * (d * (d - 1) // 2)]
        outputs = sum(self._sizes)
        layers: list[nn.Module] = []
        width = context_dim
        for size in hidden:
            layers += [
                StackedLinear(members, width, size, generator=generator),
                nn.SiLU(),
                Dropout(dropout, common=common_dropout),
            ]
            width = size
        self.trunk = nn.Sequential(*layers)
        self.head = StackedLinear(members, width, outputs, generator=generator)
        self.skip = StackedLinear(members, context_dim, outputs, generator=generator)
        rows, cols = torch.tril_indices(d, d, offset=-1)
        self.register_buffer("_lower", rows * d + cols, persistent=False)
        self._start_near_standard_normal(generator)

    def _start_near_standard_normal(self, generator: torch.Generator) -> None:
        """Small output weights; means spread so that the components differ from the first step."""
        means = slice(self._sizes[0], self._sizes[0] + self._sizes[1])
        with torch.no_grad():
            for layer in (self.head, self.skip):
                layer.weight.mul_(0.1)
                layer.bias.zero_()
            shape = self.head.bias[:, means].shape
            if self.components > 1:
                self.head.bias[:, means] = 0.5 * torch.randn(shape, generator=generator)

    def _parameters_at(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (k, n, j), means (k, n, j, d), precision factors (k, n, j, d, d)."""
        out = self.head(self.trunk(context)) + self.skip(context)
        logits, means, diagonal, lower = out.split(self._sizes, dim=-1)
        lead = (*out.shape[:2], self.components)
        d = self.value_dim
        # Bounded log precisions: a component can neither collapse on a run nor run away.
        diagonal = torch.exp(5.0 * torch.tanh(diagonal.reshape(*lead, d) / 4.0))
        factor = torch.diag_embed(diagonal)
        if d > 1:
            index = self._lower.expand(*lead, -1)
            flat = factor.flatten(-2)
            factor = flat.scatter(-1, index, lower.reshape(*lead, -1)).unflatten(-1, (d, d))
        return torch.log_softmax(logits, -1), means.reshape(*lead, d), factor

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density, `(k, n)`, of values `(k, n, d)` at contexts `(k, n, c)`."""
        log_weights, means, factor = self._parameters_at(context)
        delta = value.unsqueeze(2) - means
        white = (factor @ delta.unsqueeze(-1)).squeeze(-1)
        log_det = torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
        normal = log_det - 0.5 * white.square().sum(-1) - 0.5 * self.value_dim * _LOG_2PI
        return torch.logsumexp(log_weights + normal, -1)

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row, `(k, n, d)`, at contexts `(k, n, c)`."""
        log_weights, means, factor = self._parameters_at(context)
        k, n = context.shape[:2]
        device = context.device
        uniform = torch.rand(k, n, 1, generator=generator, device=device)
        # log_softmax may sum to a hair below one: the last component takes the rest
        chosen = (uniform > log_weights.exp().cumsum(-1)).sum(-1).clamp(max=self.components - 1)
        pick = chosen[..., None, None].expand(k, n, 1, self.value_dim)
        mean = means.gather(2, pick).squeeze(2)
        triangle = factor.gather(2, pick.unsqueeze(-1).expand(*pick.shape, self.value_dim)).squeeze(
            2
        )
        noise = torch.randn(k, n, self.value_dim, 1, generator=generator, device=device)
        return mean + torch.linalg.solve_triangular(triangle, noise, upper=False).squeeze(-1)
