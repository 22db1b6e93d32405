"""The Ornstein-Uhlenbeck process: two levels, a path and its stationary law; exact references.

Fine level: Euler-Maruyama, x_{i+1} = x_i + gamma (mu - x_i) dt + sigma sqrt(dt) e_i, 100 steps of
dt = 0.1. Coarse level: independent draws of the continuous process's stationary law with the same
noise, x_i = mu + sigma / sqrt(2 gamma) e_i. The data are five values of the path. Task of Hikida et
al. (2025, arXiv:2506.06087), who compare with Krouglova et al. (2025, arXiv:2502.08416).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from sbi.utils import BoxUniform
from torch import Tensor

from mlsbi._checks import as_tensor, check_count
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.tasks._ornstein_uhlenbeck_exact import DT, log_evidence, log_likelihood
from mlsbi.tasks.base import LogDensity, Task, posterior_score, simulated_source

__all__ = ["ornstein_uhlenbeck"]

_NAMES = ("gamma", "mu", "sigma", "x_0")
_BOX = {
    3: ((0.1, 0.1, 0.1), (1.0, 3.0, 0.6)),
    4: ((0.5, 0.1, 0.1, 0.0), (1.5, 3.0, 0.6, 4.0)),
}
_START = 2.0
_NUM_STEPS = 100
_RECORDED = (0, 3, 9, 31, 99)
_COSTS = (1.0, 10.0)


def ornstein_uhlenbeck(parameters: Literal[3, 4] = 3) -> Task:
    """The Ornstein-Uhlenbeck task: posterior of (gamma, mu, sigma), or of x_0 too.

    Both exact densities are known: `reference_likelihood` in closed form, `reference_posterior`
    with its normalisation by quadrature (relative error below 1e-6). The costs (1, 10) are nominal:
    the process stands for a fine simulator ten times as expensive as its coarse one.

    Args:
        parameters: 3: gamma in [0.1, 1], start at x_0 = 2. 4: gamma in [0.5, 1.5], x_0 in [0, 4].

    Returns:
        The task; x has event shape `(5,)`, the path at steps 1, 4, 10, 32 and 100.

    Raises:
        TypeError: If `parameters` is not an integer.
        ValueError: If it is neither 3 nor 4.
    """
    if check_count(parameters, name="parameters") not in _BOX:
        raise ValueError(f"parameters must be 3 or 4; got {parameters}. Pass parameters=3.")
    low, high = (torch.tensor(corner) for corner in _BOX[parameters])
    levels = [
        Level(simulator, cost=cost, name=name)
        for simulator, cost, name in zip((_low, _high), _COSTS, ("stationary", "path"), strict=True)
    ]
    hierarchy = Hierarchy(BoxUniform(low, high), levels, noise=_noise)
    likelihood = partial(_reference_likelihood, dim=int(parameters))
    return Task(
        name=f"ornstein_uhlenbeck-{parameters}",
        kind="posterior",
        parameter_names=_NAMES[:parameters],
        budgets=((1000, 10), (1000, 50), (1000, 100)),
        hierarchy=hierarchy,
        reference_likelihood=likelihood,
        reference_posterior=_reference_posterior(likelihood, low.double(), high.double()),
        source=simulated_source(hierarchy, num_test=500),
        scorer=posterior_score,
    )


def _noise(n: int, generator: torch.Generator) -> Tensor:
    """Standard normal steps e, shape `(n, 100)`."""
    return torch.randn(n, _NUM_STEPS, generator=generator, dtype=torch.float64)


def _low(theta: Tensor, e: Tensor) -> Tensor:
    gamma, mu, sigma = theta.double()[:, :3].split(1, dim=1)
    return (mu + sigma / (2 * gamma).sqrt() * e[:, list(_RECORDED)]).float()


def _high(theta: Tensor, e: Tensor) -> Tensor:
    params = theta.double()
    gamma, mu, sigma = params[:, :3].unbind(1)
    x = params[:, 3] if params.shape[1] == 4 else torch.full_like(mu, _START)
    recorded = []
    for i, step in enumerate(e.unbind(1)):
        x = x + gamma * (mu - x) * DT + sigma * math.sqrt(DT) * step
        if i in _RECORDED:
            recorded.append(x)
    return torch.stack(recorded, dim=1).float()


def _reference_likelihood(theta: Any, x: Any, *, dim: int) -> Tensor:
    """Exact log p(x | theta), shape `(n,)`; one row of either argument stands for all rows."""
    params, values = _matched(theta, x, dim=dim)
    rows = max(len(params), len(values))
    return log_likelihood(params.expand(rows, -1), values.expand(rows, -1), x0=_START)


def _reference_posterior(
    likelihood: Callable[[Any, Any], Tensor], low: Tensor, high: Tensor
) -> LogDensity:
    def reference(theta: Any, x: Any) -> Tensor:
        """Exact log p(theta | x), shape `(n,)`, float64; -inf outside the prior's box."""
        params, values = _matched(theta, x, dim=len(low))
        evidence = log_evidence(values, low=low, high=high, x0=_START)
        inside = ((params >= low) & (params <= high)).all(1)
        prior = torch.where(inside, -(high - low).log().sum(), -math.inf)
        return prior + likelihood(params.clamp(low, high), values) - evidence

    return reference


def _matched(theta: Any, x: Any, *, dim: int) -> tuple[Tensor, Tensor]:
    params = as_tensor(theta, name="theta", shape=(None, dim), dtype=torch.float64)
    values = as_tensor(x, name="x", shape=(None, len(_RECORDED)), dtype=torch.float64)
    if len(params) != len(values) and 1 not in (len(params), len(values)):
        raise ValueError(
            f"x must have shape ({len(params)}, {len(_RECORDED)}) to match theta, or one row; "
            f"got {tuple(values.shape)}."
        )
    return params, values
