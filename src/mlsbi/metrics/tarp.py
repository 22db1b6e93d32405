"""TARP: coverage of random regions, of all parameters together.

For a reference point r that theta knows nothing of (it may depend on x), the share of posterior
draws that are nearer to r than theta is, is uniform on (0, 1) if the posterior is right; and over
all choices of r only then. Lemos, Coogan, Hezaveh, Perreault-Levasseur 2023, ICML,
arXiv:2302.03026. Unlike the regions of highest density it needs draws alone, and it sees shifts
whose direction is not that of an axis.

`sbi.diagnostics` has TARP too. It bins the credibilities into a curve of n / 10 points, and its
test compares that curve's values with a grid's as if they were two samples, so that it cannot be
used with tens of runs; its references come from the smallest box around the true parameters, which
few of them give away. Hence the credibilities here, run by run, and references from the prior.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_seed
from mlsbi._random import make_generator
from mlsbi.metrics._draws import as_theta_and_draws, spread_ranks

__all__ = ["tarp_ranks"]


def tarp_ranks(theta: Any, draws: Any, references: Any, *, scale: Any = None, seed: int) -> Tensor:
    """TARP credibility of each run: the share of draws nearer to its reference than theta is.

    The curve of expected coverage is `coverage_of_ranks` of it, the test `uniformity_tests`.

    Args:
        theta: True parameters, shape `(n, d)`.
        draws: Posterior draws, shape `(num_draws, n, d)`.
        references: A point for each run, drawn without a look at theta (from the prior, say),
            shape `(n, d)`.
        scale: Units in which distances are Euclidean, shape `(d,)` or `(n, d)`. None: the
            geometric mean of two standard deviations, that of the references and that of the run's
            draws. With it every parameter has about the same say, well determined or not: a
            reference is off by the prior's width, and moves of theta are as large as the
            posterior's.
        seed: Seed of the spreading over the ranks' steps.

    Returns:
        Credibilities in (0, 1), float64, shape `(n,)`; uniform if the posterior is calibrated.

    Raises:
        TypeError: If an argument is not array-like, or the seed no integer.
        ValueError: If shapes do not agree, a value is not finite, or a scale is not positive.
    """
    true, drawn = as_theta_and_draws(theta, draws)
    points = as_tensor(
        references, name="references", shape=tuple(true.shape), dtype=torch.float64
    ).cpu()
    units = _balanced(points, true, drawn) if scale is None else _checked(scale, true)
    far = ((true - points) / units).square().sum(-1)
    distance = ((drawn - points) / units).square().sum(-1)
    return spread_ranks(far, distance, make_generator(check_seed(seed), "tarp", "ties"))


def _balanced(references: Tensor, theta: Tensor, draws: Tensor) -> Tensor:
    """Units `(n, d)`; theta counts as one more draw, so that it stays one draw among others."""
    together = torch.cat([theta[None], draws])
    prior = references.std(0) if len(references) > 1 else torch.ones_like(references[0])
    units = (together.std(0) * prior).sqrt()
    return torch.where(units > 0, units, 1.0)


def _checked(scale: Any, theta: Tensor) -> Tensor:
    units = as_tensor(scale, name="scale", ndim=(1, 2), dtype=torch.float64).cpu()
    if units.shape not in (theta.shape, theta.shape[1:]) or not bool((units > 0).all()):
        raise ValueError(
            f"scale must be positive, of shape {tuple(theta.shape[1:])} or {tuple(theta.shape)}; "
            f"got shape {tuple(units.shape)}. Pass for example the prior's standard deviations."
        )
    return units
