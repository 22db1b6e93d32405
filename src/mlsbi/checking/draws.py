"""Posterior draws at many observations, with their log densities, of either kind of fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed
from mlsbi._random import make_generator
from mlsbi.prior import Prior
from mlsbi.results import LikelihoodFit

__all__ = [
    "PosteriorDraws",
    "event_shape_of",
    "is_likelihood",
    "posterior_draws",
    "prior_variance",
]

_PRIOR_DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class PosteriorDraws:
    """Draws from the posteriors at b observations.

    Attributes:
        theta: Draws, float64, shape `(n, b, d)`.
        log_prob: log q(theta | x) of each, float64, shape `(n, b)`.
        log_evidence: Of likelihood fits: log of the integral of prior times likelihood,
            shape `(b,)`; None of posterior fits, whose densities are normalised.
        effective: Effective number of independent draws, shape `(b,)`: n of a posterior fit.
    """

    theta: Tensor
    log_prob: Tensor
    log_evidence: Tensor | None
    effective: Tensor

    def posterior_log_prob(self, prior: Prior, theta: Tensor, log_likelihood: Tensor) -> Tensor:
        """Log q(theta_i | x_i) from the log likelihood of the same pairs, `(b,)`, float64."""
        if self.log_evidence is None:
            raise ValueError("a posterior fit's log_prob is that of the posterior already.")
        return prior.log_prob(theta).cpu().double() + log_likelihood - self.log_evidence


def is_likelihood(fit: Any) -> bool:
    """Whether a fit is of p(x | theta)."""
    return isinstance(fit, LikelihoodFit)


def event_shape_of(fit: Any, x: Tensor) -> tuple[int, ...]:
    """Shape of one x; that of `x` itself where a fit does not say."""
    return tuple(getattr(fit, "event_shape", x.shape[1:]))


def prior_variance(prior: Prior) -> Tensor:
    """Variance of each parameter under the prior, `(d,)`, float64.

    From the distribution itself; where it does not know, or it is infinite, that of a normal with
    the quartiles of prior draws.
    """
    try:
        known = torch.as_tensor(prior.distribution.variance).double().reshape(-1)
    except NotImplementedError:
        known = torch.full((prior.dim,), torch.nan, dtype=torch.float64)
    usable = torch.isfinite(known) & (known > 0)
    if len(known) == prior.dim and bool(usable.all()):
        return known
    draws = prior.sample(_PRIOR_DRAWS, make_generator(0, "prior variance")).double()
    quartiles = draws.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64), dim=0)
    rough = ((quartiles[1] - quartiles[0]) / 1.349).square()
    return torch.where(usable, known, rough) if len(known) == prior.dim else rough


def posterior_draws(fit: Any, x: Any, n: int, *, seed: int) -> PosteriorDraws:
    """Draws from the posterior at each of b observations.

    Args:
        fit: A posterior or a likelihood fit.
        x: Observations, shape `(b, *event)`.
        n: Draws at each.
        seed: Same seed, same draws.

    Returns:
        The draws, with their log densities.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.
    """
    observed = as_tensor(x, name="x")
    n, seed = check_count(n, name="n", minimum=2), check_seed(seed)
    if is_likelihood(fit):
        raise NotImplementedError
    draws = fit.sample_batched(n, x=observed, seed=seed)
    d = draws.shape[-1]
    many = observed.unsqueeze(0).expand(n, *observed.shape).reshape(-1, *observed.shape[1:])
    log_prob = fit.log_prob(draws.reshape(-1, d), many).reshape(n, -1)
    return PosteriorDraws(
        theta=draws.detach().cpu().double(),
        log_prob=log_prob.detach().cpu().double(),
        log_evidence=None,
        effective=torch.full((len(observed),), float(n), dtype=torch.float64),
    )
