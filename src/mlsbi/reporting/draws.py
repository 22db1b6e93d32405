"""Posterior draws at the observation: this fit's, and what level 0 alone would have said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor
from mlsbi._compare import level_alone
from mlsbi._random import derive_seed, make_generator
from mlsbi.data import MultilevelData
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.reporting.subject import LOW_FIT, THIS_FIT, Subject
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit
from mlsbi.strategies import SingleLevel

__all__ = ["draws_at", "gather_draws", "low_level_fit"]

_PRIOR_DRAWS = (20_000, 200_000)
_ENOUGH = 1_000.0  # independent draws that the weighted ones are worth
_AT_ONCE = 200_000  # density evaluations


def gather_draws(
    subject: Subject,
    *,
    num_draws: int,
    low_fit: Fit | None,
    others: Mapping[str, Any] | None,
    progress: bool,
) -> dict[str, Tensor]:
    """Draws at the observation by name, this fit's first; empty without an observation.

    Args:
        subject: What the report is about.
        num_draws: Of each fit.
        low_fit: A fit of level 0 alone; None: none is shown.
        others: Name -> draws of other posteriors at the observation, `(n, d)`.
        progress: Whether sbi's sampler, where it is needed, shows a bar.
    """
    if subject.x_o is None:
        return {}
    found = {}
    for name, fit in ((THIS_FIT, subject.fit), (LOW_FIT, low_fit)):
        if fit is not None:
            seed = derive_seed(subject.seed, "report", name)
            found[name] = draws_at(fit, subject.x_o, num_draws, seed=seed, progress=progress)
    for name, draws in (others or {}).items():
        shape = (None, subject.fit.theta_dim)
        found[str(name)] = as_tensor(draws, name=f"others[{name!r}]", shape=shape).cpu()
    return found


def low_level_fit(data: MultilevelData, like: Fit, *, seed: int, progress: bool) -> Fit | None:
    """A quick fit of level 0's own runs; None where its outputs are not those of level L."""
    if data.num_levels == 1 or data.event_shape(0) != like.event_shape:
        return None
    fit = fit_posterior if isinstance(like, PosteriorFit) else fit_likelihood
    return fit(level_alone(data, 0), strategy=SingleLevel(), seed=seed, progress=progress)


def draws_at(fit: Fit, x_o: Tensor, n: int, *, seed: int, progress: bool = False) -> Tensor:
    """N posterior draws, `(n, d)`, on the CPU.

    A likelihood fit's come from draws of the prior, resampled by their likelihood; from sbi's MCMC
    where these are worth fewer than a few hundred independent ones.
    """
    if isinstance(fit, LikelihoodFit):
        return _from_likelihood(fit, x_o, n, seed=seed, progress=progress)
    if not isinstance(fit, PosteriorFit):
        raise TypeError(f"fit must be a posterior or likelihood fit; got {type(fit).__name__}.")
    return fit.sample(n, x=x_o, seed=seed).cpu()


def _from_likelihood(fit: LikelihoodFit, x_o: Tensor, n: int, *, seed: int, progress: bool) -> Any:
    observations = x_o.reshape(-1, *fit.event_shape)
    for size in _PRIOR_DRAWS:
        generator = make_generator(seed, "prior")
        theta = fit.prior.sample(size, generator)
        weights = torch.softmax(_log_likelihood(fit, theta, observations), 0)
        if 1 / float((weights**2).sum()) >= _ENOUGH:
            return theta[torch.multinomial(weights, n, replacement=True, generator=generator)]
    from mlsbi._random import isolated_rng

    posterior = fit.posterior(x_o)
    with isolated_rng(derive_seed(seed, "mcmc")):
        return posterior.sample((n,), show_progress_bars=progress).cpu()


def _log_likelihood(fit: LikelihoodFit, theta: Tensor, observations: Tensor) -> Tensor:
    """Sum over observations, float64, `(n,)`."""
    total = torch.zeros(len(theta), dtype=torch.float64)
    for x in observations:
        parts = [fit.log_prob(rows, x).double().cpu() for rows in theta.split(_AT_ONCE)]
        total += torch.cat(parts)
    return total
