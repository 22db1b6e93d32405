"""Finished rows of a campaign's store, as data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlsbi._data_checks import check_costs
from mlsbi._facts import Facts
from mlsbi._run_times import Seconds, StoredTimes
from mlsbi._runs import AnyRuns, StoredRuns, no_runs
from mlsbi._stored import Source, StoredFailures
from mlsbi.prior import Prior

if TYPE_CHECKING:
    from mlsbi.data import MultilevelData
    from mlsbi.simulate._store import StoreReader

__all__ = ["from_store", "open_runs"]

Shape = tuple[int, ...]


def from_store(
    store: StoreReader | str | os.PathLike[str],
    *,
    prior: Prior,
    n: Sequence[int] | None = None,
    eager_bytes: int = 64 * 2**20,
    events: Sequence[Shape] | None = None,
) -> MultilevelData:
    """Finished rows of a campaign's store; see `open_runs` for the arguments."""
    from mlsbi.data import MultilevelData  # it imports this module

    levels, facts = open_runs(store, prior=prior, n=n, eager_bytes=eager_bytes, events=events)
    return MultilevelData(prior, levels, **facts)


def open_runs(
    store: StoreReader | str | os.PathLike[str],
    *,
    prior: Prior,
    n: Sequence[int] | None,
    eager_bytes: int,
    events: Sequence[Shape] | None = None,
) -> tuple[list[AnyRuns], Facts]:
    """Finished rows of a campaign's store, in the order of the rows.

    Args:
        store: The store's reader, or its path.
        prior: The campaign's prior.
        n: How many rows of each level to look at; by default all that were asked for.
        eager_bytes: Sets of at most this size are read at once, and need the store no more.
        events: Shape of one output of each level, where a level may have no finished row; None if
            that is an error.

    Returns:
        Each level's runs, and what else is known. Failed rows count as dropped.

    Raises:
        ValueError: If a level has no finished rows, or the store is damaged.
    """
    from mlsbi.simulate._rows import DONE, FAILED  # it imports this module

    source = Source(store)
    reader = source.reader
    counts = tuple(reader.n if n is None else n)
    status = [np.asarray(reader.status(i))[:count] for i, count in enumerate(counts)]
    rows = [_numbers(own == DONE) for own in status]
    failed = {level: np.flatnonzero(own == FAILED) for level, own in enumerate(status)}
    levels: list[AnyRuns] = []
    for level, own in enumerate(rows):
        if len(own):
            levels.append(StoredRuns(source, level, own, prior))
        elif events is None:
            raise _none_finished(source, level, len(status[level]))
        else:
            levels.append(no_runs(prior.dim, events, level))
    dropped = tuple(len(own) for own in failed.values())
    times = StoredTimes(source, rows)
    facts = Facts(
        costs=_costs(reader.manifest),
        dropped=dropped,
        failures=StoredFailures(source, failed) if any(dropped) else (),
        seconds=Seconds(times, spread=False),
        seconds_sd=Seconds(times, spread=True),
        seeds=frozenset([int(reader.manifest["seed"])]),
    )
    if sum(runs.num_bytes for runs in levels) > eager_bytes:
        return levels, facts
    facts["failures"] = tuple(facts["failures"])
    facts["seconds"] = tuple(times.of(level).mean for level in range(len(rows)))
    facts["seconds_sd"] = tuple(times.of(level).sd for level in range(len(rows)))
    return [runs.loaded() for runs in levels], facts


def _numbers(done: np.ndarray) -> range | np.ndarray:
    count = int(done.sum())
    # A range takes no memory, where numbers of 10 million rows take 80 MB.
    return range(count) if bool(done[:count].all()) else np.flatnonzero(done)


def _none_finished(source: Source, level: int, asked: int) -> ValueError:
    where = f"store {str(source.path)!r}: level {level}"
    if asked == 0:
        return ValueError(
            f"{where} has no rows: none were to be run, as the runs passed to simulate(extend=...) "
            "were enough. Call simulate again with the same arguments, which returns both."
        )
    return ValueError(
        f"{where} has no finished rows yet, of {asked} asked for. Wait for the campaign, or call "
        "simulate again with the same arguments; if its rows failed, failures.jsonl in the store "
        "says why."
    )


def _costs(manifest: Mapping[str, Any]) -> tuple[float, ...] | None:
    costs = [level.get("cost") for level in manifest["levels"]]
    return None if None in costs else check_costs(costs, len(costs))
