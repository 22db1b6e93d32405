"""A linear-Gaussian ladder of levels: posterior, likelihood and what pairs save, in closed form.

    x_l = A_l theta + B_l u + c_l,   theta ~ N(0, I_3),  u ~ N(0, I_4),
    (A_l, B_l, c_l) = (A, B, c) + (2^-l - 2^-L) (dA, dB, dc)

Level L is the same model however many levels are below it. Each difference x_l - x_(l-1) is half of
the one below, exactly, so that its mean square falls as 2^(-2 l) while a run's cost grows as
2^(2 l): every pair asks for the same share of a budget (Giles 2015, Multilevel Monte Carlo methods,
Acta Numerica 24, section 2). Nothing is as simple for a strategy; it is here for what can be
checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from mlsbi._checks import as_tensor, check_count
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.tasks.base import Task, posterior_score, simulated_source

__all__ = ["Moments", "linear_gaussian", "linear_gaussian_moments"]

_NAMES = ("a", "b", "c")
_MOST_LEVELS = 4
_COST_RATIO = 4.0


def _double(rows: list[Any]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


_A = _double([[1.0, 0.4, 0.0], [-0.3, 0.8, 0.2], [0.2, -0.1, 0.9], [0.5, 0.5, -0.4]])
_B = _double([[0.5, 0, 0, 0], [0.1, 0.4, 0, 0], [0, 0.15, 0.5, 0], [-0.1, 0, 0.1, 0.6]])
_C = _double([0.5, 0.0, -0.5, 1.0])
_DA = _double([[-0.3, 0.2, 0.1], [0.2, -0.2, 0.0], [0.0, 0.3, -0.2], [0.1, -0.1, 0.3]])
_DB = _double([[0.1, 0, 0.05, 0], [0, 0.1, 0, -0.05], [0.05, 0, -0.1, 0], [0, 0.05, 0, 0.15]])
_DC = _double([0.3, -0.2, 0.1, 0.2])
_OUTPUTS, _DIM = _A.shape

# The second is close to the best split by the bound, `mlsbi.planning.needs.bound_needs`.
_BUDGETS = {
    1: ((100,), (1000,)),
    2: ((1000, 20), (1000, 100)),
    3: ((1000, 20, 20), (1000, 100, 20)),
    4: ((1000, 20, 20, 5), (1000, 100, 25, 6)),
}


def linear_gaussian(levels: int = 3) -> Task:
    """The linear-Gaussian task: posterior of three parameters under a standard normal prior.

    `reference_likelihood` and `reference_posterior` are in closed form, and the same for any number
    of levels; so are variances and differences of the levels, `linear_gaussian_moments`. A run of
    level l costs 4^l.

    Args:
        levels: Their number, 1 to 4.

    Returns:
        The task; x has event shape `(4,)`.

    Raises:
        TypeError: If `levels` is not an integer.
        ValueError: If it is out of range.
    """
    count = _check_levels(levels)
    hierarchy = Hierarchy(
        Independent(Normal(torch.zeros(_DIM), torch.ones(_DIM)), 1),
        [
            Level(partial(_run, gap=gap), cost=_COST_RATIO**level, name=f"gap {gap:g}")
            for level, gap in enumerate(_gaps(count))
        ],
        noise=_noise,
    )
    return Task(
        name=f"linear_gaussian-{count}",
        kind="posterior",
        parameter_names=_NAMES,
        budgets=_BUDGETS[count],
        hierarchy=hierarchy,
        reference_likelihood=_reference_likelihood,
        reference_posterior=_reference_posterior,
        source=simulated_source(hierarchy, num_test=500),
        scorer=posterior_score,
    )


@dataclass(frozen=True, eq=False)
class Moments:
    """What `mlsbi.pilot` estimates of the levels, exactly; all of shape `(levels, 4)`, float64.

    The figures are of each output in its own units: where scales s_j are given to outputs, divide
    by s_j^2 and take the mean over outputs.

    Attributes:
        variance: Var x_l.
        difference: E (x_l - x_(l-1))^2 on the same theta and u; at level 0, E x_0^2.
        difference_variance: Var (x_l - x_(l-1)); at level 0, Var x_0.
    """

    variance: Tensor
    difference: Tensor
    difference_variance: Tensor


def linear_gaussian_moments(levels: int = 3) -> Moments:
    """Variances and mean squared differences of the levels of `linear_gaussian(levels)`.

    Args:
        levels: Their number, 1 to 4.

    Returns:
        The moments, in closed form.

    Raises:
        TypeError: If `levels` is not an integer.
        ValueError: If it is out of range.
    """
    gaps = _gaps(_check_levels(levels))
    variance = torch.stack([_square(_A + gap * _DA, _B + gap * _DB) for gap in gaps])
    steps = _double([fine - coarse for coarse, fine in zip(gaps, gaps[1:], strict=False)])
    steps = steps.square().unsqueeze(1)
    moved = steps * _square(_DA, _DB)
    first = variance[:1]
    return Moments(
        variance,
        torch.cat([first + (_C + gaps[0] * _DC).square(), moved + steps * _DC.square()]),
        torch.cat([first, moved]),
    )


def _check_levels(levels: Any) -> int:
    count = check_count(levels, name="levels")
    if count > _MOST_LEVELS:
        raise ValueError(f"levels must be 1 to {_MOST_LEVELS}; got {count}. Pass levels=3.")
    return count


def _gaps(levels: int) -> list[float]:
    """How far each level is from the finest one: 2^-l - 2^-L."""
    return [2.0**-level - 2.0 ** (1 - levels) for level in range(levels)]


def _square(*matrices: Tensor) -> Tensor:
    """Variance of each output when every column of the matrices has a standard normal of its own.

    Shape `(4,)`.
    """
    return torch.cat(matrices, dim=1).square().sum(1)


def _noise(n: int, generator: torch.Generator) -> Tensor:
    """Standard normal u, shape `(n, 4)`."""
    return torch.randn(n, _OUTPUTS, generator=generator, dtype=torch.float64)


def _run(theta: Tensor, u: Tensor, *, gap: float) -> Tensor:
    response, noise = _A + gap * _DA, _B + gap * _DB
    return (theta.double() @ response.T + u @ noise.T + (_C + gap * _DC)).float()


def _reference_likelihood(theta: Any, x: Any) -> Tensor:
    """Exact log p(x | theta), shape `(n,)`; one row of either argument stands for all rows."""
    params, values = _matched(theta, x)
    found: Tensor = MultivariateNormal(params @ _A.T + _C, scale_tril=_noise_factor()).log_prob(
        values
    )
    return found


def _reference_posterior(theta: Any, x: Any) -> Tensor:
    """Exact log p(theta | x), shape `(n,)`, float64: normal, with precision I + A' (B B')^-1 A."""
    params, values = _matched(theta, x)
    weights = torch.cholesky_solve(_A, _noise_factor()).T  # A' (B B')^-1
    precision = torch.eye(_DIM, dtype=torch.float64) + weights @ _A
    mean = torch.linalg.solve(precision, weights @ (values - _C).T).T
    found: Tensor = MultivariateNormal(mean, precision_matrix=precision).log_prob(params)
    return found


def _noise_factor() -> Tensor:
    return torch.linalg.cholesky(_B @ _B.T)


def _matched(theta: Any, x: Any) -> tuple[Tensor, Tensor]:
    params = as_tensor(theta, name="theta", shape=(None, _DIM), dtype=torch.float64)
    values = as_tensor(x, name="x", shape=(None, _OUTPUTS), dtype=torch.float64)
    if len(params) != len(values) and 1 not in (len(params), len(values)):
        raise ValueError(
            f"x must have shape ({len(params)}, {_OUTPUTS}) to match theta, or one row; got "
            f"{tuple(values.shape)}. Pass one row of x per row of theta."
        )
    return params, values
