"""Posterior draws at the observation: this fit's, and what level 0 alone would have said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor
from mlsbi._compare import level_alone
from mlsbi._random import derive_seed
from mlsbi.checking.importance import weighted_posterior
from mlsbi.data import MultilevelData
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.prior import Prior
from mlsbi.reporting.subject import LOW_FIT, THIS_FIT, Subject
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit
from mlsbi.strategies import SingleLevel

__all__ = ["draws_at", "gather_draws", "low_level_fit"]


def gather_draws(
    subject: Subject, *, num_draws: int, low_fit: Fit | None, others: Mapping[str, Any] | None
) -> dict[str, Tensor]:
    """Draws at the observation by name, this fit's first; empty without an observation.

    Args:
        subject: What the report is about.
        num_draws: Of each fit.
        low_fit: A fit of level 0 alone; None: none is shown.
        others: Name -> draws of other posteriors at the observation, `(n, d)`.

    Raises:
        TypeError: A set of `others` is not an array.
        ValueError: It has another shape, or is not finite.
    """
    if subject.x_o is None:
        return {}
    found = {}
    for name, fit in ((THIS_FIT, subject.fit), (LOW_FIT, low_fit)):
        if fit is not None:
            seed = derive_seed(subject.seed, "report", name)
            found[name] = draws_at(fit, subject.x_o, num_draws, seed=seed)
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


def draws_at(fit: Fit, x_o: Tensor, n: int, *, seed: int) -> Tensor:
    """N posterior draws, `(n, d)`, on the CPU; a likelihood fit's by importance sampling."""
    if isinstance(fit, LikelihoodFit):
        together = _Together(fit)
        observations = x_o.reshape(1, -1, *fit.event_shape)
        return weighted_posterior(together, observations, n, seed=seed).theta[:, 0].float()
    if not isinstance(fit, PosteriorFit):
        raise TypeError(f"fit must be a posterior or likelihood fit; got {type(fit).__name__}.")
    return fit.sample(n, x=x_o, seed=seed).cpu()


@dataclass(frozen=True, eq=False)
class _Together:
    """A likelihood fit of m independent observations as one, `(m, *event)`."""

    fit: LikelihoodFit

    @property
    def prior(self) -> Prior:
        return self.fit.prior

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        """Sum over the observations of each row of x, `(n, m, *event)`."""
        total = torch.zeros(len(theta), dtype=torch.float64)
        for each in x.unbind(1):
            total += self.fit.log_prob(theta, each).detach().cpu().double()
        return total
