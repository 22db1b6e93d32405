"""How runs would score under a density that was wider or narrower, factor by factor.

A density that is stretched about its centre has the draws c + r (z - c), with r a function of the
context (`mlsbi.estimators.stretch`), so that the credibility of the smallest highest-density
region (in the network's units) that holds a value is the rank of log q(c + (value - c) / r) among
the log densities of draws of q as it is: one set of draws serves all factors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._random import derive_seed
from mlsbi.estimators.estimator import Estimator
from mlsbi.metrics.coverage import hpd_ranks

__all__ = ["FACTORS", "scaled_scores"]

FACTORS = tuple(2.0 ** (i / 8) for i in range(-8, 25))
"""The factors by which the widening is multiplied: 1/2 .. 8, eight an octave."""


def scaled_scores(
    fit: Any,
    value: Tensor,
    context: Tensor,
    draws: Tensor,
    log_prob_draws: Tensor,
    *,
    seed: int,
) -> tuple[Tensor, Tensor] | None:
    """Log density and credibility of runs under each of `FACTORS`.

    Args:
        fit: The fit.
        value: What it is a density of: theta of a posterior fit, x of a likelihood fit; `(b, *)`.
        context: The other of the two, `(b, *)`.
        draws: Draws from the density at each context, `(n, b, *)`.
        log_prob_draws: Their log densities, `(n, b)`.
        seed: Spreads ranks over their steps.

    Returns:
        Log densities and ranks, each `(b, 33)`, float64, on the CPU; None of a fit without an
        `Estimator`, or whose density knows no width.
    """
    estimator = getattr(fit, "estimator", None)
    if not isinstance(estimator, Estimator):
        return None
    factors = torch.tensor(FACTORS, dtype=torch.float64)
    place = estimator.widening.device
    try:
        found = estimator.log_prob_widened(value.to(place), context.to(place), factors)
    except ValueError:
        return None
    log_prob, lost = (t.cpu() for t in found)
    jacobian = estimator.value_transform.log_det
    with torch.no_grad():
        flat = draws.flatten(0, 1).to(place)
        inner_draws = log_prob_draws - jacobian(flat).cpu().reshape(log_prob_draws.shape)
        inner = log_prob + lost - jacobian(value.to(place)).cpu()[:, None]
    inner_draws = inner_draws + lost[:, FACTORS.index(1.0)]
    spread = derive_seed(seed, "scaled")
    ranks = [hpd_ranks(column, inner_draws, seed=spread) for column in inner.unbind(1)]
    return log_prob, torch.stack(ranks, 1)
