"""The width of a mixture from the runs that its members did not see.

The mixture is stretched about its centre by one scale s (`mlsbi.estimators.stretch`), so that its
credible regions hold held-out runs as often as they say. The credibility u_i of the smallest
highest-density region that holds run i, under the members that did not see it, is uniform where the
width is right (Hermans et al. 2022, arXiv:2110.06581), so that the mean of m of them is about
N(1/2, 1 / (12 m)). Before the runs are seen, log s is Cauchy about 0 with the scale a / sqrt(m):
what few runs taught is off by little, and where it is off by much the runs are believed. Log s is
set to its mean after. The mean of u is bounded: a single run far off cannot blow the width up, as
it can where the likelihood of the runs decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.problem import Problem
from mlsbi.stacking import held_out_shares

__all__ = ["Width", "held_out_width"]

# What few pairs teach is off by about one part in the square root of their number.
_PRIOR = 0.4
_FARTHEST, _PLACES = 1.0, 41  # log scales that are tried
_MOST_RUNS, _MOST_ROWS, _MOST_DRAWS = 500, 20_000, 200
_FEWEST = 2


@dataclass(frozen=True)
class Width:
    """What held-out runs say of a mixture's width.

    Attributes:
        scale: By which it is to be stretched about its centre; 1 where nothing is known.
        error: Standard deviation of the logarithm of the scale, runs and prior taken together.
        credibility: Mean credibility of the smallest region that holds each held-out run, before;
            0.5 is right, more is over-confident.
        runs: How many held-out runs there were.
    """

    scale: float
    error: float
    credibility: float
    runs: int

    @property
    def row(self) -> dict[str, float]:
        """For the history."""
        return {
            "scale": self.scale,
            "scale_error": self.error,
            "held_out_credibility": self.credibility,
        }


@torch.no_grad()
def held_out_width(
    density: ConditionalDensity, weights: Tensor | None, problem: Problem, *, seed: int
) -> Width | None:
    """The scale that level L's runs ask for.

    Args:
        density: A multiple of the fit's k members, which hold out folds as `problem` says.
        weights: Of the members, `(members,)`; None: equal ones.
        problem: Gives level L's runs, and who holds out which.
        seed: Of the draws.

    Returns:
        None where fewer than 2 runs are held out, or the density has no centre.
    """
    k = density.members
    rows, share = held_out_shares(weights, k, problem)
    rows, share = rows[:_MOST_RUNS], share[:, :_MOST_RUNS]
    if len(rows) < _FEWEST:
        return None
    value, context = (t[rows].to(problem.device) for t in problem.levels[-1].member(coarse=False))
    try:
        centres = density.centre(context.expand(k, *context.shape).contiguous())
    except NotImplementedError:
        return None
    share = share.to(centres.device)
    centre = torch.einsum("km,kmd->md", share.to(centres.dtype), centres)
    generator = make_generator(seed, "width", device=problem.device)
    drawn = _held_out_draws(density, share, context, generator)  # (m, J)
    places = torch.linspace(-_FARTHEST, _FARTHEST, _PLACES, dtype=torch.float64)
    found = []
    for place in places.tolist():
        shrunk = centre + (value - centre) / torch.tensor(place).exp().to(value)
        own = _mixed(density, share, shrunk, context).unsqueeze(1)
        above, ties = (drawn > own).double(), (drawn == own).double()
        found.append((above + 0.5 * ties).mean(1).mean())
    return _width(places, torch.stack(found).cpu(), len(rows))


def _width(places: Tensor, credibility: Tensor, runs: int) -> Width:
    """The posterior of the log scale, at `places`, from the mean credibility at each `(S,)`."""
    likelihood = -6 * runs * (credibility - 0.5).square()
    prior = -torch.log1p(runs * (places / _PRIOR).square())
    posterior = torch.softmax(likelihood + prior, 0)
    mean = (posterior * places).sum()
    error = (posterior * (places - mean).square()).sum().sqrt()
    now = float(credibility[len(places) // 2])
    return Width(float(mean.exp()), float(error), now, runs)


def _held_out_draws(
    density: ConditionalDensity, share: Tensor, context: Tensor, generator: torch.Generator
) -> Tensor:
    """Log densities of J draws of each run's held-out mixture, in that mixture, `(m, J)`."""
    (k, m), place = share.shape, context.device
    count = max(1, min(_MOST_ROWS // m, _MOST_DRAWS))
    many = context.repeat_interleave(count, 0)
    owner = torch.multinomial(share.T, count, replacement=True, generator=generator).flatten()
    every = density.sample(many.expand(k, *many.shape).contiguous(), generator=generator)
    draws = every[owner, torch.arange(m * count, device=place)]
    return _mixed(density, share.repeat_interleave(count, 1), draws, many).unflatten(0, (m, count))


def _mixed(density: ConditionalDensity, share: Tensor, value: Tensor, context: Tensor) -> Tensor:
    """Log density of rows `(n, d)` in the mixture whose shares are `(k, n)`, `(n,)`."""
    k = density.members
    log_prob = density.log_prob(
        value.expand(k, *value.shape).contiguous(), context.expand(k, *context.shape).contiguous()
    ).double()
    log_prob = torch.nan_to_num(log_prob, nan=-torch.inf)
    return torch.logsumexp(log_prob + share.log(), 0)
