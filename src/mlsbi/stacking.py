"""Weights of candidate densities from their log densities of held-out runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.problem import Problem
from mlsbi.strategies.base import Solution

__all__ = [
    "Weights",
    "admitted",
    "held_out_log_density",
    "held_out_shares",
    "mean_and_error",
    "stack",
]

_STEPS = 200
_REPLICATES = 100
_LOWEST = -1e4  # log density of a run that a candidate gives none


@dataclass(frozen=True)
class Weights:
    """Weights of C candidates.

    Attributes:
        mean: The weights, `(C,)`, with sum 1.
        error: Their standard deviations over a Bayesian bootstrap of the runs, `(C,)`.
        log_density: Mean held-out log density of each, nats in the network's units; NaN without
            held-out runs.
    """

    mean: Tensor
    error: Tensor
    log_density: Tensor


@torch.no_grad()
def held_out_log_density(solution: Solution, problem: Problem) -> Tensor:
    """Log density of each of level L's runs under the members that did not see it, `(m,)`.

    Runs that every member saw are left out; members that share a fold are averaged. Where the
    density has been touched by those runs since, this is the score from before.
    """
    if solution.held_out is not None:
        return solution.held_out
    rows, density, device = problem.levels[-1], solution.density, problem.device
    value, context = (t.to(device) for t in rows.member(coarse=False))
    k = density.members
    log_prob = density.log_prob(
        value.expand(k, *value.shape).contiguous(), context.expand(k, *context.shape).contiguous()
    ).cpu()
    log_prob = torch.nan_to_num(log_prob.double(), nan=_LOWEST, neginf=_LOWEST).clamp(min=_LOWEST)
    some, share = held_out_shares(solution.weights, k, problem)
    return torch.logsumexp(log_prob[:, some] + share.log(), 0)


def held_out_shares(
    weights: Tensor | None, members: int, problem: Problem
) -> tuple[Tensor, Tensor]:
    """Who answers for each of level L's runs that some member did not see.

    Args:
        weights: Of the members, `(members,)`; None: equal ones.
        members: A multiple of the fit's k: a density may hold several densities of k members each.
        problem: Says who holds out which.

    Returns:
        Those runs, `(m,)`, and the share of each member in the mixture of those that did not see
        it, `(members, m)`, float64; columns have the sum 1.
    """
    train = problem.train_rows[-1]
    held = (~train).repeat(members // len(train), 1)
    given = torch.full((members,), 1 / members) if weights is None else weights.cpu()
    share = torch.where(held, given.double().unsqueeze(1), 0.0)
    rows = (share.sum(0) > 0).nonzero().flatten()
    share = share[:, rows]
    return rows, share / share.sum(0).clamp(min=1e-300)


def mean_and_error(gain: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the rows of a gain `(m, ...)`, and its standard error; infinite of fewer than 2."""
    mean = gain.mean(0)
    if len(gain) < 2:
        return mean, torch.full_like(mean, torch.inf)
    return mean, gain.std(0) / len(gain) ** 0.5


def admitted(log_density: Tensor, unseen: Sequence[bool]) -> Tensor:
    """Which candidates take part, bool `(C,)`.

    Args:
        log_density: Of m held-out runs under C candidates, `(m, C)`.
        unseen: Whether the held-out runs had no part in each candidate. One that was stopped by
            them has to beat all that were not by a standard error.
    """
    fair = torch.tensor(list(unseen))
    if bool(fair.all()) or not bool(fair.any()) or len(log_density) < 2:
        return torch.ones_like(fair)
    best = log_density[:, fair][:, log_density[:, fair].mean(0).argmax()]
    gain, error = mean_and_error(log_density - best.unsqueeze(1))
    return fair | (gain > error)


def stack(log_density: Tensor, *, admitted: Tensor, prior_count: float, seed: int) -> Weights:
    """Weights that maximise the mixture's held-out log density, kept from the edges by a prior.

    Args:
        log_density: Of m held-out runs under C candidates, `(m, C)`.
        admitted: Which candidates take part, bool `(C,)`.
        prior_count: Runs that the prior weights count as.
        seed: Of the bootstrap.
    """
    m, count = log_density.shape
    prior = 0.5 ** torch.arange(count, dtype=torch.float64) * admitted
    prior = prior / prior.sum()
    if m == 0 or count == 1:
        mean = log_density.mean(0) if m else torch.full((count,), math.nan)
        return Weights(prior, torch.zeros_like(prior), mean)
    generator = make_generator(seed, "bootstrap")
    uniform = torch.rand(_REPLICATES, m, generator=generator, dtype=torch.float64)
    replicates = -uniform.clamp(min=1e-300).log()
    counts = torch.cat([torch.ones(1, m), m * replicates / replicates.sum(1, keepdim=True)])
    found = _maximise(log_density.double(), counts, prior, prior_count)
    return Weights(found[0], found[1:].std(0), log_density.mean(0))


def _maximise(log_density: Tensor, counts: Tensor, prior: Tensor, prior_count: float) -> Tensor:
    """Expectation maximisation for each row of `counts` (r, m); weights `(r, C)`."""
    total = counts.sum(1, keepdim=True) + prior_count
    log_density = log_density.masked_fill(prior == 0, -torch.inf)
    density = (log_density - log_density.amax(1, keepdim=True)).exp()
    weights = prior.expand(len(counts), -1)
    for _ in range(_STEPS):
        joint = weights.unsqueeze(1) * density  # (r, m, C)
        shares = joint / joint.sum(2, keepdim=True).clamp(min=1e-300)
        weights = ((counts.unsqueeze(2) * shares).sum(1) + prior_count * prior) / total
    return weights / weights.sum(1, keepdim=True)
