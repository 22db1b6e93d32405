"""What a fit was asked for: how to make it again from other data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.options import Training
from mlsbi.strategies.base import Strategy

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """The arguments of `fit_posterior` or `fit_likelihood`, but for data, seed and where to run.

    They cannot all be read off a fit: what a strategy builds may differ from what was asked for.

    Attributes:
        kind: "posterior" or "likelihood".
        strategy: How the levels are combined.
        estimator: As it was asked for; None: a builder that `load_fit` was not given.
        embedding_net: The net as it came, untrained; None: none, or one that is `missing`.
        ensemble: Members.
        training: Options of the loop as they were given; None: the strategy's.
        tails: Which outputs of x go through asinh.
        missing: Arguments that `load_fit` would have to be given.
    """

    kind: str
    strategy: Strategy
    estimator: str | EstimatorSpec | Callable[..., Any] | None
    embedding_net: nn.Module | None
    ensemble: int
    training: Training | None
    tails: str
    missing: tuple[str, ...] = ()
