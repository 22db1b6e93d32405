"""Eight hierarchies made to break a bridge, for the benchmark "never worse than a single level".

Each has a low level that misleads in its own way (`STRESS` names them), or an x that is awkward to
model; the high level is a mildly nonlinear simulator of two or three parameters with an exact
posterior. A strategy that combines levels should never do worse on them than the same number of
high-level runs alone.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from sbi.utils import BoxUniform
from torch import Tensor

from mlsbi._checks import as_tensor, check_option
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.tasks._stress_models import MODELS, Model, Noise, Simulator, draw_noise
from mlsbi.tasks.base import Task, posterior_score, simulated_source

__all__ = ["STRESS", "log_evidence", "stress"]

STRESS = tuple(MODELS)
"""The names that `stress` knows."""

_NAMES = ("a", "b", "c")
_COSTS = (1.0, 50.0)
_NODES = {2: 64, 3: 28}
_ROWS_AT_ONCE = 8


def stress(name: str) -> Task:
    """One of the hierarchies made to break strategies that combine levels.

    Two levels of costs (1, 50), theta uniform on [-1, 1]^d with d = 2 (`integers`, `wide`) or 3.
    `reference_likelihood` is in closed form, `reference_posterior` has its normalisation by
    Gauss-Legendre quadrature over the box.

    Args:
        name: `"noise"`: x_0 is independent noise. `"anti"`: x_0 = -x_1 and a little noise.
            `"decoupled"`: p(x_0 | theta) = p(x_1 | theta), from independent noise. `"blind"`: the
            last parameter acts on the high level only. `"noisy"`: ten times the noise at the low
            level. `"integers"`: x are counts. `"bimodal"`: x_1 given x_0 and theta has two humps,
            and the posterior two modes. `"wide"`: x are 200 numbers of which 3 are informative.

    Returns:
        The task; x has event shape `(4,)`, `(200,)` for `wide`.

    Raises:
        TypeError: If `name` is not a string.
        ValueError: If it is unknown.
    """
    model = MODELS[check_option(name, name="name", allowed=STRESS)]
    levels = [
        Level(partial(_run, simulator=simulator), cost=cost, name=level)
        for simulator, cost, level in zip(
            (model.low, model.high), _COSTS, ("low", "high"), strict=True
        )
    ]
    side = torch.ones(model.dim)
    hierarchy = Hierarchy(
        BoxUniform(-side, side), levels, noise=partial(draw_noise, outputs=model.outputs)
    )
    return Task(
        name=f"stress-{name}",
        kind="posterior",
        parameter_names=_NAMES[: model.dim],
        budgets=((1000, 20), (1000, 100)),
        hierarchy=hierarchy,
        reference_likelihood=partial(_reference_likelihood, model=model),
        reference_posterior=partial(_reference_posterior, model=model),
        source=simulated_source(hierarchy, num_test=500),
        scorer=posterior_score,
    )


def _run(theta: Tensor, u: Noise, *, simulator: Simulator) -> Tensor:
    return simulator(theta.double(), u).float()


def _reference_likelihood(theta: Any, x: Any, *, model: Model) -> Tensor:
    """Exact log p(x | theta), shape `(n,)`; one row of either argument stands for all rows."""
    params, values = _matched(theta, x, model=model)
    told, rest = _split(values, model)
    dull = (-0.5 * rest.square() - 0.5 * math.log(2 * math.pi)).sum(-1)
    return model.log_likelihood(params, told) + dull


def _reference_posterior(theta: Any, x: Any, *, model: Model) -> Tensor:
    """Exact log p(theta | x), shape `(n,)`, float64; -inf outside the prior's box."""
    params, values = _matched(theta, x, model=model)
    told, _ = _split(values, model)
    log_prior = -model.dim * math.log(2)
    inside = (params.abs() <= 1).all(-1)
    likelihood = model.log_likelihood(params.clamp(-1, 1), told)
    posterior = log_prior + likelihood - log_evidence(told, model=model)
    return torch.where(inside, posterior, -math.inf)


def log_evidence(x: Tensor, *, model: Model, num_nodes: int | None = None) -> Tensor:
    """Log of the likelihood averaged over the box, by Gauss-Legendre quadrature.

    Args:
        x: What `model.log_likelihood` takes, shape `(n, D)`, float64.
        model: The hierarchy.
        num_nodes: Nodes a parameter; None: enough for a relative error below 1e-6.

    Returns:
        Shape `(n,)`, float64.
    """
    nodes, log_weights = _grid(model.dim, num_nodes or _NODES[model.dim])
    blocks = [
        torch.logsumexp(model.log_likelihood(nodes, block[:, None]) + log_weights, dim=1)
        for block in x.split(_ROWS_AT_ONCE)
    ]
    return torch.cat(blocks)


def _grid(dim: int, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes in the box, `(g, d)`, and the logs of weights that sum to one, `(g,)`."""
    points, weights = np.polynomial.legendre.leggauss(num_nodes)
    axis, log_weight = torch.from_numpy(points), torch.from_numpy(weights / 2).log()
    nodes = torch.cartesian_prod(*[axis] * dim)
    return nodes, torch.cartesian_prod(*[log_weight] * dim).sum(-1)


def _split(x: Tensor, model: Model) -> tuple[Tensor, Tensor]:
    """The columns that theta acts on, and the others."""
    if not model.informative:
        return x, x[:, :0]
    told = torch.zeros(model.outputs, dtype=torch.bool)
    told[list(model.informative)] = True
    return x[:, told], x[:, ~told]


def _matched(theta: Any, x: Any, *, model: Model) -> tuple[Tensor, Tensor]:
    params = as_tensor(theta, name="theta", shape=(None, model.dim), dtype=torch.float64)
    values = as_tensor(x, name="x", shape=(None, model.outputs), dtype=torch.float64)
    if len(params) != len(values) and 1 not in (len(params), len(values)):
        raise ValueError(
            f"x must have shape ({len(params)}, {model.outputs}) to match theta, or one row; "
            f"got {tuple(values.shape)}. Pass one row of x per row of theta."
        )
    return params, values
