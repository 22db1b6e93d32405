"""The width and the shape of a step's noise that make held-out residuals most likely.

Few pairs show each output's width to one part in sqrt(2 n) only, so the outputs are taken together:
their log widths are normal about a common mean, with a spread that the pairs themselves show. Where
outputs ask for about the same width all get it; where one is foretold ten times better than the
others it keeps its own (an empirical Bayes estimate; Gelman et al. 2013, "Bayesian Data Analysis",
chapter 5). What is still not known of the width makes a new residual heavier in the tails:
Student's t, whose degrees of freedom are about the rows left when the mean is learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlsbi.bridge.residuals import Residuals

__all__ = ["best_noise"]

_LIMITS = (0.01, 20.0)  # of the factor on a variance
_PLACES = 80  # log widths that are tried between those limits
_MEANS, _MEAN_SPREAD = 61, 0.5  # of the common mean of the log widths, about 0
_SPREADS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5)  # of the log widths about it
_USUAL_SPREAD = 0.3  # with a log spread of 1
_FREEDOM = (8.0, 5.0, 3.5, 2.5)  # of heavy-tailed noise
_WORTH_IT = 1.5  # nats that heavier tails have to win
# Half of few rows are spent on the mean; with so much freedom Student's t is as good as normal.
_LEFT, _LEAST_FREEDOM, _NORMAL = 0.5, 2.5, 16.0


def best_noise(
    z: Tensor, weight: Tensor, residuals: Residuals, *, rows: float
) -> tuple[Tensor, Residuals]:
    """The width of each output's noise `(D,)`, and the shape of it all.

    Args:
        z: Held-out residuals in units of what was foretold, `(k, n, D)`.
        weight: Of each, `(k, n, 1)`, with sum 1; 0 where a row was not held out.
        residuals: The shape that leave-one-out residuals ask for.
        rows: How many rows were held out.

    Returns:
        Factors on the widths, float32, and the shape, which is heavy-tailed only where that wins.
    """
    low, high = (math.log(limit) / 2 for limit in _LIMITS)
    places = torch.linspace(low, high, _PLACES, dtype=torch.float64)
    usual = _usual(residuals, rows)
    best, best_value = (places[:1], usual), -math.inf
    for shape in (usual, *(usual.student(f) for f in _FREEDOM if f < usual.freedom)):
        density = [shape.marginal_log_density(z / s) - s.log() for s in places.exp()]
        likelihood = rows * torch.stack([(d * weight).sum((0, 1)) for d in density])
        widths, value = _together(places, likelihood)
        if value > best_value + (_WORTH_IT if best[1] is usual else 0.0):
            best, best_value = (widths, shape), value
    return best[0].exp().float(), best[1]


def _usual(residuals: Residuals, rows: float) -> Residuals:
    """The shape that other shapes have to beat: what is not known of the width, if it is normal."""
    freedom = max(_LEAST_FREEDOM, _LEFT * rows)
    if not residuals.gaussian or freedom >= _NORMAL:
        return residuals
    return residuals.student(freedom)


def _together(places: Tensor, likelihood: Tensor) -> tuple[Tensor, float]:
    """Mean log width of each output given all of them, `(D,)`, and the log evidence.

    Args:
        places: Log widths, `(S,)`.
        likelihood: Log likelihood of each output there, `(S, D)`.
    """
    middle = torch.linspace(-1.5, 1.5, _MEANS, dtype=torch.float64)
    spread = torch.tensor(_SPREADS, dtype=torch.float64)
    away = (places[:, None, None] - middle[:, None]) / spread
    prior = torch.log_softmax(-0.5 * away.square(), 0)  # (S, means, spreads)
    joint = prior.unsqueeze(-1) + likelihood[:, None, None]  # (S, means, spreads, D)
    usual = (middle / _MEAN_SPREAD).square().unsqueeze(1) + (spread / _USUAL_SPREAD).log().square()
    evidence = torch.logsumexp(joint, 0).sum(-1) - 0.5 * usual
    at = divmod(int(evidence.argmax()), len(spread))
    posterior = torch.softmax(joint[:, at[0], at[1]], 0)
    return posterior.mT @ places, float(evidence.max())
