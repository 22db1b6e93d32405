"""`simulate`: check the request, choose where rows go and what runs them, and run the campaign."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlsbi._checks import (
    check_count,
    check_counts,
    check_option,
    check_positive,
    check_seed,
    check_type,
)
from mlsbi._data_checks import warn_dropped
from mlsbi._folders import as_folder
from mlsbi._noise import equal_noise
from mlsbi._random import make_generator
from mlsbi.data import MultilevelData, from_store
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._campaign import Campaign, Policy, Sink
from mlsbi.simulate._extend import check_extend, check_sink, event_shapes, missing
from mlsbi.simulate._manifest import manifest
from mlsbi.simulate._memory import MemorySink
from mlsbi.simulate._pool import Pool, make_pool
from mlsbi.simulate._rows import FAILED, PENDING
from mlsbi.simulate._settle import Rules
from mlsbi.simulate._status_line import campaign_progress
from mlsbi.simulate._store import CampaignStore, read_store

__all__ = ["open_store", "simulate"]


def simulate(
    hierarchy: Hierarchy,
    n: Sequence[int],
    *,
    seed: int,
    store: str | os.PathLike[str] | None = None,
    extend: MultilevelData | None = None,
    executor: Any = None,
    on_failure: str = "raise",
    timeout: float | None = None,
    retries: int = 2,
    max_failed: float = 0.05,
    retry_failed: bool = False,
    isolate: bool | None = None,
    allow_changes: bool = False,
    progress: bool = False,
) -> MultilevelData:
    """Run a hierarchy: a campaign that can be stopped and continued at any time.

    Row i of level l has the same parameters and noise whatever `n` is, whoever runs it and however
    often the campaign died: they come from a stream of its own for each block of 1024 rows of a
    level. Simulators must depend on nothing but theta and u, and a batched one must treat its rows
    one by one, for the data to be the same bit for bit.

    Args:
        hierarchy: The simulators, coarsest first, their prior and noise.
        n: Number of runs (level 0) and of coupled pairs (levels above), one entry a level.
        seed: The data depend on nothing else.
        store: A folder, such as `"run.zarr"`. Finished rows are written there as they come, and
            the same call continues where it stopped. With a larger `n` it adds rows.
        extend: Runs that are there already, such as a pilot's. They count towards `n`, come first
            in what is returned, and stay where they are: only rows that are missing are run, from
            row 0 of this seed on, and `store` holds these alone. All of them are kept where there
            are more than `n`.
        executor: None to run in this process; a number of local processes, or
            `mlsbi.LocalProcesses`; any `concurrent.futures.Executor` (MPI, loky); a Dask client.
        on_failure: What it means that a run raises, returns NaN, infinite values or a wrong shape,
            takes longer than `timeout`, or takes its process down. `"raise"`: the campaign stops.
            `"drop"`: the row, both members of a pair, is left out, and noted in `data.failures`.
            `"retry"`: the row is run again up to `retries` times, then dropped.
        timeout: Seconds that one run of one simulator may take (a batched one: a batch). Runs in
            this process cannot be stopped, so with a timeout they get one of their own.
        retries: How often a row is run again whose process died, and a task whose worker was lost,
            whatever `on_failure` says: machines fail, too.
        max_failed: Share of a level's rows that may fail before that is an error; of those that are
            run.
        retry_failed: Run rows again that failed in an earlier call; needs `store`.
        isolate: Whether simulators run in processes of their own, which may hang or die without
            harm. By default they do with an executor, and with a timeout.
        allow_changes: Continue a store although a simulator's code changed since; rows that are
            there are kept as they are.
        progress: Whether to show progress on stderr: bars on a terminal or in a notebook,
            otherwise a line now and then.

    Returns:
        The runs, in the order of rows. With a store, large sets are read from it when used.

    Raises:
        TypeError: If an argument has the wrong type, or cannot be pickled where that is needed.
        ValueError: If `n` has not one entry a level, an entry is less than 1, an option or the
            seed is out of range, the noise is not drawn from its generator, the store belongs
            to another hierarchy, prior or seed, or the runs in `extend` do: their levels, prior,
            costs or event shapes differ, or rows of this seed are among them.
        RuntimeError: If a run failed (`on_failure="raise"`) or too many did; if another process
            works on the store, or it cannot be written. Finished rows stay in the store.
    """
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    counts = check_counts(n, hierarchy.num_levels)
    seed = check_seed(seed)
    rules = _check_rules(on_failure, timeout, retries)
    max_failed = _check_share(max_failed)
    _check_flags(retry_failed=retry_failed, allow_changes=allow_changes, progress=progress)
    if isolate is not None:
        check_type(isolate, bool, name="isolate", remedy="Pass True, False or None.")
    if retry_failed and store is None:
        raise ValueError(
            "retry_failed must be False without a store; got True. Failures of earlier calls are "
            "known from their store: pass store=."
        )
    earlier = check_extend(extend, hierarchy)
    counts = missing(earlier, counts, seed)
    shapes = event_shapes(earlier)
    _check_draws(hierarchy, seed)
    pool = make_pool(executor, hierarchy, seed, rules, isolate=isolate)
    policy = Policy(rules.stop, max_failed, rules.retries, seed, kept=store is not None)
    if store is None:
        memory = MemorySink(hierarchy, counts)
        _run(hierarchy, counts, memory, pool, policy, progress=progress, shapes=shapes)
        data = memory.data(hierarchy, seed, events=shapes)
    else:
        path = as_folder(store)
        with open_store(path, hierarchy, counts, seed, allow_changes=allow_changes) as sink:
            check_sink(earlier, sink)
            if retry_failed or rules.stop:
                _reopen(sink, counts)
            _run(hierarchy, counts, sink, pool, policy, progress=progress, shapes=shapes)
        data = from_store(read_store(path), prior=hierarchy.prior, n=counts, events=shapes)
    return data if earlier is None else earlier.joined(data)


def _run(
    hierarchy: Hierarchy,
    counts: Sequence[int],
    sink: Sink,
    pool: Pool,
    policy: Policy,
    *,
    progress: bool,
    shapes: Sequence[tuple[int, ...]] | None,
) -> None:
    """Run the campaign; `shapes` are those of the runs that it adds to, None if there are none."""
    status = [sink.status(level)[:count] for level, count in enumerate(counts)]
    done = [int((of_level != PENDING).sum()) for of_level in status]
    with (
        closing(pool),
        campaign_progress(counts, done, hierarchy.costs, enabled=progress) as report,
    ):
        Campaign(hierarchy, counts, sink, pool, policy, report, shapes).run()
    failed = tuple(int((of_level == FAILED).sum()) for of_level in status)
    for level, (number, count) in enumerate(zip(failed, counts, strict=True)):
        if shapes is None and 0 < number == count:
            raise RuntimeError(
                f"all {count} runs of level {level} failed, so that there are no data. Correct the "
                "simulator; with a store, pass retry_failed=True then."
            )
    if any(failed):
        warn_dropped(failed, counts)


def open_store(
    path: Path,
    hierarchy: Hierarchy,
    counts: Sequence[int],
    seed: int,
    *,
    allow_changes: bool = False,
) -> CampaignStore:
    """The store of a hierarchy's campaign, made or continued; see `CampaignStore.open`."""
    return CampaignStore.open(
        path,
        manifest=manifest(hierarchy, seed),
        n=counts,
        allow_changes=allow_changes,
        noise_seeds=hierarchy.row_seeds,
        theta_dim=hierarchy.prior.dim,
    )


def _reopen(sink: Sink, counts: Sequence[int]) -> None:
    for level, count in enumerate(counts):
        rows = np.flatnonzero(sink.status(level)[:count] == FAILED)
        if len(rows):
            sink.reopen(level, rows)


def _check_flags(**flags: Any) -> None:
    for name, value in flags.items():
        check_type(value, bool, name=name, remedy="Pass True or False.")


def _check_rules(on_failure: Any, timeout: Any, retries: Any) -> Rules:
    policies = ("raise", "drop", "retry")
    policy = check_option(on_failure, name="on_failure", allowed=policies)
    if timeout is not None:
        timeout = check_positive(timeout, name="timeout")
    retries = check_count(retries, name="retries", minimum=0)
    return Rules(timeout, retries, retry_faults=policy == "retry", stop=policy == "raise")


def _check_share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(
            f"max_failed must be a number; got {type(value).__name__}. Pass the share of rows that "
            "may fail, 0 to 1."
        )
    if not 0 <= value <= 1:
        raise ValueError(
            f"max_failed must lie in [0, 1]; got {value}. Pass the share of rows that may fail."
        )
    return float(value)


def _check_draws(hierarchy: Hierarchy, seed: int) -> None:
    """Refuse noise that ignores its generator: the same seed would not give the same data."""
    first, second = (hierarchy.draw(2, make_generator(seed, "check draws")) for _ in range(2))
    if not (torch.equal(first[0], second[0]) and equal_noise(first[1], second[1])):
        raise ValueError(
            "noise must depend on its generator only; two calls with the same seed differ. Pass "
            "generator=generator to every torch draw in noise(n, generator)."
        )
