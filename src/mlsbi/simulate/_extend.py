"""Runs that are there before a campaign: whether they fit it, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlsbi._data_join import check_costs_alike, check_joinable, check_shape
from mlsbi.data import MultilevelData
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._campaign import Sink

__all__ = ["check_extend", "check_sink", "event_shapes", "missing"]


def check_extend(extend: Any, hierarchy: Hierarchy) -> MultilevelData | None:
    """Refuse runs that cannot be of this hierarchy; None stays None.

    Raises:
        TypeError: If they are no `MultilevelData`.
        ValueError: If levels, parameters, prior or costs differ.
    """
    if extend is None:
        return None
    like = "as the hierarchy"
    data = check_joinable(extend, hierarchy.num_levels, hierarchy.prior, name="extend", like=like)
    costs = [cost for cost in hierarchy.costs if cost is not None]
    known = costs if len(costs) == hierarchy.num_levels else None
    check_costs_alike(data, known, name="extend", like=like)
    return data


def missing(extend: MultilevelData | None, counts: Sequence[int], seed: int) -> tuple[int, ...]:
    """How many rows of each level are to be run, so that there are `counts` with those there are.

    Raises:
        ValueError: If rows of this seed are among those there are, and would be there twice.
    """
    if extend is None:
        return tuple(counts)
    rows = tuple(max(n - have, 0) for n, have in zip(counts, extend.n, strict=True))
    if any(rows) and seed in extend._facts["seeds"]:
        raise ValueError(
            f"seed must be another than that of the runs in extend; got {seed}, whose rows would "
            "be there twice. Pass another seed, or extend=None to run the campaign of that seed "
            "with a larger n."
        )
    return rows


def event_shapes(extend: MultilevelData | None) -> tuple[tuple[int, ...], ...] | None:
    """Shape of one output of each level, where there are runs that say it."""
    if extend is None:
        return None
    return tuple(extend.event_shape(level) for level in range(extend.num_levels))


def check_sink(extend: MultilevelData | None, sink: Sink) -> None:
    """Refuse runs whose outputs have another shape than the rows of a store.

    Raises:
        ValueError: If they have.
    """
    if extend is not None:
        for level in range(extend.num_levels):
            shape = sink.event_shape(level)
            check_shape(extend, level, shape, name="extend", like="as the store")
