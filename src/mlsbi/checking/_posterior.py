"""Where a posterior at an observation is: at the prior's edge, or where a level has no runs.

For a calibrated fit and theta from the prior, a set of prior mass e holds at least half of the
posterior for at most 2 e of the observations (Markov's inequality, as the mean of the posterior's
mass is e). So half of a posterior in a small corner of the prior is a p-value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.checking._misfit import nearest_distances
from mlsbi.checking._normal import upper_tail
from mlsbi.data import MultilevelData
from mlsbi.prior import Prior

__all__ = ["Edge", "Reach", "edges", "reaches"]

_PRIOR_DRAWS = 20_000
_OUTER = 0.01  # of the prior's mass, for the figures
_MOST_ROWS = 4000
_MOST_OWN = 500
_FEWEST = 5


@dataclass(frozen=True)
class Edge:
    """How one parameter's posterior lies in the prior.

    Attributes:
        name: Of the parameter.
        median: Prior mass below the posterior's median.
        low: Share of the posterior in the lowest hundredth of the prior's mass.
        high: The same of the highest.
        bound: The prior's bound on the nearer side; infinite if it has none.
        p: P-value of a median as near to an end, over all parameters.
    """

    name: str
    median: float
    low: float
    high: float
    bound: float
    p: float


def edges(draws: Tensor, prior: Prior, names: Sequence[str], *, seed: int) -> list[Edge]:
    """Look at each parameter of posterior draws `(n, d)`."""
    places = _places(draws, prior, seed)
    found = []
    for j, name in enumerate(names):
        place = places[:, j]
        median = float(place.median())
        bound = prior.low[j] if median < 0.5 else prior.high[j]
        found.append(
            Edge(
                name,
                median,
                float((place < _OUTER).double().mean()),
                float((place > 1 - _OUTER).double().mean()),
                float(bound),
                min(1.0, 4 * len(names) * min(median, 1 - median)),
            )
        )
    return found


def _places(theta: Tensor, prior: Prior, seed: int) -> Tensor:
    """Share of the prior's mass below each value, both `(n, d)`; float64."""
    known = prior.sample(_PRIOR_DRAWS, make_generator(seed, "places")).double().T
    known = known.sort(dim=1).values.contiguous()
    below = torch.searchsorted(known, theta.double().cpu().T.contiguous())
    return ((below + 0.5) / (known.shape[1] + 1)).T


@dataclass(frozen=True)
class Reach:
    """How near the runs of a level come to a posterior.

    Attributes:
        level: The level.
        ratio: Median distance of posterior draws from the level's runs (the third nearest), in
            units of the runs' own median distance from each other.
        p: P-value of a posterior as far away, for an observation that is like the level's runs.
    """

    level: int
    ratio: float
    p: float


def reaches(draws: Tensor, data: MultilevelData, *, seed: int) -> list[Reach]:
    """Look at each level that has enough runs, the coarsest first; posterior draws `(n, d)`."""
    here = _places(draws, data.prior, seed)
    found = []
    for level in range(data.num_levels):
        if data.n[level] < _FEWEST:
            continue
        rows = _places(data.theta(level)[:_MOST_ROWS], data.prior, seed)
        own = nearest_distances(rows, rows[:_MOST_OWN], own=True)
        distance = float(nearest_distances(rows, here).median())
        typical = max(float(own.median()), 1e-12)
        # twice: half of the posterior is farther than that
        p = min(1.0, 2 * upper_tail(own, distance))
        found.append(Reach(level, distance / typical, p))
    return found
