"""The arguments of a check, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mlsbi._checks import as_tensor, check_count, check_seed, check_type
from mlsbi._observation import as_observation
from mlsbi.data import MultilevelData
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.strategies import SingleLevel, Strategy

__all__ = ["Asked", "as_asked", "as_rival_fit", "as_rival_strategy", "as_test_runs"]

_Fit = PosteriorFit | LikelihoodFit


@dataclass(frozen=True)
class Asked:
    """What both ways of checking need."""

    fit: _Fit
    labels: tuple[str, ...]
    num_draws: int
    seed: int
    x_o: Tensor | None


def as_asked(fit: Any, *, labels: Any, num_draws: Any, seed: Any, x_o: Any) -> Asked:
    """What both ways of checking need.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.
    """
    remedy = "Pass what mlsbi.fit_posterior or mlsbi.fit_likelihood returned."
    check_type(fit, (PosteriorFit, LikelihoodFit), name="fit", remedy=remedy)
    d = fit.theta_dim
    names = [f"theta_{i + 1}" for i in range(d)] if labels is None else labels
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(
            f"labels must be a sequence of names; got {type(names).__name__}. Pass one a parameter."
        )
    if len(names) != d or len({"joint", *map(str, names)}) != d + 1:
        raise ValueError(
            f"labels must hold {d} different names, one a parameter and none of them 'joint'; got "
            f"{list(names)}. Pass them in the order of theta's columns."
        )
    count = check_count(num_draws, name="num_draws", minimum=20)
    seed = check_seed(seed)
    if x_o is not None:
        x_o = as_observation(x_o, fit.event_shape, remedy="Check several one after another.")
    return Asked(fit, tuple(map(str, names)), count, seed, x_o)


def as_test_runs(fit: _Fit, theta: Any, x: Any) -> tuple[Tensor, Tensor]:
    """Theta and x of held-out runs, on the CPU.

    Raises:
        TypeError: They are no arrays of numbers, or `x` was left out.
        ValueError: They are of another shape, too few, not finite, or outside the prior.
    """
    if x is None:
        raise TypeError(
            f"data_or_theta must be MultilevelData where x_test is left out; got "
            f"{type(theta).__name__}. Call mlsbi.check(fit, data), or mlsbi.check(fit, theta_test, "
            "x_test)."
        )
    if isinstance(theta, MultilevelData):
        raise TypeError(
            "data_or_theta must be parameters where x_test is given; got MultilevelData. Call "
            "mlsbi.check(fit, theta_test, x_test, data=data), or mlsbi.check(fit, data)."
        )
    remedy = "Pass a row a run, of as many parameters as the fit has."
    true = as_tensor(theta, name="theta_test", shape=(None, fit.theta_dim), remedy=remedy).cpu()
    observed = as_tensor(x, name="x_test").cpu()
    shape = (len(true), *fit.event_shape)
    if tuple(observed.shape) != shape:
        raise ValueError(
            f"x_test must have shape {shape}, a run of level L for each row of theta_test; got "
            f"{tuple(observed.shape)}. Pass theta and x of the same runs."
        )
    if len(true) < 2:
        raise ValueError(
            f"theta_test must hold at least 2 runs; got {len(true)}. Pass more, or check without "
            "spare runs: mlsbi.check(fit, data)."
        )
    outside = ~fit.prior.contains(true)
    if bool(outside.any()):
        raise ValueError(
            f"theta_test must lie in the prior's support; {int(outside.sum())} of {len(true)} rows "
            f"do not, the first is row {int(outside.nonzero()[0])}. Leave them out: the fit has no "
            "density there."
        )
    return true, observed


def as_rival_fit(fit: _Fit, against: Any) -> _Fit | None:
    """The fit to compare with on held-out runs.

    Raises:
        TypeError: It is no fit.
        ValueError: It is of another problem.
    """
    if against is None or against is False or (isinstance(against, str) and against == "auto"):
        return None
    if isinstance(against, Strategy):
        raise TypeError(
            f"against must be a fit where x_test is given; got the strategy "
            f"{type(against).__name__}. Fit it to the same data and pass the fit, or compare by "
            "cross-fitting: mlsbi.check(fit, data, against=strategy)."
        )
    remedy = "Pass another fit of the same problem, or None."
    check_type(against, (PosteriorFit, LikelihoodFit), name="against", remedy=remedy)
    rival: _Fit = against
    if (rival.theta_dim, rival.event_shape) != (fit.theta_dim, fit.event_shape):
        raise ValueError(
            f"against must be a fit with {fit.theta_dim} parameter(s) and x of shape "
            f"{fit.event_shape}, as the fit; got {rival.theta_dim} and {rival.event_shape}. Pass "
            "one of the same problem."
        )
    return rival


def as_rival_strategy(fit: _Fit, against: Any) -> Strategy | None:
    """The strategy to compare with in cross-fitting.

    Raises:
        TypeError: It is none.
        ValueError: It cannot be fitted to so many levels.
    """
    if against is None or against is False:
        return None
    if isinstance(against, str) and against == "auto":
        alone = isinstance(fit.strategy, SingleLevel) and not fit.strategy.uses_low_levels
        return None if len(fit.n) == 1 or alone else SingleLevel()
    remedy = "In cross-fitting pass a strategy such as mlsbi.Transfer(), 'auto' or None."
    check_type(against, Strategy, name="against", remedy=remedy)
    strategy: Strategy = against
    strategy.check(len(fit.n))
    return strategy
