"""Negative log predictive density: the mean of -log q(theta | x) over held-out pairs.

It is a log density in the original units of the parameters, so it can be negative, and its
smallest possible expectation is the one that the exact posterior reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from mlsbi._checks import as_tensor

__all__ = ["NLPD", "nlpd"]


@dataclass(frozen=True)
class NLPD:
    """Negative log density over held-out pairs, in nats.

    Attributes:
        mean: Mean over the pairs.
        median: Median over the pairs.
        q90: 90 % quantile over the pairs: how bad the bad cases are.
        standard_error: Standard error of `mean`; NaN for a single pair.
    """

    mean: float
    median: float
    q90: float
    standard_error: float

    def to_dict(self) -> dict[str, float]:
        """The figures under the keys that `Task.score` uses, such as `nlpd_mean`."""
        return {
            "nlpd_mean": self.mean,
            "nlpd_median": self.median,
            "nlpd_q90": self.q90,
            "nlpd_standard_error": self.standard_error,
        }


def nlpd(log_prob: Any) -> NLPD:
    """Summarise the log densities of held-out pairs.

    Args:
        log_prob: log q(theta_i | x_i) (or log q(x_i | theta_i)) of each pair, shape `(n,)`, natural
            logarithm, in the original units. `-inf` is allowed and makes the mean infinite.

    Returns:
        Mean, median, 90 % quantile and standard error of the negative log density.

    Raises:
        TypeError: If `log_prob` is not array-like.
        ValueError: If it is not of shape `(n,)` with n >= 1, or holds NaN or `+inf`.
    """
    values = -as_tensor(log_prob, name="log_prob", ndim=1, dtype=torch.float64, finite=False)
    values = values.detach().cpu()
    if len(values) == 0:
        raise ValueError("log_prob must hold at least one log density; got shape (0,).")
    if bool((values.isnan() | (values == -math.inf)).any()):
        raise ValueError(
            "log_prob must hold numbers or -inf; got NaN or +inf. Look at the fit's status: a "
            "density that is not a number usually comes from a training that diverged."
        )
    return NLPD(
        mean=float(values.mean()),
        median=_quantile(values, 0.5),
        q90=_quantile(values, 0.9),
        standard_error=_standard_error(values),
    )


def _quantile(values: torch.Tensor, q: float) -> float:
    """The q quantile; the lower neighbour where interpolation would meet an infinity."""
    interpolation = "linear" if bool(values.isfinite().all()) else "lower"
    return float(values.quantile(q, interpolation=interpolation))


def _standard_error(values: torch.Tensor) -> float:
    if len(values) < 2:
        return math.nan
    if not bool(values.isfinite().all()):
        return math.inf
    return float(values.std() / math.sqrt(len(values)))
