"""Ridge regression: the summary of x on a grid of its own, and where level 0's training starts.

A level whose x differs in shape from those below has few pairs, and x may have far more numbers
than there are pairs: the regression costs a decomposition of the smaller of n x n and D x D. The
ridge is chosen by leave-one-out, which for a linear smoother costs one fit (Allen 1974, "The
relationship between variable selection and data augmentation and a method for prediction").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlsbi.estimators.transforms import Standardise

__all__ = ["Regression", "Ridge", "fit_ridge", "regress"]

# Ridges tried, in units of the mean eigenvalue of the rows' inner products.
_RIDGES = torch.logspace(-6, 4, 41, dtype=torch.float64)
_LEAST_LEFT = 1e-9  # of a row's residual; a lone row is its own prediction


class Regression(NamedTuple):
    """A linear regression, float64.

    Attributes:
        weights: Shape `(D, s)`.
        offset: Shape `(s,)`.
        leave_one_out: Each row's prediction by the regression on the others, `(n, s)`.
    """

    weights: Tensor
    offset: Tensor
    leave_one_out: Tensor


def regress(features: Tensor, target: Tensor) -> Regression:
    """Ridge regression of `target` (n, s) on `features` (n, D) and a constant.

    The constant is not shrunk, and each column of `target` has a ridge of its own.
    """
    z, y = features.double(), target.double()
    middle, level = z.mean(0), y.mean(0)
    z, y = z - middle, y - level
    values, left = _left_singular(z)
    ridges = _RIDGES * values.mean().clamp(min=1e-12)
    rotated = left.mT @ y
    residuals = []
    for ridge in ridges:
        shrink = values / (values + ridge)
        # the mean, taken out of both, is a parameter too: 1/n of each row's own weight
        own = left.square() @ shrink + 1 / len(y)
        residual = y - left @ (shrink.unsqueeze(1) * rotated)
        residuals.append(residual / (1 - own).clamp(min=_LEAST_LEFT).unsqueeze(1))
    each = torch.stack(residuals)  # (ridges, n, s)
    best = each.square().mean(1).argmin(0)
    weights = z.mT @ left @ (rotated / (values.unsqueeze(1) + ridges[best]))
    chosen = each[best, :, torch.arange(y.shape[1])].mT
    return Regression(weights, level - middle @ weights, y - chosen + level)


def _left_singular(z: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values `(r,)` and left singular vectors `(n, r)`, r the shorter side."""
    n, length = z.shape
    if n <= length:
        values, left = torch.linalg.eigh(z @ z.mT)
        return values.clamp(min=0.0), left
    values, right = torch.linalg.eigh(z.mT @ z)
    values = values.clamp(min=0.0)
    # a direction in which nothing varies has no left vector: zero, as its part of any fit
    usable = values > 1e-12 * values.max()
    left = z @ right * torch.where(usable, values.clamp(min=1e-300).rsqrt(), 0.0)
    return values * usable, left


class Ridge(nn.Module):
    """x `(n, *event)` to `standardise(x) @ weights + offset`, `(n, s)`."""

    weights: Tensor
    offset: Tensor

    def __init__(self, standardise: Standardise, weights: Tensor, offset: Tensor) -> None:
        """Hold x's standardisation, `weights` (D, s) and `offset` (s,)."""
        super().__init__()
        self.standardise = standardise
        self.register_buffer("weights", weights.double())
        self.register_buffer("offset", offset.double())

    def forward(self, x: Tensor) -> Tensor:
        """Summaries, float32."""
        z = self.standardise(x).flatten(1).double()
        return (z @ self.weights + self.offset).float()


def fit_ridge(x: Tensor, target: Tensor, *, tails: str) -> tuple[Ridge, Tensor]:
    """Regress `target` on x.

    Args:
        x: Shape `(n, *event)`, in the user's units.
        target: Summaries of the coarse partners, `(n, s)`.
        tails: Which outputs of x go through asinh; see `Standardise.fit`.

    Returns:
        The regression on all rows, and each row's prediction by the regression on the others,
        `(n, s)`.
    """
    standardise = Standardise.fit(x, tails=tails)
    found = regress(standardise(x).flatten(1), target)
    return Ridge(standardise, found.weights, found.offset), found.leave_one_out.float()
