"""By how much a density is stretched about its centre, at each context.

With scales s the mixture q of the members is stretched about its centre c, in the network's units,

    q_s(z | context) = q(c + (z - c) / s | context) / prod_i s_i,    c = c(context),

which is exact for any c that is a function of the context alone: the density is still normalised,
its draws are c + s (z - c) of draws z of q, and the prior's support is kept, since the network's
units have no bounds. Scales of one are no scales: the same computation, bit for bit.

A widening w stretches the scaled mixture once more, by factors that depend on its width sigma at
the context (at most 1, a width in the network's units of what is known of the value beforehand:
a uniform prior is a standard normal there):

    r_i(context) = (sigma_i^2 + (1 - sigma_i^2) / w_i^2)^(-1/2).

That divides the precision that the data bring, 1 / sigma^2 - 1, by w^2: a narrow density becomes w
times as wide, one that knows no more than the prior stays as it is, and none becomes wider than
that. It is as exact, since the factors are functions of the context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

__all__ = ["remedy_named", "stretch_by"]


def stretch_by(spread: Tensor, scale: Tensor, widening: Tensor) -> Tensor:
    """Scales times r.

    Args:
        spread: Width of the mixture as it is, `(..., d)`.
        scale: s, float64, broadcast with `spread`.
        widening: w, likewise.

    Returns:
        Factors in the precision of `spread`.
    """
    known = (scale * spread).square().clamp(max=1.0)
    return (scale * (known + (1 - known) / widening.square()).rsqrt()).to(spread.dtype)


@contextmanager
def remedy_named() -> Iterator[None]:
    """A `ValueError` for the user where a density lacks what it takes to be stretched."""
    try:
        yield
    except NotImplementedError as error:
        raise ValueError(
            f"estimator: {error}. Use one of mlsbi's own, such as estimator='mdn', or leave the "
            "fit as it is (a scale of 1)."
        ) from error
