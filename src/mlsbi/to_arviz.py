"""A fit at one observation as ArviZ data: posterior, predictive, log likelihood, prior.

A posterior fit gives independent draws, dealt to chains so that ArviZ's diagnostics find them. A
likelihood fit is sampled by sbi's MCMC (vectorised slice sampling; Neal 2003), whose chains are
kept as they are: there `r_hat` and effective sample sizes mean what they say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlsbi._arviz_input import (
    chains_and_draws,
    layout,
    parameter_names,
    simulations,
)
from mlsbi._checks import check_seed, check_type
from mlsbi._data_digest import runs_digest
from mlsbi._inference_data import inference_data
from mlsbi._observation import as_observation, as_observations
from mlsbi._random import derive_seed, isolated_rng, make_generator
from mlsbi.data import MultilevelData
from mlsbi.results import Fit, LikelihoodFit, PosteriorFit

__all__ = ["to_arviz"]

_ROWS_AT_ONCE = 20_000
_WARMUP = 100  # steps of each chain that are left out, beside the 50 in which sbi tunes its widths

Groups = dict[str, dict[str, Any]]


def to_arviz(
    fit: Fit,
    x_o: Any,
    *,
    num_samples: int = 2000,
    num_chains: int = 4,
    data: MultilevelData | None = None,
    predictive: Any = None,
    labels: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Any:
    """Everything that a fit says of one observation, as ArviZ data.

    Groups: `posterior` and `prior`, a variable a parameter; `sample_stats` with `lp`, the log
    density of each draw (of likelihood fits that of prior times likelihood, not normalised);
    `observed_data`; `posterior_predictive` of likelihood fits, or from `predictive`; and, of
    likelihood fits, `log_likelihood`, for `arviz.loo` over i.i.d. observations. The variable is
    `x`, with a dimension `output` where x is a vector; of likelihood fits with a dimension
    `observation` before it. A likelihood fit of summaries predicts and scores `summary`.

    Args:
        fit: A posterior or a likelihood fit.
        x_o: The observation, shape `(*event,)`; of a likelihood fit also m i.i.d. observations,
            `(m, *event)`.
        num_samples: Posterior draws, all chains together.
        num_chains: Chains; it must divide `num_samples`.
        data: The runs that the fit was made of: their fingerprint is noted in the attributes.
        predictive: Your own simulations at posterior draws, shape `(k, *event)`; of a likelihood
            fit of m observations `(k, m, *event)`. With k = `num_samples`, row i belongs to draw i
            of the chains laid end to end.
        labels: Names of the parameters; by default `theta_1`, `theta_2`, ...
        outputs: Names of the outputs, where x is a vector.
        seed: Of all draws. Those of a posterior fit are `fit.sample(num_samples, x=x_o,
            seed=seed)`.
        progress: Whether sbi's MCMC shows a progress bar.

    Returns:
        An `arviz.InferenceData`; from ArviZ 1.0 on an `xarray.DataTree`.

    Raises:
        ImportError: ArviZ is not installed.
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong shape or a value that is not allowed.
    """
    check_type(fit, Fit, name="fit", remedy="Pass what fit_posterior or fit_likelihood returns.")
    seed, iid = check_seed(seed), isinstance(fit, LikelihoodFit)
    shape = chains_and_draws(num_samples, num_chains)
    names = parameter_names(labels, fit.theta_dim)
    coords, dims = layout(fit.event_shape, outputs, iid=iid)
    attrs = _attributes(fit, data, seed)
    if isinstance(fit, LikelihoodFit):
        theta, groups = _of_likelihood(fit, x_o, shape, seed=seed, progress=progress)
    elif isinstance(fit, PosteriorFit):
        theta, groups = _of_posterior(fit, x_o, shape, seed=seed)
    else:
        raise TypeError(
            f"fit must be a PosteriorFit or LikelihoodFit; got {type(fit).__name__}. Pass what "
            "fit_posterior or fit_likelihood returns."
        )
    observed = groups["observed_data"]["x"].shape
    given = simulations(predictive, observed, shape, iid=iid)
    groups |= {} if given is None else {"posterior_predictive": {"x": given}}
    prior = fit.prior.sample(math.prod(shape), make_generator(seed, "arviz", "prior"))
    parameters = {
        "posterior": _by_name(theta.reshape(*shape, -1), names),
        "prior": _by_name(prior.reshape(1, *prior.shape), names),
    }
    return inference_data(parameters | groups, coords=coords, dims=dims, attrs=attrs)


def _of_posterior(
    fit: PosteriorFit, x_o: Any, shape: tuple[int, int], *, seed: int
) -> tuple[Tensor, Groups]:
    """Draws `(n, d)`, and the groups beside them."""
    remedy = "A posterior fit knows one at a time: pass one row of x."
    x = as_observation(x_o, fit.event_shape, remedy=remedy)
    theta = fit.sample(math.prod(shape), x=x, seed=seed)
    log_prob = fit.log_prob(theta, x)
    return theta, {
        "sample_stats": {"lp": _numpy(log_prob).reshape(shape)},
        "observed_data": {"x": _numpy(x)},
    }


def _of_likelihood(
    fit: LikelihoodFit, x_o: Any, shape: tuple[int, int], *, seed: int, progress: bool
) -> tuple[Tensor, Groups]:
    """Draws `(n, d)`, and the groups beside them."""
    x = as_observations(x_o, fit.event_shape)
    theta = _chains(fit, x, shape, seed=seed, progress=progress)
    log_likelihood = _log_likelihood(fit, theta, x)
    lp = fit.prior.log_prob(theta).double() + log_likelihood.sum(1)
    draws = _replicates(fit, theta, len(x), seed=derive_seed(seed, "arviz", "predictive"))
    variable = "x" if fit.summary is None else "summary"
    observed = {"x": _numpy(x)}
    if fit.summary is not None:
        observed["summary"] = _numpy(fit.summarise(x))
    return theta, {
        "sample_stats": {"lp": _numpy(lp).reshape(shape)},
        "observed_data": observed,
        "log_likelihood": {variable: _numpy(log_likelihood).reshape(*shape, len(x))},
        "posterior_predictive": {variable: _numpy(draws).reshape(*shape, *draws.shape[1:])},
    }


def _chains(
    fit: LikelihoodFit, x: Tensor, shape: tuple[int, int], *, seed: int, progress: bool
) -> Tensor:
    """MCMC draws of all chains end to end, `(n, d)`."""
    posterior = fit.posterior(x, num_chains=shape[0], warmup_steps=_WARMUP, thin=1)
    seed = derive_seed(seed, "arviz", "mcmc")
    with isolated_rng(seed), _isolated_numpy(seed):
        # sbi lays the chains end to end where their number divides that of the draws
        draws: Tensor = posterior.sample((math.prod(shape),), show_progress_bars=progress)
    return draws.reshape(-1, fit.theta_dim).cpu()


@contextmanager
def _isolated_numpy(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, from which sbi's slice sampler draws; restored afterwards."""
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


def _log_likelihood(fit: LikelihoodFit, theta: Tensor, x: Tensor) -> Tensor:
    """Log q(x_j | theta_i), float64, shape `(n, m)`."""
    rows = max(1, _ROWS_AT_ONCE // len(x))
    found = []
    for block in theta.split(rows):
        pairs = block.repeat_interleave(len(x), 0), x.repeat(len(block), *[1] * (x.ndim - 1))
        found.append(fit.log_prob(*pairs).cpu().double().reshape(len(block), len(x)))
    return torch.cat(found)


def _replicates(fit: LikelihoodFit, theta: Tensor, m: int, *, seed: int) -> Tensor:
    """As many x as were observed at each draw, shape `(n, m, *event)`."""
    rows = max(1, _ROWS_AT_ONCE // m)
    found = [
        fit.sample_batched(m, theta=block, seed=derive_seed(seed, i)).cpu()
        for i, block in enumerate(theta.split(rows))
    ]
    return torch.cat(found, dim=1).transpose(0, 1)


def _attributes(fit: Fit, data: MultilevelData | None, seed: int) -> dict[str, Any]:
    """What netCDF can write: text, numbers, and lists of numbers."""
    from mlsbi import __version__

    attrs: dict[str, Any] = {
        "inference_library": "mlsbi",
        "inference_library_version": __version__,
        "kind": "likelihood" if isinstance(fit, LikelihoodFit) else "posterior",
        "strategy": repr(fit.strategy),
        "status": fit.status.name.lower(),
        "runs_per_level": list(fit.n),
        "fit_seed": fit.seed,
        "seed": seed,
    }
    if data is not None:
        check_type(data, MultilevelData, name="data", remedy="Pass the runs of the fit.")
        attrs["data_fingerprint"] = runs_digest(data)
    return attrs


def _numpy(tensor: Tensor) -> Any:
    return tensor.detach().cpu().double().numpy()


def _by_name(theta: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """Each parameter's draws, `(chain, draw)`."""
    return {name: _numpy(theta[..., i]) for i, name in enumerate(names)}
