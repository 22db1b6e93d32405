"""Posterior draws at many observations, with their log densities, of either kind of fit.

A posterior fit is sampled as it is. The posterior of a likelihood fit at one x, under its prior, is
sampled by importance, see `mlsbi.checking.importance`. Draws of x, which a likelihood fit makes of
its summary where it has one, get their densities here, too.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed
from mlsbi._random import make_generator
from mlsbi.checking.importance import weighted_posterior
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Transform
from mlsbi.prior import Prior
from mlsbi.results import LikelihoodFit

__all__ = [
    "PosteriorDraws",
    "data_draws",
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
        effective: Effective number of independent draws, shape `(b,)`: n of a posterior fit. Below
            50, draws and evidence of a likelihood fit are not to be relied on.
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
        found = weighted_posterior(fit, observed, n, seed=seed)
        return PosteriorDraws(
            theta=found.theta.double(),
            log_prob=found.log_joint - found.log_evidence,
            log_evidence=found.log_evidence,
            effective=found.effective,
        )
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


def data_draws(fit: Any, theta: Tensor, n: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draws of x from a likelihood fit, and their log densities.

    Args:
        fit: A likelihood fit.
        theta: Parameters, shape `(b, d)`.
        n: Draws at each.
        seed: Same seed, same draws.

    Returns:
        Draws `(n, b, *event)`, summaries where the fit has a summary, and log q(x | theta) of
        each, float64, shape `(n, b)`, in the units of `fit.log_prob`.
    """
    draws = fit.sample_batched(n, theta=theta, seed=seed)
    flat = draws.reshape(-1, *draws.shape[2:])
    repeated = theta.unsqueeze(0).expand(n, *theta.shape).reshape(-1, theta.shape[-1])
    if fit.summary is None:
        log_prob = fit.log_prob(repeated, flat)
    else:  # draws are summaries already
        with torch.no_grad():
            log_prob = _of_summaries(fit.estimator).log_prob(flat, repeated.to(flat))
    return draws, log_prob.detach().cpu().double().reshape(n, -1)


class _AsItIs(Transform):
    """For values that are in the network's units."""

    def __init__(self, location: Tensor) -> None:
        super().__init__()
        self.register_buffer("location", location, persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        """The value."""
        return value

    def inverse(self, z: Tensor) -> Tensor:
        """The value."""
        return z

    def log_det(self, value: Tensor) -> Tensor:
        """Zero, `(n,)`, float64."""
        return torch.zeros(value.shape[0], dtype=torch.float64, device=value.device)


def _of_summaries(estimator: Estimator) -> Estimator:
    """The same density, of summaries; weights are shared."""
    twin = copy.copy(estimator)
    twin._modules = {  # noqa: SLF001
        **estimator._modules,
        "value_transform": _AsItIs(estimator.value_transform.location),
    }
    return twin
