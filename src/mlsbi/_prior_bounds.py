"""The box that a prior's support is: low and high of each parameter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    TransformedDistribution,
    constraints,
)

from mlsbi._prior_product import Product

__all__ = ["Bounds", "support_bounds"]

_REMEDY = (
    "Use a prior whose support is a box: each parameter bounded, half-bounded or unbounded on its "
    "own, for example sbi's BoxUniform or a list of one-dimensional distributions."
)
# Constraints around a constraint; a mixture has one of its own in later versions of torch.
_AROUND = (
    constraints.independent,
    getattr(constraints, "MixtureSameFamilyConstraint", constraints.independent),
)


@dataclass(frozen=True)
class Bounds:
    """Bounds of each of d parameters.

    Attributes:
        low: Lower bounds, float64, shape `(d,)`, `-inf` where there is none.
        high: Upper bounds, float64, shape `(d,)`, `inf` where there is none.
        low_open: Whether the lower bound itself is outside, bool, shape `(d,)`.
        high_open: Whether the upper bound itself is outside, bool, shape `(d,)`.
    """

    low: Tensor
    high: Tensor
    low_open: Tensor
    high_open: Tensor


def support_bounds(distribution: Distribution, dim: int) -> Bounds:
    """Read the bounds of a distribution over `dim` parameters.

    Args:
        distribution: With `event_shape` `(dim,)`, or a batch of `dim` one-dimensional ones.
        dim: Number of parameters d.

    Returns:
        The bounds, each of shape `(d,)`.

    Raises:
        ValueError: If the support is not a product of intervals, or is not known.
    """
    if isinstance(distribution, Independent):
        return support_bounds(distribution.base_dist, dim)
    if isinstance(distribution, Product):
        return _join([support_bounds(c, 1) for c in distribution.components])
    if type(distribution) is TransformedDistribution:
        return _transformed_bounds(distribution, dim)
    try:
        constraint = distribution.support
    except (NotImplementedError, AttributeError):
        constraint = None
    if constraint is None:
        raise ValueError(
            f"prior must have a known support; {type(distribution).__name__} defines none. "
            f"{_REMEDY}"
        )
    return _constraint_bounds(constraint, dim)


def _constraint_bounds(constraint: constraints.Constraint, dim: int) -> Bounds:
    if isinstance(constraint, _AROUND):
        return _constraint_bounds(constraint.base_constraint, dim)
    if isinstance(constraint, constraints.cat):
        parts = zip(constraint.cseq, constraint.lengths, strict=True)
        return _join([_constraint_bounds(c, int(length)) for c, length in parts])
    if isinstance(constraint, constraints.stack):
        return _join([_constraint_bounds(c, 1) for c in constraint.cseq])
    inf = torch.inf
    # A half-open interval is closed below, as torch's own check has it.
    if isinstance(constraint, type(constraints.real)):
        return _box(-inf, inf, dim, low_open=True, high_open=True)
    if isinstance(constraint, constraints.greater_than):
        return _box(constraint.lower_bound, inf, dim, low_open=True, high_open=True)
    if isinstance(constraint, constraints.greater_than_eq):
        return _box(constraint.lower_bound, inf, dim, low_open=False, high_open=True)
    if isinstance(constraint, constraints.less_than):
        return _box(-inf, constraint.upper_bound, dim, low_open=True, high_open=True)
    if isinstance(constraint, constraints.interval):
        low, high = constraint.lower_bound, constraint.upper_bound
        return _box(low, high, dim, low_open=False, high_open=False)
    if isinstance(constraint, constraints.half_open_interval):
        low, high = constraint.lower_bound, constraint.upper_bound
        return _box(low, high, dim, low_open=False, high_open=True)
    raise ValueError(f"prior has the support {constraint}, which mlsbi cannot bound. {_REMEDY}")


def _box(
    low: Tensor | float, high: Tensor | float, dim: int, *, low_open: bool, high_open: bool
) -> Bounds:
    # A mixture has one bound a component: the box is the smallest that holds them all.
    lows = torch.as_tensor(low).detach().to("cpu", torch.float64)
    highs = torch.as_tensor(high).detach().to("cpu", torch.float64)
    return Bounds(
        _per_parameter(lows, dim).amin(0),
        _per_parameter(highs, dim).amax(0),
        torch.full((dim,), low_open),
        torch.full((dim,), high_open),
    )


def _per_parameter(bound: Tensor, dim: int) -> Tensor:
    if bound.ndim == 0 or bound.shape[-1] != dim:
        bound = bound.reshape(-1, 1).expand(-1, dim)
    return bound.reshape(-1, dim)


def _join(parts: list[Bounds]) -> Bounds:
    return Bounds(
        torch.cat([p.low for p in parts]),
        torch.cat([p.high for p in parts]),
        torch.cat([p.low_open for p in parts]),
        torch.cat([p.high_open for p in parts]),
    )


def _transformed_bounds(distribution: TransformedDistribution, dim: int) -> Bounds:
    """Bounds pushed through the transforms.

    torch takes the last transform's codomain as the support, so that a log-uniform prior would
    count as unbounded above; a posterior would then leak out of it.
    """
    bounds = support_bounds(distribution.base_dist, dim)
    for transform in distribution.transforms:
        elementwise = transform.domain.event_dim == 0 and transform.codomain.event_dim == 0
        if not (elementwise and transform.bijective):
            return _constraint_bounds(distribution.support, dim)
        image = _constraint_bounds(transform.codomain, dim)
        falling = (torch.as_tensor(transform.sign) < 0).expand(dim)
        low, high = transform(bounds.low), transform(bounds.high)
        # An infinite end maps to the end of the codomain; transforms may return NaN or clamp there.
        low_end, high_end = torch.isinf(bounds.low), torch.isinf(bounds.high)
        low = torch.where(low_end, torch.where(falling, image.high, image.low), low)
        high = torch.where(high_end, torch.where(falling, image.low, image.high), high)
        bounds = Bounds(
            torch.where(falling, high, low),
            torch.where(falling, low, high),
            torch.where(falling, bounds.high_open, bounds.low_open),
            torch.where(falling, bounds.low_open, bounds.high_open),
        )
    return bounds
