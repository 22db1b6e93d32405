"""Priors: torch and sbi distributions over parameter vectors, behind one interface."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from mlsbi._checks import as_tensor, check_count, check_type
from mlsbi._prior_bounds import Bounds, support_bounds
from mlsbi._prior_dict import as_float32, distribution_from_dict, distribution_to_dict
from mlsbi._prior_product import Product
from mlsbi._prior_sbi import unwrapped
from mlsbi._random import isolated_rng

__all__ = ["Prior", "as_prior"]

_KINDS = (
    "Pass a torch Distribution with event_shape (d,), an sbi prior such as BoxUniform, "
    "or a list of d one-dimensional distributions."
)


@dataclass(frozen=True, repr=False, eq=False)
class Prior:
    """A prior over parameter vectors theta with d entries; make one with `as_prior`.

    Attributes:
        distribution: The torch distribution, `event_shape` `(d,)`; usable as a prior in sbi.
        dim: Number of parameters d.
        low: Lower bounds of the support, float64, shape `(d,)`, `-inf` where there is none.
        high: Upper bounds of the support, float64, shape `(d,)`, `inf` where there is none.
    """

    distribution: Distribution
    dim: int
    low: Tensor
    high: Tensor
    _bounds: Bounds = field(repr=False)
    _inside: Tensor = field(repr=False)  # one point of the support, shape (d,)

    def __repr__(self) -> str:
        return f"Prior({self.distribution}, dim={self.dim})"

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw parameters, strictly inside the support.

        torch's distributions draw from the global generator only; a seed drawn from `generator`
        is used there, and the global state is restored.

        Args:
            n: Number of draws.
            generator: Source of randomness.

        Returns:
            Parameters, float32, shape `(n, d)`.

        Raises:
            TypeError: If `n` is not an integer or `generator` not a generator.
            ValueError: If `n` is less than 1.
        """
        n = check_count(n, name="n")
        check_type(generator, torch.Generator, name="generator", remedy="Pass torch.Generator().")
        device = generator.device
        seed = torch.randint(2**63 - 1, (), generator=generator, device=device)
        with isolated_rng(int(seed)):
            theta = self.distribution.sample(torch.Size([n]))
        return theta.detach().float().clamp(*self._inner_bounds)

    @cached_property
    def _inner_bounds(self) -> tuple[Tensor, Tensor]:
        """The float32 numbers next to the bounds, inside.

        Rounding (to float32, or inside torch) may put a draw on a bound, where the density and the
        maps to an unbounded space are not finite.
        """
        low, high = self.low.float(), self.high.float()
        low = torch.nextafter(low, torch.full_like(low, torch.inf))
        high = torch.nextafter(high, torch.full_like(high, -torch.inf))
        return low, high

    def contains(self, theta: Tensor) -> Tensor:
        """Whether parameters lie in the box of the support (bounds as float32 numbers).

        Args:
            theta: Parameters, shape `(n, d)`; NaN counts as outside.

        Returns:
            Booleans, shape `(n,)`.

        Raises:
            TypeError: If `theta` is not array-like.
            ValueError: If its shape is wrong.
        """
        theta = self._check_theta(theta).float()
        bounds, device = self._bounds, theta.device
        low, high = bounds.low.float().to(device), bounds.high.float().to(device)
        above = (theta > low) | ((theta == low) & ~bounds.low_open.to(device))
        below = (theta < high) | ((theta == high) & ~bounds.high_open.to(device))
        return (above & below & torch.isfinite(theta)).all(dim=1)

    def log_prob(self, theta: Tensor) -> Tensor:
        """Log density, `-inf` outside the support.

        Args:
            theta: Parameters, shape `(n, d)`.

        Returns:
            Log densities, shape `(n,)`, on the device of `theta`.

        Raises:
            TypeError: If `theta` is not array-like.
            ValueError: If its shape is wrong.
        """
        theta = self._check_theta(theta)
        inside = self.contains(theta)
        # Families differ in what they return outside (NaN, or a finite number), so they never
        # see such a row.
        safe = torch.where(inside[:, None], theta, self._inside.to(theta))
        log_prob = self.distribution.log_prob(safe.cpu()).reshape(-1).to(theta.device)
        return torch.where(inside, log_prob, -torch.inf)

    def _check_theta(self, theta: Tensor) -> Tensor:
        remedy = f"The prior has {self.dim} parameter(s): pass one row per parameter vector."
        shape = (None, self.dim)
        tensor = theta if isinstance(theta, Tensor) else None
        checked = as_tensor(
            theta, name="theta", shape=shape, dtype=None, finite=False, remedy=remedy
        )
        if tensor is not None and tensor.is_floating_point():
            return tensor  # keeps its gradient
        return checked if checked.is_floating_point() else checked.float()

    def to_dict(self) -> dict[str, Any]:
        """A description in plain JSON types, for `from_dict`.

        Returns:
            The description; its `type` is "custom" if the family is not one that mlsbi can
            rebuild without running code from a file.
        """
        return distribution_to_dict(self.distribution)

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Prior:
        """Rebuild a prior from `to_dict`; only known families are built, no code is run.

        Args:
            description: What `to_dict` returned.

        Returns:
            The prior, with the same density.

        Raises:
            TypeError: If `description` is not a mapping.
            ValueError: If it describes a custom prior, or is malformed.
        """
        check_type(description, Mapping, name="description", remedy="Pass Prior.to_dict().")
        return as_prior(distribution_from_dict(description))


def as_prior(prior: Any) -> Prior:
    """Make a `Prior` of a torch or sbi distribution, or of a list of one-dimensional ones.

    Args:
        prior: A `torch.distributions.Distribution` with `event_shape` `(d,)` and `batch_shape`
            `()` (sbi's `BoxUniform` and `MultipleIndependent` are such), what sbi's
            `process_prior` returns, a sequence of independent one-dimensional distributions, or a
            `Prior`, which is passed on.

    Returns:
        The prior. It holds a copy, with float32 parameters where the family is a known one: the
        distribution passed in is not changed.

    Raises:
        TypeError: If `prior` is none of these, or a proposal (sbi's `RestrictedPrior`).
        ValueError: If its shape or its support is not one that mlsbi can use.
    """
    if isinstance(prior, Prior):
        return prior
    distribution: Distribution
    if isinstance(prior, (list, tuple)):
        distribution = _product(prior)
    elif isinstance(prior, Distribution):
        distribution = unwrapped(_copy(prior))
    else:
        raise TypeError(f"prior must be a distribution; got {type(prior).__name__}. {_KINDS}")
    _check_shapes(distribution)
    distribution = as_float32(distribution)
    _stop_validation(distribution)
    dim = int(distribution.event_shape[0])
    bounds = support_bounds(distribution, dim)
    if not bool((bounds.low < bounds.high).all()):
        raise ValueError(
            f"prior must have low < high for every parameter; got low {bounds.low.tolist()}, high "
            f"{bounds.high.tolist()}. Correct the bounds."
        )
    inside = _draw_inside(distribution, dim)
    return Prior(distribution, dim, bounds.low, bounds.high, bounds, inside)


def _copy(distribution: Distribution) -> Distribution:
    try:
        duplicate = copy.deepcopy(distribution)
    except Exception as error:
        raise ValueError(
            f"prior cannot be copied ({error}). Build it from tensors without gradients "
            "(tensor.detach()) and without open resources."
        ) from error
    _stop_validation(duplicate)
    return duplicate


def _stop_validation(distribution: Distribution) -> None:
    """Turn torch's checks off on this object only: they raise where -inf is the right answer."""
    distribution._validate_args = False
    for value in vars(distribution).values():
        for member in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(member, Distribution):
                _stop_validation(member)


def _product(components: Sequence[Any]) -> Product:
    if not components:
        raise ValueError(f"prior must have at least one parameter; got an empty list. {_KINDS}")
    parts = []
    for i, component in enumerate(components):
        if not isinstance(component, Distribution):
            kind = type(component).__name__
            raise TypeError(f"prior[{i}] must be a torch Distribution; got {kind}. {_KINDS}")
        shape = tuple(component.batch_shape + component.event_shape)
        if torch.Size(shape).numel() != 1:
            raise ValueError(
                f"prior[{i}] must be one-dimensional; got batch_shape + event_shape {shape}. Give "
                "one distribution a parameter, or one joint distribution instead of a list."
            )
        part = _copy(component)
        parts.append(part.expand(torch.Size([1])) if shape == () else part)
    return Product(parts)


def _check_shapes(distribution: Distribution) -> None:
    batch, event = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    if len(event) == 1 and event[0] > 0 and batch == ():
        return
    got = f"prior must have batch_shape () and event_shape (d,); got {batch} and {event}."
    if batch != () and event == ():
        raise ValueError(
            f"{got} Wrap it: torch.distributions.Independent(prior, {len(batch)}) makes the batch "
            "one vector."
        )
    if batch == () and event == ():
        raise ValueError(f"{got} For a single parameter, pass a list: [prior]. {_KINDS}")
    raise ValueError(f"{got} {_KINDS}")


def _draw_inside(distribution: Distribution, dim: int) -> Tensor:
    with isolated_rng(0):
        draws = distribution.sample(torch.Size([2]))
    if draws.device.type != "cpu":
        raise ValueError(
            f"prior must be on the CPU; got {draws.device}. Build it from CPU tensors."
        )
    if tuple(draws.shape) != (2, dim):
        raise ValueError(
            f"prior.sample((2,)) must have shape (2, {dim}); got {tuple(draws.shape)}."
        )
    return draws[0]
