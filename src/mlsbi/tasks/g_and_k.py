"""The g-and-k distribution: two levels that differ in the normal quantile function.

x = theta1 + theta2 (1 + 0.8 tanh(theta3 z / 2)) (1 + z^2)^(log theta4) z, z = z_l(u), u ~ U(0, 1).
The fine level has z = Phi^-1(u), the coarse level the first two terms of a series for it. Task of
Hikida et al. (2025, arXiv:2506.06087); the distribution is in Rayner and MacGillivray (2002).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from sbi.utils import BoxUniform
from torch import Tensor

from mlsbi._checks import as_tensor, check_option
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.metrics import kld_grid, kld_on_grid
from mlsbi.tasks._g_and_k_exact import CUBIC, high_log_density, low_log_density, shape
from mlsbi.tasks.base import Task, posterior_score, simulated_source, summary

__all__ = ["g_and_k", "g_and_k_log_density"]

Low = Literal["released", "maclaurin"]

_NAMES = ("location", "scale", "skew", "exp_k")
_LOW_CONSTANT = {"released": math.pi / 2, "maclaurin": math.sqrt(math.pi) / 2}
_COSTS = (1.0, 10.0)
_NUM_OBSERVATIONS = 1000
_THETAS_AT_ONCE = 10


def g_and_k(
    form: Literal["likelihood", "posterior"] = "likelihood", *, low: Low = "released"
) -> Task:
    """The g-and-k task.

    The costs (1, 10) are nominal: the two levels take about the same time, and stand for a pair in
    which the coarse one is ten times cheaper.

    Args:
        form: `"likelihood"`: x is one draw, event shape `(1,)`; scored by the divergence of
            the exact from the learned density at 200 prior draws. `"posterior"`: x holds four
            robust summaries of 1000 draws; scored by NLPD and coverage on 500 pairs.
        low: The coarse level's constant: `"released"` is the paper's released code (pi/2),
            `"maclaurin"` the series of the inverse error function (sqrt(pi)/2), a better level.

    Returns:
        The task. Its `reference` is exact for the likelihood form, `None` for the posterior form.

    Raises:
        TypeError: If an option is not a string.
        ValueError: If it is unknown.
    """
    check_option(form, name="form", allowed=("likelihood", "posterior"))
    check_option(low, name="low", allowed=tuple(_LOW_CONSTANT))
    if form == "likelihood":
        hierarchy = _hierarchy(low, num_observations=1, reduce=_single)
        return Task(
            name=f"g_and_k-likelihood-{low}",
            kind="likelihood",
            parameter_names=_NAMES,
            budgets=((10_000, 50), (10_000, 100), (10_000, 300)),
            hierarchy=hierarchy,
            reference_likelihood=g_and_k_log_density,
            source=simulated_source(hierarchy, num_test=200),
            scorer=_likelihood_score,
        )
    hierarchy = _hierarchy(low, num_observations=_NUM_OBSERVATIONS, reduce=summaries)
    return Task(
        name=f"g_and_k-posterior-{low}",
        kind="posterior",
        parameter_names=_NAMES,
        budgets=((1000, 10), (1000, 50), (1000, 100)),
        hierarchy=hierarchy,
        source=simulated_source(hierarchy, num_test=500),
        scorer=posterior_score,
    )


def g_and_k_log_density(
    theta: Any, x: Any, *, level: Literal["high", "low"] = "high", low: Low = "released"
) -> Tensor:
    """Exact log p(x | theta) of a single draw, for either level.

    Args:
        theta: Parameters, shape `(n, 4)` or `(1, 4)`.
        x: Draws, shape `(n, 1)` or `(1, 1)`.
        level: `"high"` for the exact normal quantile, `"low"` for the coarse level.
        low: The coarse level's constant, as in `g_and_k`.

    Returns:
        Log densities, shape `(n,)`, float64; `-inf` outside the coarse level's bounded range.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If shapes do not agree, a value is not finite, or an option is unknown.
    """
    check_option(level, name="level", allowed=("high", "low"))
    check_option(low, name="low", allowed=tuple(_LOW_CONSTANT))
    params = as_tensor(theta, name="theta", shape=(None, 4), dtype=torch.float64)
    draws = as_tensor(x, name="x", shape=(None, 1), dtype=torch.float64)
    if len(params) != len(draws) and 1 not in (len(params), len(draws)):
        raise ValueError(
            f"x must have shape ({len(params)}, 1) to match theta, or one row; "
            f"got {tuple(draws.shape)}."
        )
    if level == "low":
        return low_log_density(params, draws[:, 0], c=_LOW_CONSTANT[low])
    return high_log_density(params, draws[:, 0])


def summaries(x: Tensor) -> Tensor:
    """Robust location, scale, skewness and kurtosis from octiles; x `(n, m)`, result `(n, 4)`."""
    octiles = torch.quantile(x, torch.arange(1, 8, dtype=x.dtype) / 8, dim=1)
    e1, e2, e3, e4, e5, e6, e7 = octiles.unbind(0)
    spread = (e6 - e2).clamp_min(torch.finfo(x.dtype).tiny)
    skew = (e6 + e2 - 2 * e4) / spread
    kurtosis = (e7 - e5 + e3 - e1) / spread
    return torch.stack([e4, e6 - e2, skew, kurtosis], dim=1)


def _hierarchy(low: Low, *, num_observations: int, reduce: Callable[[Tensor], Tensor]) -> Hierarchy:
    quantiles: dict[str, Callable[[Tensor], Tensor]] = {
        "low": partial(_low_quantile, c=_LOW_CONSTANT[low]),
        "high": _high_quantile,
    }
    levels = [
        Level(partial(_simulate, quantile=quantile, reduce=reduce), cost=cost, name=name)
        for cost, (name, quantile) in zip(_COSTS, quantiles.items(), strict=True)
    ]
    prior = BoxUniform(
        torch.tensor([0.0, 0.0, 0.0, math.exp(0.5)]), torch.tensor([3.0, 3.0, 3.0, 3.0])
    )
    return Hierarchy(prior, levels, noise=partial(_noise, num_observations=num_observations))


def _single(x: Tensor) -> Tensor:
    """The observation itself, shape `(n, 1)`."""
    return x


def _noise(n: int, generator: torch.Generator, *, num_observations: int) -> Tensor:
    """Uniforms, shape `(n, m)`, kept off 0 and 1, where the quantile is infinite."""
    u = torch.rand(n, num_observations, generator=generator, dtype=torch.float64)
    return u.clamp(2.0**-53, 1 - 2.0**-53)


def _simulate(
    theta: Tensor,
    u: Tensor,
    *,
    quantile: Callable[[Tensor], Tensor],
    reduce: Callable[[Tensor], Tensor],
) -> Tensor:
    location, scale, skew, k = theta.double()[:, :, None].unbind(1)
    x = location + scale * shape(quantile(u), skew, k.log())
    return reduce(x).float()


def _high_quantile(u: Tensor) -> Tensor:
    z: Tensor = torch.special.ndtri(u)
    return z


def _low_quantile(u: Tensor, *, c: float) -> Tensor:
    v = 2 * u - 1
    return math.sqrt(2) * c * (v + CUBIC * v**3)


def _likelihood_score(fit: Any, theta: Tensor, x: Tensor, seed: int) -> dict[str, float]:
    """Forward divergence of exact from learned density at each theta; x and seed are not needed."""
    del x, seed
    grid = kld_grid()[:, None]
    divergences = []
    for block in theta.split(_THETAS_AT_ONCE):
        rows = block.repeat_interleave(len(grid), 0)
        points = grid.repeat(len(block), 1)
        exact = g_and_k_log_density(rows, points)
        learned = fit.log_prob(rows, points.float())
        shape_of_block = (len(block), len(grid))
        divergences.append(kld_on_grid(exact.view(shape_of_block), learned.reshape(shape_of_block)))
    return summary(torch.cat(divergences), name="kld")
