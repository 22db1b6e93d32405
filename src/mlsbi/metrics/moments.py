"""Posterior z-score and contraction: how far off, and how much was learned.

Schad, Betancourt, Vasishth 2021, Psychological Methods 26, arXiv:1904.12765, section 4; Betancourt,
"Towards a principled Bayesian workflow".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor
from mlsbi.metrics._draws import as_theta_and_draws

__all__ = ["contraction", "z_scores"]

_TINY = 1e-300


def z_scores(theta: Any, draws: Any) -> Tensor:
    """(posterior mean - theta) / posterior sd of each run and parameter.

    Over runs from the prior it has mean 0 and, for a calibrated normal posterior, sd 1: a mean off
    zero is a bias, an sd above one over-confidence.

    Args:
        theta: True parameters, shape `(n, d)`.
        draws: Posterior draws, shape `(num_draws, n, d)`, at least 2 of them.

    Returns:
        Shape `(n, d)`, float64.

    Raises:
        TypeError: If an argument is not array-like.
        ValueError: If shapes do not agree, or a value is not finite.
    """
    true, drawn = as_theta_and_draws(theta, draws)
    return (drawn.mean(0) - true) / _sd(drawn).clamp(min=_TINY)


def contraction(draws: Any, prior_variance: Any) -> Tensor:
    """1 - posterior variance / prior variance: 0, nothing was learned; 1, all; below 0, wider.

    Args:
        draws: Posterior draws, shape `(num_draws, n, d)`, at least 2 of them.
        prior_variance: Of each parameter, shape `(d,)`, positive.

    Returns:
        Shape `(n, d)`, float64.

    Raises:
        TypeError: If an argument is not array-like.
        ValueError: If shapes do not agree, a value is not finite, or a variance is not positive.
    """
    drawn = as_tensor(draws, name="draws", ndim=3, dtype=torch.float64).cpu()
    variance = as_tensor(
        prior_variance, name="prior_variance", shape=(drawn.shape[2],), dtype=torch.float64
    ).cpu()
    if not bool((variance > 0).all()):
        raise ValueError(
            f"prior_variance must be positive; got {variance.tolist()}. Leave out parameters that "
            "the prior fixes."
        )
    return 1 - _sd(drawn).square() / variance


def _sd(draws: Tensor) -> Tensor:
    if len(draws) < 2:
        raise ValueError(
            f"draws must have at least 2 draws for a variance; got {len(draws)}. Draw some hundred."
        )
    return draws.std(0)
