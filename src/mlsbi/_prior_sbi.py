"""Priors in the forms that sbi gives them, as plain distributions over vectors.

`sbi.utils.process_prior` wraps a prior so that its draws have the shape and dtype that sbi wants.
mlsbi asks the distribution inside: its family is known then, so that it can be saved with a fit.
"""

from __future__ import annotations

from typing import Any

from torch.distributions import Distribution, Independent

__all__ = ["unwrapped"]


def unwrapped(distribution: Distribution) -> Distribution:
    """The distribution inside sbi's wrappers, and one over a vector where it was over one number.

    Args:
        distribution: A copy: the parts of a `MultipleIndependent` are replaced in place.

    Returns:
        The same density. A distribution that sbi did not make is passed on, but for
        `batch_shape` `(1,)`, sbi's form of a single parameter, which becomes a vector.

    Raises:
        TypeError: If it is sbi's `RestrictedPrior`.
    """
    inner = _without_wrappers(distribution)
    one_number = tuple(inner.batch_shape) == (1,) and tuple(inner.event_shape) == ()
    return Independent(inner, 1, validate_args=False) if one_number else inner


def _without_wrappers(distribution: Any) -> Distribution:
    if type(distribution).__module__.partition(".")[0] != "sbi":
        return distribution
    from sbi.utils import MultipleIndependent, RestrictedPrior
    from sbi.utils.user_input_checks_utils import OneDimPriorWrapper, PytorchReturnTypeWrapper

    if isinstance(distribution, (OneDimPriorWrapper, PytorchReturnTypeWrapper)):
        return _without_wrappers(distribution.prior)
    if isinstance(distribution, RestrictedPrior):
        raise TypeError(
            "prior must have a density and a known support; got sbi's RestrictedPrior, which is a "
            "way to propose theta. Pass the prior that it restricts, and runs at theta drawn from "
            "that prior."
        )
    if type(distribution) is MultipleIndependent:
        distribution.dists = [_without_wrappers(part) for part in distribution.dists]
    return distribution
