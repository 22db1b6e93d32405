"""Squared maximum mean discrepancy of two samples, Gaussian kernel, V-statistic.

MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), with the diagonals kept (the V-statistic:
never negative, biased upwards by about 1/n + 1/m). Gretton et al. 2012, JMLR 13.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_positive

__all__ = ["median_length_scale", "mmd_squared"]


def median_length_scale(x: Any) -> float | Tensor:
    """The median heuristic: the median distance of two rows, divided by sqrt(2).

    Dividing by sqrt(2) makes the kernel exp(-median distance^2 / (2 s^2)) = exp(-1) at the median
    distance. Distances of a row to itself do not count.

    Args:
        x: Reference sample, shape `(*batch, n, d)` with n >= 2.

    Returns:
        A float for one sample, a tensor of shape `(*batch,)` for several.

    Raises:
        TypeError: If `x` is not array-like.
        ValueError: If `x` has the wrong shape, is not finite, or at least half of its pairs of rows
            are equal, so that the heuristic gives zero.
    """
    sample = _as_sample(x, name="x", minimum=2)
    rows, columns = torch.triu_indices(sample.shape[-2], sample.shape[-2], offset=1)
    median = _distances(sample, sample)[..., rows, columns].median(-1).values
    if bool((median == 0).any()):
        raise ValueError(
            "x must have a positive median distance between its rows; got zero (most rows are "
            "equal). Pass length_scale= a positive number instead."
        )
    scale = median / math.sqrt(2)
    return float(scale) if scale.ndim == 0 else scale


def mmd_squared(x: Any, y: Any, length_scale: float | None = None) -> float | Tensor:
    """Squared maximum mean discrepancy between a reference sample and another one.

    The kernel is exp(-|a - b|^2 / (2 s^2)).

    Args:
        x: Reference sample, shape `(*batch, n, d)`.
        y: The sample to judge, shape `(*batch, m, d)`.
        length_scale: s, in the units of the rows. `None`: the median heuristic over `x`, one scale
            for each sample of a batch.

    Returns:
        MMD^2, a float for two samples, a float64 tensor of shape `(*batch,)` for a batch.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If shapes do not agree, a value is not finite, or the scale is not positive.
    """
    a, b = _as_sample(x, name="x"), _as_sample(y, name="y")
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"y must have shape (*batch, m, d) with the batch and d of x, {tuple(a.shape)}; "
            f"got {tuple(b.shape)}."
        )
    scale = torch.as_tensor(
        median_length_scale(a)
        if length_scale is None
        else check_positive(length_scale, name="length_scale"),
        dtype=torch.float64,
    )[..., None, None]
    value = _mean_kernel(a, a, scale) + _mean_kernel(b, b, scale) - 2 * _mean_kernel(a, b, scale)
    value = value.clamp_min(0.0)  # rounding alone can make it negative
    return float(value) if value.ndim == 0 else value


def _mean_kernel(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    # In place: the (n, m) tables are what takes the memory and the time.
    table = _distances(a, b).div_(scale).square_().mul_(-0.5).exp_()
    return table.mean((-2, -1))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[-1] == 1:  # exact and several times faster than the general case
        return (a - b.transpose(-2, -1)).abs()
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _as_sample(value: Any, *, name: str, minimum: int = 1) -> Tensor:
    sample = as_tensor(value, name=name, dtype=torch.float64).detach().cpu()
    if sample.ndim < 2 or sample.shape[-2] < minimum or sample.shape[-1] < 1:
        raise ValueError(
            f"{name} must have shape (*batch, n, d) with n >= {minimum} rows and d >= 1; got "
            f"{tuple(sample.shape)}. One-dimensional draws need a last dimension of one."
        )
    return sample
