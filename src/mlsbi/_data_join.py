"""Two sets of runs of the same simulators as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from mlsbi._checks import check_type
from mlsbi._facts import Facts
from mlsbi._joined_runs import join_runs
from mlsbi._random import make_generator
from mlsbi._run_times import JoinedTimes, Seconds
from mlsbi._runs import AnyRuns
from mlsbi._stored import JoinedFailures
from mlsbi.failures import Failure
from mlsbi.prior import Prior

if TYPE_CHECKING:
    from mlsbi.data import MultilevelData

__all__ = ["check_costs_alike", "check_joinable", "check_shape", "join", "same_prior"]

_DRAWS = 16  # at which densities of priors are compared
_OTHERS = "as these data"


def join(data: MultilevelData, other: Any) -> tuple[list[AnyRuns], Facts]:
    """Arguments of the `MultilevelData` that holds both; see `MultilevelData.joined`.

    Raises:
        TypeError: If `other` holds no runs.
        ValueError: If it is of other simulators, as far as one can see.
    """
    check_joinable(other, data.num_levels, data.prior, name="other", like=_OTHERS)
    check_costs_alike(other, data.costs, name="other", like=_OTHERS)
    for level in range(data.num_levels):
        check_shape(other, level, data.event_shape(level), name="other", like=_OTHERS)
    both = zip(data._levels, other._levels, strict=True)
    levels = [join_runs(first, second) for first, second in both]
    first, second = data._facts, other._facts
    parts = ((own["seconds"], own["seconds_sd"]) for own in (first, second))
    times = JoinedTimes(*((own.n, *part) for own, part in zip((data, other), parts, strict=True)))
    known = any(own["seconds"] is not None for own in (first, second))
    facts = Facts(
        costs=second["costs"] if first["costs"] is None else first["costs"],
        dropped=tuple(a + b for a, b in zip(first["dropped"], second["dropped"], strict=True)),
        failures=_failures(first["failures"], second["failures"]),
        seconds=_seconds(first, second, times, spread=False) if known else None,
        seconds_sd=_seconds(first, second, times, spread=True) if known else None,
        seeds=first["seeds"] | second["seeds"],
    )
    return levels, facts


def _failures(first: Sequence[Failure], second: Sequence[Failure]) -> Sequence[Failure]:
    if isinstance(first, tuple) and isinstance(second, tuple):
        return first + second
    return JoinedFailures(first, second)


def _seconds(
    first: Facts, second: Facts, times: JoinedTimes, *, spread: bool
) -> Sequence[float | None]:
    """Now, unless one of the two would have to be read for it."""
    seconds = Seconds(times, spread=spread)
    late = any(isinstance(own["seconds"], Seconds) for own in (first, second))
    return seconds if late else tuple(seconds)


def check_joinable(
    data: Any, num_levels: int, prior: Prior, *, name: str, like: str
) -> MultilevelData:
    """Refuse runs of another number of levels, or drawn from another prior.

    Args:
        data: What should hold runs.
        num_levels: The number of levels to have.
        prior: The prior to have.
        name: The argument's name in messages.
        like: Whose levels and prior these are, such as "as the hierarchy".

    Returns:
        The data.

    Raises:
        TypeError: If they are no `MultilevelData`.
        ValueError: If they do not fit.
    """
    from mlsbi.data import MultilevelData  # it imports this module

    hint = "Pass what mlsbi.simulate or MultilevelData.from_arrays returned."
    check_type(data, MultilevelData, name=name, remedy=hint)
    own: MultilevelData = data
    if own.num_levels != num_levels:
        raise ValueError(
            f"{name} must have {num_levels} level(s), {like}; got {own.num_levels}. Pass runs of "
            "the same simulators."
        )
    if own.theta_dim != prior.dim:
        raise ValueError(
            f"{name} must have {prior.dim} parameter(s), {like}; got {own.theta_dim}. Pass runs "
            "with the same prior."
        )
    for bound in ("low", "high"):
        want, got = getattr(prior, bound), getattr(own.prior, bound)
        if not torch.equal(want, got):
            raise ValueError(
                f"{name} must have a prior with {bound} {want.tolist()}, {like}; got "
                f"{got.tolist()}. Pass runs with the same prior."
            )
    if not _same_density(own.prior, prior):
        raise ValueError(
            f"{name} must have the prior {prior.distribution}, {like}; got "
            f"{own.prior.distribution}, whose density differs. Pass runs with the same prior."
        )
    return own


def same_prior(first: Prior, second: Prior) -> bool:
    """Whether two priors have the same support and the same density, whatever their classes."""
    ends = ((first.low, second.low), (first.high, second.high))
    return all(torch.equal(a, b) for a, b in ends) and _same_density(first, second)


def _same_density(first: Prior, second: Prior) -> bool:
    """Whether priors of the same support have the same density, whatever their classes.

    Both are asked at a few draws of each: if they differ, it shows where one of them has its mass.
    """
    if first is second:
        return True
    theta = torch.cat([p.sample(_DRAWS, make_generator(0, "same prior")) for p in (first, second)])
    return torch.allclose(first.log_prob(theta), second.log_prob(theta), rtol=1e-4, atol=1e-4)


def check_costs_alike(
    data: MultilevelData, costs: Sequence[float] | None, *, name: str, like: str
) -> None:
    """Refuse runs with other costs, where both are known.

    Raises:
        ValueError: If they differ.
    """
    if costs is not None and data.costs is not None and tuple(costs) != data.costs:
        raise ValueError(
            f"{name} must have the costs {tuple(costs)}, {like}, or None; got {data.costs}. Give "
            "both the cost of a run in the same unit."
        )


def check_shape(
    data: MultilevelData, level: int, shape: tuple[int, ...] | None, *, name: str, like: str
) -> None:
    """Refuse runs whose outputs have another shape, where both are known.

    Raises:
        ValueError: If they differ.
    """
    if shape is not None and data.event_shape(level) != shape:
        raise ValueError(
            f"{name} must have x of event shape {shape} at level {level}, {like}; got "
            f"{data.event_shape(level)}. Pass runs of the same simulators."
        )
