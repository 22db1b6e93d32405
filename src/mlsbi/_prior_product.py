"""A product of independent one-dimensional distributions, as one torch distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

__all__ = ["Product"]


class Product(Distribution):
    """Independent one-dimensional distributions side by side, usable as a prior in sbi.

    Unlike torch's families with validation off, the density is zero outside the support (an
    `Exponential` would go on below zero).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 (torch's own name)

    def __init__(self, components: Sequence[Distribution]) -> None:
        """Put components side by side.

        Args:
            components: Distributions with one element each (batch and event shape together).
        """
        self.components = list(components)
        super().__init__(event_shape=torch.Size([len(self.components)]), validate_args=False)

    def __repr__(self) -> str:
        return f"Product({', '.join(str(c) for c in self.components)})"

    @property
    def support(self) -> constraints.Constraint:
        """Support of the vector, in a form that torch's `biject_to` and sbi read."""
        parts = []
        for component in self.components:
            part = component.support
            while isinstance(part, constraints.independent):
                part = part.base_constraint
            parts.append(part)
        if all(isinstance(part, type(constraints.real)) for part in parts):
            return constraints.independent(constraints.real, 1)
        joined = constraints.cat(parts, dim=-1, lengths=[1] * len(parts))
        return constraints.independent(joined, 1)

    @property
    def mean(self) -> Tensor:
        """Means, shape `(d,)`."""
        return self._moment("mean")

    @property
    def variance(self) -> Tensor:
        """Variances, shape `(d,)`."""
        return self._moment("variance")

    def _moment(self, name: str) -> Tensor:
        values = [getattr(c, name).reshape(1) for c in self.components]
        moment = torch.cat(values)
        if not bool(torch.isfinite(moment).all()):
            # sbi estimates the moment from samples when told that it does not exist.
            raise NotImplementedError(f"the {name} of {self!r} is not finite")
        return moment

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        """Draw samples, shape `(*sample_shape, d)`."""
        shape = torch.Size(sample_shape)
        return torch.stack([c.sample(shape).reshape(shape) for c in self.components], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, shape `(*batch,)`, of `value`, shape `(*batch, d)`; -inf outside."""
        total = value.new_zeros(value.shape[:-1])
        for component, column in zip(self.components, value.unbind(-1), strict=True):
            shaped = column.unsqueeze(-1)
            inside = _elementwise(component.support).check(shaped)
            log_prob = component.log_prob(shaped).reshape(column.shape)
            total = total + torch.where(inside.reshape(column.shape), log_prob, -torch.inf)
        return total

    def to(self, device: str | torch.device) -> None:
        """Move the components to a device, in place (sbi's convention)."""
        from sbi.utils.user_input_checks_utils import move_distribution_to_device

        self.components = [move_distribution_to_device(c, device) for c in self.components]


def _elementwise(constraint: Any) -> constraints.Constraint:
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return constraint
