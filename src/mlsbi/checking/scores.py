"""What a fit says of runs of level L that it has not seen, run by run.

Every check is a summary of these scores: a score is of one run, so that runs that different fits
of a cross-fitting held out can be put together, and so that intervals come from the spread over
runs. The metrics are those of `mlsbi.metrics`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed
from mlsbi._random import derive_seed, make_generator
from mlsbi.checking.draws import (
    data_draws,
    event_shape_of,
    is_likelihood,
    posterior_draws,
    prior_variance,
)
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.scaled import scaled_scores
from mlsbi.metrics.coverage import hpd_ranks
from mlsbi.metrics.marginals import marginal_hpd_ranks
from mlsbi.metrics.moments import contraction, z_scores
from mlsbi.metrics.sbc import sbc_ranks
from mlsbi.metrics.tarp import tarp_ranks

__all__ = ["RunScores", "score_runs"]

_DRAWS_AT_ONCE = 50_000


def score_runs(fit: Any, theta: Any, x: Any, *, num_draws: int = 500, seed: int) -> RunScores:
    """Score runs of level L that the fit has not seen.

    Runs are taken in blocks of a fixed size: memory does not grow with their number, and the scores
    of a whole block do not depend on the runs that follow. Of a likelihood fit, the posterior is
    that of one x, under the fit's prior; `mlsbi.checking.draws` says how it is drawn from.

    Args:
        fit: A posterior or a likelihood fit.
        theta: Parameters of the runs, shape `(n, d)`.
        x: Their outputs at level L, shape `(n, *event)`.
        num_draws: Posterior draws a run (and draws of x, of a likelihood fit); at least 20.
        seed: Seed of the draws; the same seed gives the same scores.

    Returns:
        The scores.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: Shapes do not agree with each other or with the fit, a value is not finite, or
            the fit's densities are not numbers.
    """
    true, observed = _checked(fit, theta, x)
    num_draws = check_count(num_draws, name="num_draws", minimum=20)
    seed = check_seed(seed)
    variance = prior_variance(fit.prior)
    rows = max(1, _DRAWS_AT_ONCE // num_draws)
    blocks = zip(true.split(rows), observed.split(rows), strict=True)
    parts = [
        _block(fit, *block, variance, num_draws=num_draws, seed=derive_seed(seed, "scores", i))
        for i, block in enumerate(blocks)
    ]
    return RunScores.concatenate(parts)


def _checked(fit: Any, theta: Any, x: Any) -> tuple[Tensor, Tensor]:
    needed = ("prior", "log_prob", "sample_batched")
    if not all(hasattr(fit, name) for name in needed):
        raise TypeError(
            f"fit must have {', '.join(needed)}; got {type(fit).__name__}. Pass what fit_posterior "
            "or fit_likelihood returns."
        )
    true = as_tensor(
        theta,
        name="theta",
        shape=(None, fit.prior.dim),
        remedy="Pass a row for each run, of as many parameters as the fit's prior has.",
    )
    observed = as_tensor(x, name="x")
    event = event_shape_of(fit, observed)
    if len(true) == 0 or tuple(observed.shape) != (len(true), *event):
        raise ValueError(
            f"x must have shape {(len(true), *event)}, a run of level L for each row of theta (at "
            f"least one); got {tuple(observed.shape)}. Pass theta and x of the same runs."
        )
    return true, observed


def _block(
    fit: Any,
    theta: Tensor,
    x: Tensor,
    variance: Tensor,
    *,
    num_draws: int,
    seed: int,
) -> RunScores:
    """Scores of a few runs."""
    drawn = posterior_draws(fit, x, num_draws, seed=derive_seed(seed, "posterior"))
    draws = drawn.theta
    log_prob = fit.log_prob(theta, x).detach().cpu().double()
    if is_likelihood(fit):
        posterior_log_prob = drawn.posterior_log_prob(fit.prior, theta, log_prob)
        of_data = data_draws(fit, theta, num_draws, seed=derive_seed(seed, "data"))
        predictive = hpd_ranks(log_prob, of_data[1], seed=derive_seed(seed, "predictive"))
        scaled = scaled_scores(fit, x, theta, *of_data, seed=seed)
    else:
        posterior_log_prob, predictive = log_prob, None
        scaled = scaled_scores(fit, theta, x, draws, drawn.log_prob, seed=seed)
    low, high = fit.prior.low, fit.prior.high
    sd = torch.cat([theta.double().cpu()[None], draws]).std(0)
    references = fit.prior.sample(len(theta), make_generator(seed, "references"))
    units = (sd * variance.sqrt()).sqrt().clamp(min=1e-300)
    return RunScores(
        log_prob=log_prob,
        posterior_log_prob=posterior_log_prob,
        rank=sbc_ranks(theta, draws, seed=seed),
        hpd=hpd_ranks(posterior_log_prob, drawn.log_prob, seed=derive_seed(seed, "hpd")),
        marginal_hpd=marginal_hpd_ranks(
            theta, draws, low=low, high=high, seed=derive_seed(seed, "marginal")
        ),
        tarp=tarp_ranks(theta, draws, references, scale=units, seed=seed),
        z=z_scores(theta, draws),
        contraction=contraction(draws, variance),
        predictive_hpd=predictive,
        effective=drawn.effective,
        scaled_log_prob=scaled and scaled[0],
        scaled_hpd=scaled and scaled[1],
    )
