"""What `mlsbi.infer` was asked for: checked before anything is run, and how it fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mlsbi._checks import (
    check_count,
    check_option,
    check_positive,
    check_type,
)
from mlsbi._described import describe_strategy
from mlsbi._facts import row_sums
from mlsbi._observation import as_observation
from mlsbi._random import derive_seed
from mlsbi._subset import check_kept
from mlsbi.data import MultilevelData
from mlsbi.estimators.build import Blueprint
from mlsbi.estimators.specs import EstimatorSpec
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.fit_io import load_fit
from mlsbi.hierarchy import Hierarchy
from mlsbi.options import Training
from mlsbi.planning._column_draws import rows_of
from mlsbi.planning.pilot import Pilot
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.simulate._fingerprint import qualified_name
from mlsbi.strategies import Strategy

__all__ = [
    "AnyFit",
    "Call",
    "check_affordable",
    "check_levels",
    "check_minimum",
    "check_observation",
    "choose",
    "minimum_cost",
]

AnyFit = PosteriorFit | LikelihoodFit


@dataclass(frozen=True)
class Call:
    """The arguments of `mlsbi.infer` that its rounds need; `simulating` go to every campaign."""

    hierarchy: Hierarchy
    budget: float
    seed: int
    kind: str
    strategy: Strategy | None
    estimator: str | EstimatorSpec | Callable[..., Any]
    ensemble: int
    training: Training | None
    pilot: int | Pilot
    levels: str | tuple[int, ...]
    rounds: int
    folds: int
    minimum: tuple[int, ...] | None
    max_failed: float
    simulating: Mapping[str, Any]
    progress: bool

    def checked(self) -> Call:
        """Itself, if nothing is wrong with it.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument has a wrong value.
        """
        check_positive(self.budget, name="budget")
        check_option(self.kind, name="kind", allowed=("posterior", "likelihood"))
        if self.strategy is not None:
            remedy = "For example mlsbi.Multilevel()."
            check_type(self.strategy, Strategy, name="strategy", remedy=remedy)
            self.strategy.check(self.hierarchy.num_levels)
        check_count(self.ensemble, name="ensemble")
        if self.training is not None:
            check_type(self.training, Training, name="training", remedy="Use mlsbi.Training(...).")
        if isinstance(self.estimator, str | EstimatorSpec):  # others are made for one shape of x
            d = self.hierarchy.prior.dim
            Blueprint(self.estimator, self.kind, 1, value_dim=d, context_shape=(d,)).build(seed=0)
        check_positive(self.max_failed, name="max_failed", maximum=1, strict=False)
        check_count(self.rounds, name="rounds")
        if check_count(self.folds, name="folds", minimum=0) == 1:
            raise ValueError("folds must be 0 or at least 2; got 1. Pass 0 for no check.")
        self._check_pilot()
        return self

    def _check_pilot(self) -> None:
        if not isinstance(self.pilot, Pilot):
            check_count(self.pilot, name="pilot", minimum=8)
            costs = [cost for cost in self.hierarchy.costs if cost is not None]
            if len(costs) == self.hierarchy.num_levels:  # else the pilot measures them
                spent = rows_of(self.pilot).count * math.fsum(costs)
                check_affordable(self, spent, (self.pilot,) * len(costs), costs)
        elif self.pilot.hierarchy is not self.hierarchy:
            raise ValueError(
                "pilot must be one of this very hierarchy; it is of another object. Pass "
                "pilot.hierarchy, or the number of columns of a new pilot."
            )

    @property
    def pilot_seed(self) -> int:
        """Of the pilot that this call makes, or was given."""
        if isinstance(self.pilot, Pilot):
            return self.pilot.seed
        return derive_seed(self.seed, "pilot")

    def describe(self) -> dict[str, Any]:
        """What decides about the result, in JSON types; all but budget and rounds, which may grow.

        What the simulators, the prior and the noise are, the stores of the runs know.
        """
        columns = len(self.pilot.columns) if isinstance(self.pilot, Pilot) else self.pilot
        return {
            "seed": self.seed,
            "kind": self.kind,
            "strategy": None if self.strategy is None else describe_strategy(self.strategy),
            "estimator": _describe_estimator(self.estimator),
            "ensemble": self.ensemble,
            "training": None if self.training is None else asdict(self.training),
            "pilot": {"columns": columns, "seed": self.pilot_seed},
            "levels": self.levels,
            "minimum": self.minimum,
            "costs": self.hierarchy.costs,
        }

    def of_levels(self, levels: Sequence[int]) -> Call:
        """The call for some of the levels."""
        low = None if self.minimum is None else tuple(self.minimum[i] for i in levels)
        return replace(self, hierarchy=self.hierarchy.subset(levels), minimum=low)

    def fit(self, data: MultilevelData, *, seed: int, folder: Path | None) -> AnyFit:
        """The fit of data: read from a folder, if it is there; else made, and written there."""
        if folder is not None and folder.exists():
            custom = None if isinstance(self.estimator, str | EstimatorSpec) else self.estimator
            found = load_fit(folder, prior=self.hierarchy.prior, estimator=custom)
            if found.n == data.n and found.seed == seed:  # else it is of a plan that was made anew
                return found
        make = fit_posterior if self.kind == "posterior" else fit_likelihood
        fit = make(
            data,
            seed=seed,
            strategy=self.strategy,
            estimator=self.estimator,
            ensemble=self.ensemble,
            training=self.training,
            progress=self.progress,
        )
        if folder is not None:
            fit.save(folder, overwrite=folder.exists())
        return fit


def _describe_estimator(estimator: str | EstimatorSpec | Callable[..., Any]) -> Any:
    if isinstance(estimator, str):
        return estimator
    if isinstance(estimator, EstimatorSpec):
        options = {f.name: getattr(estimator, f.name) for f in fields(estimator)}
        return {"name": type(estimator).__name__, **options}
    return qualified_name(estimator)


def check_affordable(call: Call, spent: float, n: Sequence[int], costs: Sequence[float]) -> None:
    """Refuse a budget that doesn't pay the pilot, and what `minimum` asks for beyond it.

    Args:
        call: What was asked for.
        spent: What the pilot costs.
        n: Rows of each level that it gives.
        costs: Of one run of each level.

    Raises:
        ValueError: It doesn't.
    """
    if call.budget < spent:
        raise ValueError(
            f"budget must pay the pilot, which costs {spent:.6g}; got {call.budget:.6g}. Raise the "
            "budget, or pass a smaller pilot (8 columns at least)."
        )
    least = spent + minimum_cost(call, n, costs)
    if call.budget < least:
        raise ValueError(
            f"budget must pay the pilot ({spent:.6g}) and minimum = {call.minimum}, {least:.6g} "
            f"together; got {call.budget:.6g}. Raise the budget, or lower the minimum."
        )


def minimum_cost(call: Call, n: Sequence[int], costs: Sequence[float]) -> float:
    """What the rows cost that `minimum` asks for and that are not there yet."""
    missing = [max(low - had, 0) for low, had in zip(call.minimum or n, n, strict=True)]
    return math.fsum(m * k for m, k in zip(missing, row_sums(costs), strict=True))


def check_minimum(minimum: Any, num_levels: int) -> tuple[int, ...] | None:
    """The least number of rows of each level, from one number for all or one a level.

    Raises:
        TypeError: There is an entry that isn't an integer.
        ValueError: There isn't one entry a level, or one is below 1.
    """
    if minimum is None:
        return None
    if not isinstance(minimum, list | tuple):
        return (check_count(minimum, name="minimum"),) * num_levels
    if len(minimum) != num_levels:
        raise ValueError(
            f"minimum must have one entry a level, {num_levels}; got {len(minimum)}. Pass one "
            "number for all levels, or one a level."
        )
    return tuple(check_count(m, name=f"minimum[{i}]") for i, m in enumerate(minimum))


def check_levels(levels: Any, num_levels: int) -> str | tuple[int, ...]:
    """`"auto"`, or the numbers of levels to use, ascending, the finest one among them.

    Raises:
        TypeError: It is something else.
        ValueError: There is no such level, or the finest one isn't there.
    """
    if isinstance(levels, str):
        return str(check_option(levels, name="levels", allowed=("auto", "all")))
    hint = "Pass 'auto', 'all', or numbers of levels, ascending, such as [0, 2]."
    found = check_kept(levels, num_levels=num_levels, remedy=hint)
    if found[-1] != num_levels - 1:
        raise ValueError(
            f"levels must be ascending and end with the finest, {num_levels - 1}; got "
            f"{list(levels)}. {hint}"
        )
    return tuple(found)


def choose(call: Call, pilot: Pilot) -> tuple[int, ...]:
    """The levels to use: those asked for, or those that the pilot recommends for what is left."""
    every = tuple(range(call.hierarchy.num_levels))
    if not isinstance(call.levels, str):
        return call.levels
    left = call.budget - pilot.cost
    if call.levels == "all" or len(every) == 1 or left <= 0:
        return every
    try:
        return pilot.choose_levels(
            left, strategy=call.strategy, kind=call.kind, seed=derive_seed(call.seed, "needs", 0)
        ).best.levels
    except ValueError:  # as of levels that cannot be compared: planning them says why
        return every


def check_observation(x_o: Any, event: tuple[int, ...], *, kind: str) -> Tensor | None:
    """`x_o` of the finest level's shape; several, independent ones for a likelihood.

    Raises:
        TypeError: It is no array of numbers.
        ValueError: It has another shape, or is not finite.
    """
    if x_o is None:
        return None
    remedy = "Pass one observation as the finest level's simulator returns it."
    several = kind == "likelihood"
    return as_observation(x_o, event, remedy=remedy, several=several).clone()
