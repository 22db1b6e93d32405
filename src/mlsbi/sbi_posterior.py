"""A fit as an `sbi` `NeuralPosterior`: samplers, MAP and the diagnostics of sbi on top of a fit.

A posterior fit becomes a `DirectPosterior`; a likelihood fit with i.i.d. observations `x_1..x_m`
becomes an `MCMCPosterior` (or one of sbi's other samplers) of the potential

    log p(theta) + sum_i log q(x_i | theta).

Randomness follows sbi: these posteriors take no seed, and `torch.manual_seed` (and
`numpy.random.seed` for slice sampling) governs what they draw. Building one draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from sbi.inference.posteriors import (
    DirectPosterior,
    ImportanceSamplingPosterior,
    ImportanceSamplingPosteriorParameters,
    MCMCPosterior,
    MCMCPosteriorParameters,
    RejectionPosterior,
    RejectionPosteriorParameters,
    VIPosterior,
    VIPosteriorParameters,
)
from sbi.inference.potentials import likelihood_estimator_based_potential
from sbi.neural_nets.estimators import ConditionalDensityEstimator
from torch import Tensor, nn
from torch.distributions import Distribution

from mlsbi._checks import check_option
from mlsbi._observation import as_observations
from mlsbi._random import isolated_rng

if TYPE_CHECKING:
    from sbi.inference.posteriors.base_posterior import NeuralPosterior

__all__ = ["FitLike", "PriorLike", "direct_posterior", "likelihood_posterior"]

_PARAMETERS = {
    "mcmc": MCMCPosteriorParameters,
    "rejection": RejectionPosteriorParameters,
    "importance": ImportanceSamplingPosteriorParameters,
    "vi": VIPosteriorParameters,
}
_MOST_AT_ONCE = 100_000  # draws, for all observations together


class PriorLike(Protocol):
    """What is used of a fit's prior."""

    @property
    def distribution(self) -> Distribution:
        """The prior as a torch distribution over vectors."""


@runtime_checkable
class FitLike(Protocol):
    """What is used of a fit."""

    @property
    def prior(self) -> PriorLike:
        """The prior of theta."""

    @property
    def theta_dim(self) -> int:
        """Number of parameters d."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        """Log density, shape `(n,)`, of rows `theta (n, d)` and `x (n, *event)` or one `x`."""

    @property
    def sample_batched(self) -> Callable[..., Tensor]:
        """Draws, n at each row of `x=` (posterior) or `theta=` (likelihood), with `seed=`."""


def direct_posterior(fit: FitLike, x_o: Any) -> DirectPosterior:
    """The posterior given one observation, as sbi's `DirectPosterior`.

    Its `log_prob` equals `fit.log_prob`: a fit is normalised inside the prior's support, so that
    sbi's leakage correction is one and is not estimated by sampling.

    Args:
        fit: A posterior fit.
        x_o: The observation, shape `(*event)` or `(1, *event)`; `posterior.set_default_x` changes
            it, and the methods take other observations as `x=`.

    Returns:
        A `DirectPosterior` with default observation `x_o`.

    Raises:
        TypeError: If `fit` is no fit, or `x_o` is not array-like.
        ValueError: If `x_o` has another shape than one observation, or is not finite.
    """
    _check_fit(fit)
    observations = as_observations(x_o, tuple(fit.event_shape))
    if observations.shape[0] != 1:
        raise ValueError(
            f"x_o must be one observation of shape {tuple(fit.event_shape)}; got "
            f"{observations.shape[0]} of them. Use sample_batched(sample_shape, x=...) of the "
            f"posterior of one for a posterior each, or a likelihood fit for i.i.d. observations."
        )
    with isolated_rng(0):  # sbi tests its transform of the prior on draws
        posterior = _NormalisedPosterior(_PosteriorEstimator(fit), fit.prior.distribution)
    posterior.set_default_x(observations)
    return posterior


def likelihood_posterior(
    fit: FitLike, x_o: Any, *, sample_with: str = "mcmc", **options: Any
) -> NeuralPosterior:
    """The posterior given i.i.d. observations under a likelihood fit, sampled by sbi.

    Args:
        fit: A likelihood fit.
        x_o: Observations, shape `(m, *event)`, independent given theta; or one, `(*event)`.
        sample_with: "mcmc" (by default vectorised slice sampling), "rejection", "importance"
            (with resampling), or "vi" (call `.train()` on the result before sampling).
        **options: The sampler's own, by name: the fields of sbi's `MCMCPosteriorParameters`,
            `RejectionPosteriorParameters`, `ImportanceSamplingPosteriorParameters` or
            `VIPosteriorParameters`, such as `num_chains=10, warmup_steps=100, thin=2`.

    Returns:
        An sbi posterior with default observation `x_o`. `potential(theta)` is its unnormalised
        log density; `log_prob` of the MCMC and rejection posteriors is the same with a warning.

    Raises:
        TypeError: If `fit` is no fit, `x_o` is not array-like, or an option is unknown.
        ValueError: If `x_o` has a wrong shape or is not finite, or an option's value is wrong.
    """
    _check_fit(fit)
    observations = as_observations(x_o, tuple(fit.event_shape))
    check_option(sample_with, name="sample_with", allowed=tuple(_PARAMETERS))
    chosen = _sampler_options(sample_with, options)
    prior = fit.prior.distribution
    with isolated_rng(0):  # sbi tests its transform of the prior on draws
        potential, transform = likelihood_estimator_based_potential(
            _LikelihoodEstimator(fit), prior, observations
        )
        if chosen.get("theta_transform") is None:
            chosen["theta_transform"] = transform
        if sample_with == "vi":
            posterior: NeuralPosterior = VIPosterior(potential, prior=prior, **chosen)
        else:
            posterior = _SAMPLERS[sample_with](potential, proposal=prior, **chosen)
    if not hasattr(posterior, "prior"):
        posterior.prior = prior  # sbi's ActiveSubspace asks every posterior for it
    return posterior.set_default_x(observations)


class _NormalisedPosterior(DirectPosterior):
    """A `DirectPosterior` whose estimator has no mass outside the prior's support."""

    def leakage_correction(self, x: Tensor, **_: Any) -> Tensor:
        """The mass inside the support: one, with no sampling to find it."""
        return torch.ones(1, device=x.device)

    def sample_batched(
        self, sample_shape: Any, x: Tensor, max_sampling_batch_size: int = 10_000, **options: Any
    ) -> Tensor:
        """As sbi's, in batches of the size that it would cap them to, with a warning."""
        most = max(1, _MOST_AT_ONCE // max(1, len(x)))
        size = min(max_sampling_batch_size or 10_000, most)
        return super().sample_batched(sample_shape, x, max_sampling_batch_size=size, **options)


class _FitEstimator(ConditionalDensityEstimator):
    """What sbi needs of a density estimator, answered by a fit."""

    def __init__(self, fit: FitLike, input_shape: tuple[int, ...], given: tuple[int, ...]) -> None:
        super().__init__(nn.Identity(), torch.Size(input_shape), torch.Size(given))
        self._fit = fit
        # sbi reads the device off the first parameter; the fit keeps its weights to itself
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    def log_prob(self, input: Tensor, condition: Tensor, **_: Any) -> Tensor:
        """Log density of each pair, shape `(samples, batch)`; leading axes are broadcast."""
        lead = torch.broadcast_shapes(
            input.shape[: input.ndim - len(self.input_shape)],
            condition.shape[: condition.ndim - len(self.condition_shape)],
        )
        values = input.expand(*lead, *self.input_shape).reshape(-1, *self.input_shape)
        given = condition.expand(*lead, *self.condition_shape).reshape(-1, *self.condition_shape)
        log_probs = self._pairs(values.float(), given.float())
        return log_probs.to(input.device).reshape(lead if len(lead) > 1 else (1, *lead))

    def loss(self, input: Tensor, condition: Tensor, **_: Any) -> Tensor:
        """Negative log density, shape `(batch,)`."""
        return -self.log_prob(input.unsqueeze(0), condition)[0]

    def sample(self, sample_shape: torch.Size, condition: Tensor, **_: Any) -> Tensor:
        """Draws for each condition, shape `(*sample_shape, batch, *input_shape)`."""
        shape = torch.Size(sample_shape)
        given = condition.reshape(-1, *self.condition_shape)
        seed = int(torch.randint(2**62, ()))  # sbi's convention: torch's global generator
        draws = self._draw(shape.numel(), given, seed=seed).to(condition.device)
        # the event's own shape: a fit that summarises x draws summaries
        return draws.reshape(*shape, len(given), *draws.shape[2:])

    def _pairs(self, values: Tensor, given: Tensor) -> Tensor:
        raise NotImplementedError

    def _draw(self, n: int, given: Tensor, *, seed: int) -> Tensor:
        raise NotImplementedError


class _PosteriorEstimator(_FitEstimator):
    """The density of theta (input) given x (condition)."""

    def __init__(self, fit: FitLike) -> None:
        super().__init__(fit, (fit.theta_dim,), tuple(fit.event_shape))

    def _pairs(self, values: Tensor, given: Tensor) -> Tensor:
        return self._fit.log_prob(values, given)

    def _draw(self, n: int, given: Tensor, *, seed: int) -> Tensor:
        return self._fit.sample_batched(n, x=given, seed=seed)


class _LikelihoodEstimator(_FitEstimator):
    """The density of x (input) given theta (condition)."""

    def __init__(self, fit: FitLike) -> None:
        super().__init__(fit, tuple(fit.event_shape), (fit.theta_dim,))

    def _pairs(self, values: Tensor, given: Tensor) -> Tensor:
        return self._fit.log_prob(given, values)

    def _draw(self, n: int, given: Tensor, *, seed: int) -> Tensor:
        return self._fit.sample_batched(n, theta=given, seed=seed)


_SAMPLERS: dict[str, Any] = {
    "mcmc": MCMCPosterior,
    "rejection": RejectionPosterior,
    "importance": ImportanceSamplingPosterior,
}


def _check_fit(fit: object) -> None:
    if not isinstance(fit, FitLike):
        raise TypeError(
            f"fit must have prior, theta_dim, event_shape, log_prob and sample_batched; got "
            f"{type(fit).__name__}. Pass what fit_posterior or fit_likelihood returns."
        )


def _sampler_options(sample_with: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All the sampler's options, checked by name and by sbi's own rules for their values."""
    parameters = _PARAMETERS[sample_with]
    names = [field.name for field in fields(parameters)]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise TypeError(
            f"{', '.join(unknown)} is no option of sample_with={sample_with!r}. "
            f"Choose from {', '.join(names)}."
        )
    try:
        checked = parameters(**options)
    except ValueError as error:
        raise ValueError(
            f"an option of sample_with={sample_with!r} has a wrong value: {error} "
            f"Got {dict(options)}; see sbi's {parameters.__name__}."
        ) from error
    return {name: getattr(checked, name) for name in names}
