"""Runs made elsewhere: a table of what to run, and results that come back by run_id."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from mlsbi._checks import check_option, check_type
from mlsbi._data_checks import warn_dropped
from mlsbi._folders import as_folder
from mlsbi.data import MultilevelData, from_store
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._chunks import CHUNK_ROWS, Draws
from mlsbi.simulate._imported import Wanted, blocks, check_plan, outcomes_from_results
from mlsbi.simulate._manifest import manifest
from mlsbi.simulate._memory import MemorySink
from mlsbi.simulate._results import run_name
from mlsbi.simulate._rows import DONE, FAILED
from mlsbi.simulate._run import open_store
from mlsbi.simulate._store import CampaignStore, read_store
from mlsbi.simulate._store_manifest import check_manifest
from mlsbi.simulate._tables_io import as_table, write_table

__all__ = ["export_runs", "import_runs", "outcomes_from_results", "write_runs"]


def export_runs(
    hierarchy: Hierarchy,
    n: Sequence[int],
    path: str | os.PathLike[str],
    *,
    seed: int,
    store: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write what `mlsbi.simulate` would run as a table, to be run elsewhere.

    One line a run of a simulator: `run_id`, `level`, `row`, `simulator` (the level whose simulator
    is to be run), `theta_0`, `theta_1`, ..., `seed`. Both members of a pair have the same
    parameters and seed. Numbers are written so that they read back exactly. `mlsbi.import_runs`
    takes the results.

    Args:
        hierarchy: The simulators, which are not called, their prior and the default noise.
        n: Number of runs (level 0) and of coupled pairs (levels above), one entry a level.
        path: The file to make, `.csv` or `.parquet` (which needs pyarrow).
        seed: As in `mlsbi.simulate`.
        store: A campaign's store: rows that are finished there are left out.
        overwrite: Whether a file that exists may be replaced.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `path` exists or has another suffix, the hierarchy has a noise of its own,
            `n` or `seed` is out of range, or the store belongs to another campaign.
        ImportError: If pyarrow is needed and missing.
    """
    counts, seed = check_plan(hierarchy, n, seed)
    target = as_table(path, name="path")
    check_type(overwrite, bool, name="overwrite", remedy="Pass True or False.")
    if target.is_dir() or (target.exists() and not overwrite):
        raise ValueError(
            f"path {str(target)!r} exists already. Choose another, or pass overwrite=True if it is "
            "a file."
        )
    wanted = None if store is None else _unfinished(as_folder(store), hierarchy, counts, seed)
    write_table(target, write_runs(hierarchy, counts, seed, wanted))


def _unfinished(path: Path, hierarchy: Hierarchy, counts: Sequence[int], seed: int) -> Wanted:
    """Rows that a store has not; all of them if there is no store yet."""
    masks = [np.ones(count, dtype=bool) for count in counts]
    if path.exists():
        reader = read_store(path)
        now = manifest(hierarchy, seed)
        check_manifest(reader.manifest, now, store=str(path), allow_changes=True)
        for level, mask in enumerate(masks):
            status = reader.status(level)[: len(mask)]
            mask[: len(status)] = status != DONE
    return lambda level: masks[level]


def write_runs(
    hierarchy: Hierarchy, counts: Sequence[int], seed: int, wanted: Wanted | None = None
) -> Iterator[dict[str, list[Any]]]:
    """The lines of the table, block by block, as columns.

    Args:
        hierarchy: The hierarchy.
        counts: Rows of each level.
        seed: The campaign's seed.
        wanted: Of a level, which rows to write, a mask of shape `(n,)`; all if None.

    Returns:
        Pieces of the table; the first may be empty, so that there is one.
    """
    draws = Draws(hierarchy, seed)
    names = [f"theta_{i}" for i in range(hierarchy.prior.dim)]
    yield {name: [] for name in ("run_id", "level", "row", "simulator", *names, "seed")}
    for level, block, count in blocks(counts):
        start = block * CHUNK_ROWS
        offsets = np.arange(count)
        if wanted is not None:
            offsets = np.flatnonzero(np.asarray(wanted(level))[start : start + count])
        theta, u = draws.block(level, block)
        members = range(max(level - 1, 0), level + 1)
        each = np.repeat(offsets, len(members))
        rows = (start + each).tolist()
        simulators = list(members) * len(offsets)
        pairs = zip(rows, simulators, strict=True)
        # tolist makes Python numbers, float64 of the float32: their repr reads back exactly
        columns = theta.numpy()[each].T.tolist()
        yield {
            "run_id": [run_name(level, row, simulator) for row, simulator in pairs],
            "level": [level] * len(rows),
            "row": rows,
            "simulator": simulators,
            **dict(zip(names, columns, strict=True)),
            "seed": u.numpy()[each].tolist(),
        }


def import_runs(
    hierarchy: Hierarchy,
    n: Sequence[int],
    results: Any,
    *,
    seed: int,
    store: str | os.PathLike[str] | None = None,
    on_failure: str = "raise",
    allow_missing: bool = False,
) -> MultilevelData:
    """Take the results of the runs that `mlsbi.export_runs` wrote.

    Args:
        hierarchy: As in `mlsbi.export_runs`.
        n: The same.
        results: A table, `.csv` or `.parquet`, with the columns `run_id` and `x_0`, `x_1`, ...
            (empty at the end of the line where a level has fewer than another). `theta_0`, ... and
            `seed` are compared with the plan if they are there; other columns are ignored. Or a
            folder with one file a run, `l0-r0-s0.npy` or text of any other suffix. Or a mapping
            from run_id to an array of any shape; or a function of run_id that returns one, None if
            it is missing.
        seed: The same as in `mlsbi.export_runs`.
        store: A campaign's store to keep the rows in: results may come in portions, and
            `mlsbi.simulate` can run the rest. Rows that are finished there stay as they are.
        on_failure: What is done about runs with NaN, infinite or no values: `"raise"`, or `"drop"`
            to leave them out (both members of a pair), with a warning.
        allow_missing: Whether runs may be missing; rows with a missing run are left out.

    Returns:
        The runs, those of `mlsbi.simulate` bit for bit if the results are the simulators'.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If results are missing, failed, are not numbers, are not in the plan, or differ
            from the plan or among themselves; the message names the runs.
        ImportError: If pyarrow is needed and missing.
    """
    counts, seed = check_plan(hierarchy, n, seed)
    option = check_option(on_failure, name="on_failure", allowed=("raise", "drop"))
    path = None if store is None else as_folder(store)
    with _sink(path, hierarchy, counts, seed) as sink:
        outcomes = outcomes_from_results(
            hierarchy,
            counts,
            results,
            seed,
            allow_missing=allow_missing,
            wanted=_not_done(sink, counts),
        )
        failed = []
        for outcome in outcomes:
            level, rows = outcome.task.level, outcome.task.rows
            failed += [
                run_name(level, int(rows[i]), f.simulator) for i, f in outcome.faults.items()
            ]
            if option == "drop" or not outcome.faults:
                sink.add(outcome)
        if failed and option == "raise":
            raise ValueError(
                f"results must be finite (as float32); {len(failed)} runs have NaN, infinite or no "
                f"values, the first {failed[:5]}. Correct them, or pass on_failure='drop' to leave "
                "them out."
            )
        _check_some(sink, counts)
        dropped = [int((sink.status(i)[:c] == FAILED).sum()) for i, c in enumerate(counts)]
    warn_dropped(dropped, counts)
    if isinstance(sink, MemorySink):
        return sink.data(hierarchy, seed)
    return from_store(read_store(sink.path), prior=hierarchy.prior, n=counts)


def _sink(
    path: Path | None, hierarchy: Hierarchy, counts: Sequence[int], seed: int
) -> AbstractContextManager[MemorySink | CampaignStore]:
    if path is None:
        return nullcontext(MemorySink(hierarchy, counts))
    return open_store(path, hierarchy, counts, seed)


def _not_done(sink: MemorySink | CampaignStore, counts: Sequence[int]) -> Wanted:
    before = [sink.status(level)[:count] != DONE for level, count in enumerate(counts)]
    return lambda level: before[level]


def _check_some(sink: MemorySink | CampaignStore, counts: Sequence[int]) -> None:
    for level, count in enumerate(counts):
        if not bool((sink.status(level)[:count] == DONE).any()):
            raise ValueError(
                f"results must hold at least 1 finished row of each level; level {level} has none. "
                "Run some of its rows."
            )
