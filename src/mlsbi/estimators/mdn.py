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

    _rows: Tensor
    _cols: Tensor
    _sum_rows: Tensor

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
        self.register_buffer("_rows", rows, persistent=False)
        self.register_buffer("_cols", cols, persistent=False)
        # (below the diagonal, d): sums the products of one row of the triangle
        self.register_buffer("_sum_rows", torch.eye(d)[rows], persistent=False)
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

    @torch.no_grad()
    def start_linear(self, weights: Tensor, offset: Tensor, deviation: Tensor) -> None:
        """Start every component at the linear regression N(weights c + offset, deviation^2).

        Args:
            weights: Shape `(k, d, c)`.
            offset: Shape `(k, d)`.
            deviation: Of the regression's residuals, `(k, d)`; not correlated.
        """
        j = self.components
        _, means, diagonal, _ = torch.arange(sum(self._sizes)).split(self._sizes)
        for layer in (self.head, self.skip):
            layer.weight.zero_()
        self.skip.weight[:, means] = weights.repeat(1, j, 1)
        # the components differ, by less than the residuals, and their mean is the regression
        apart = self.head.bias[:, means].unflatten(1, (j, -1))
        apart = (apart - apart.mean(1, keepdim=True)) * deviation.unsqueeze(1)
        self.head.bias[:, means] = apart.flatten(1)
        self.skip.bias[:, means] = offset.repeat(1, j)
        log_precision = -deviation.log().repeat(1, j)
        self.skip.bias[:, diagonal] = 4.0 * torch.atanh((log_precision / 5.0).clamp(-0.9, 0.9))

    def _parameters_at(self, context: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log weights `(k, n, j)`; means and log diagonals `(k, n, j, d)`; entries below it.

        The last two are the precision's triangular factor.
        """
        out = self.head(self.trunk(context)) + self.skip(context)
        logits, means, diagonal, lower = out.split(self._sizes, dim=-1)
        lead = (*out.shape[:2], self.components)
        # Bounded log precisions: a component can neither collapse on a run nor run away.
        diagonal = 5.0 * torch.tanh(diagonal.reshape(*lead, -1) / 4.0)
        weights = torch.log_softmax(logits, -1)
        return weights, means.reshape(*lead, -1), diagonal, lower.reshape(*lead, -1)

    def log_prob(self, value: Tensor, context: Tensor) -> Tensor:
        """Log density, `(k, n)`, of values `(k, n, d)` at contexts `(k, n, c)`."""
        log_weights, means, diagonal, lower = self._parameters_at(context)
        delta = value.unsqueeze(2) - means
        white = diagonal.exp() * delta
        if self.value_dim > 1:
            # the triangle times delta, without building d x d matrices for every row
            white = white + (lower * delta[..., self._cols]) @ self._sum_rows
        square = white.square().sum(-1)
        normal = diagonal.sum(-1) - 0.5 * square - 0.5 * self.value_dim * _LOG_2PI
        return torch.logsumexp(log_weights + normal, -1)

    def mean(self, context: Tensor) -> Tensor:
        """Mean of each member's mixture, sum_j w_j m_j, `(k, n, d)`, at contexts `(k, n, c)`."""
        log_weights, means, _, _ = self._parameters_at(context)
        return (log_weights.exp().unsqueeze(-1) * means).sum(2)

    def centre(self, context: Tensor) -> Tensor:
        """The mixture's mean, `(k, n, d)`; see `ConditionalDensity.centre`."""
        return self.mean(context)

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The mixture's mean and standard deviations, each `(k, n, d)`."""
        log_weights, means, diagonal, lower = self._parameters_at(context)
        weights = log_weights.exp().unsqueeze(-1)
        factor = torch.linalg.solve_triangular(
            self._triangle(diagonal, lower), torch.eye(self.value_dim).to(means), upper=False
        )
        mean = (weights * means).sum(2)
        away = means - mean.unsqueeze(2)
        return mean, (weights * (factor.square().sum(-1) + away.square())).sum(2).sqrt()

    def _triangle(self, diagonal: Tensor, lower: Tensor) -> Tensor:
        """The precision's triangular factor, `(..., d, d)`."""
        triangle = torch.diag_embed(diagonal.exp())
        triangle[..., self._rows, self._cols] = lower
        return triangle

    def sample(self, context: Tensor, *, generator: torch.Generator) -> Tensor:
        """One draw a row, `(k, n, d)`, at contexts `(k, n, c)`."""
        log_weights, *shapes = self._parameters_at(context)
        k, n = context.shape[:2]
        device = context.device
        uniform = torch.rand(k, n, 1, generator=generator, device=device)
        # the weights may sum to a hair below one: the last component takes the rest
        chosen = (uniform > log_weights.exp().cumsum(-1)).sum(-1).clamp(max=self.components - 1)
        mean, diagonal, lower = (
            shape.gather(2, chosen[..., None, None].expand(k, n, 1, shape.shape[-1])).squeeze(2)
            for shape in shapes
        )
        triangle = self._triangle(diagonal, lower)
        noise = torch.randn(k, n, self.value_dim, 1, generator=generator, device=device)
        return mean + torch.linalg.solve_triangular(triangle, noise, upper=False).squeeze(-1)
