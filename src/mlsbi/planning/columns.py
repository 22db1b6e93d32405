"""Columns: every level run once on the same theta and noise, what a pilot is made of.

A level's column is the campaign of that level alone, with one seed for all levels: a hierarchy of
one level draws from the same stream whichever level it is, so that theta and u agree, and stores,
executors, timeouts and failures work as in `mlsbi.simulate`. Planted among the rows are twins
(the theta of the row before, other noise), which tell noise from the response to theta, and copies
(theta and noise of the row before), which tell whether a level is a function of the two.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import check_count, check_level, check_option, check_seed, check_type
from mlsbi._folders import as_folder
from mlsbi._random import derive_seed
from mlsbi._subset import check_kept
from mlsbi.data import MultilevelData
from mlsbi.failures import Failure
from mlsbi.hierarchy import Hierarchy
from mlsbi.planning._column_draws import (
    ColumnLevel,
    PilotFailure,
    Rows,
    column_theta,
    row_failures,
    rows_of,
)
from mlsbi.simulate import simulate

__all__ = ["Columns", "run_columns"]

_ALL_FAILED = "all {rows} runs of level 0 failed"  # how `simulate` begins that message


@dataclass(frozen=True, eq=False)
class Columns:
    """Every level run once on the same (theta, u): column i is row i of all levels.

    Attributes:
        theta: Parameters, shape `(m, d)`, float32.
        x: Outputs of each level, shape `(m, *event_l)`, float32; rows that failed are NaN.
        ok: Whether a run gave finite numbers of the usual shape, bool, shape `(L + 1, m)`.
        twins: Pairs of columns with the same theta and independent noise, int64, shape `(r, 2)`.
        copies: Of each level, two tensors of shape `(c, *event_l)`, c at most 2: runs with the same
            theta and the same noise. A function of (theta, u) makes them equal up to rounding.
        seconds: Mean wall-clock seconds of one run of each level, where known.
        seconds_sd: Their standard deviation over runs, where known; not within a single batch.
        failures: Why runs failed; `failure.reproduce(hierarchy)` runs one again.
    """

    theta: Tensor
    x: tuple[Tensor, ...]
    ok: Tensor
    twins: Tensor
    copies: tuple[tuple[Tensor, Tensor], ...]
    seconds: tuple[float | None, ...]
    seconds_sd: tuple[float | None, ...]
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        """Number of columns m."""
        return len(self.theta)

    @property
    def num_levels(self) -> int:
        """Number of levels, L + 1."""
        return len(self.x)

    @property
    def event_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of one output of each level."""
        return tuple(tuple(x.shape[1:]) for x in self.x)

    def pairs(self, level: int, coarse: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Columns in which two levels are both ok.

        Args:
            level: The finer level.
            coarse: The coarser one; by default the level below.

        Returns:
            theta `(n, d)`, x of `coarse` `(n, *event)`, x of `level` `(n, *event)`.

        Raises:
            TypeError: If a level is not an integer.
            ValueError: If there is no such level, `coarse` is not below `level`, or no column has
                both.
        """
        fine = check_level(level, num_levels=self.num_levels)
        if fine == 0:
            raise ValueError("level must be at least 1 for pairs; got 0. Nothing is below level 0.")
        low = check_level(fine - 1 if coarse is None else coarse, num_levels=self.num_levels)
        if low >= fine:
            raise ValueError(f"coarse must be below level {fine}; got {low}. Pass a lower level.")
        both = self.ok[fine] & self.ok[low]
        if not bool(both.any()):
            raise ValueError(
                f"no column has a run of both level {low} and level {fine}: {_counts(self.ok)}. "
                "Correct the simulators, or run a larger pilot."
            )
        return self.theta[both], self.x[low][both], self.x[fine][both]

    def data(self, hierarchy: Hierarchy, costs: Sequence[float] | None = None) -> MultilevelData:
        """The columns as runs and coupled pairs, for estimates and fits.

        Levels share their theta and noise here, which runs of `mlsbi.simulate` do not.

        Args:
            hierarchy: The hierarchy of these levels.
            costs: Cost of one run of each level, or None where not known.

        Returns:
            Level 0: its ok rows. Level l: rows in which levels l-1 and l are both ok.

        Raises:
            ValueError: If a level has no such row.
        """
        if not bool(self.ok[0].any()):
            raise ValueError("no run of level 0 gave a result. Correct its simulator.")
        levels: list[tuple[Tensor, Tensor | None, Tensor]] = [
            (self.theta[self.ok[0]], None, self.x[0][self.ok[0]])
        ]
        levels += [self.pairs(level) for level in range(1, self.num_levels)]
        return MultilevelData(
            hierarchy.prior,
            levels,
            costs=None if costs is None else tuple(float(cost) for cost in costs),
            dropped=tuple(len(self) - len(level[0]) for level in levels),
            failures=row_failures(self.failures, self.num_levels),
            seconds=self.seconds,
            seconds_sd=self.seconds_sd,
        )

    def subset(self, levels: Sequence[int]) -> Columns:
        """The columns of some levels, which count from 0 anew.

        Args:
            levels: Numbers of the levels to keep, ascending.

        Returns:
            The columns of `hierarchy.subset(levels)`.

        Raises:
            TypeError: If `levels` is no sequence of integers.
            ValueError: If it is empty, not ascending, or there is no such level.
        """
        kept = check_kept(levels, num_levels=self.num_levels)
        place = {level: i for i, level in enumerate(kept)}
        return Columns(
            self.theta,
            tuple(self.x[level] for level in kept),
            self.ok[kept],
            self.twins,
            tuple(self.copies[level] for level in kept),
            tuple(self.seconds[level] for level in kept),
            tuple(self.seconds_sd[level] for level in kept),
            tuple(
                replace(failure, level=place[failure.level], simulator=place[failure.level])
                for failure in self.failures
                if failure.level in place
            ),
        )


def _counts(ok: Tensor) -> str:
    """How many runs of each level are ok."""
    counts = enumerate(ok.sum(1).tolist())
    return ", ".join(f"level {level} has {count} of {ok.shape[1]}" for level, count in counts)


def run_columns(
    hierarchy: Hierarchy,
    n: int,
    *,
    seed: int,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
    on_failure: str = "drop",
    timeout: float | None = None,
    retries: int = 2,
    isolate: bool | None = None,
    allow_changes: bool = False,
    progress: bool = False,
) -> Columns:
    """Run every level on the same n draws of theta and noise.

    A larger n keeps the columns of a smaller one.

    Args:
        hierarchy: The levels.
        n: Number of columns, at least 8; n + 2 runs of each level are made.
        seed: The columns depend on nothing else.
        store: A folder, where each level's runs are a campaign's store of their own; the same call
            continues where it stopped.
        executor: As in `mlsbi.simulate`.
        on_failure: `"drop"`: runs that fail are noted, and are NaN. `"retry"`: they are run again
            up to `retries` times before. `"raise"`: the first one ends the pilot.
        timeout: Seconds that one run may take (a batched simulator: a batch).
        retries: How often a run is made again whose process died, and see `on_failure`.
        isolate: Whether simulators run in processes of their own, as in `mlsbi.simulate`.
        allow_changes: As in `mlsbi.simulate`: go on although a simulator's code changed.
        progress: Whether to show progress on stderr, a level at a time.

    Returns:
        The columns.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, or a store belongs to another pilot.
        RuntimeError: If all runs of a level failed, or one with `on_failure="raise"`.
    """
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    count = check_count(n, name="n", minimum=8)
    own_seed = derive_seed(check_seed(seed), "pilot")
    check_option(on_failure, name="on_failure", allowed=("raise", "drop", "retry"))
    folder = None if store is None else as_folder(store)
    rows = rows_of(count)

    def run(level: int) -> MultilevelData:
        return simulate(
            ColumnLevel(hierarchy, level),
            [rows.count],
            seed=own_seed,
            store=None if folder is None else folder / f"level-{level}.zarr",
            executor=executor,
            on_failure=on_failure,
            timeout=timeout,
            retries=retries,
            max_failed=1.0,
            isolate=isolate,
            allow_changes=allow_changes,
            progress=progress,
        )

    runs = [_run_level(run, level, rows.count) for level in range(hierarchy.num_levels)]
    theta = column_theta(hierarchy, rows.count, own_seed)
    return _columns(theta, runs, rows)


def _run_level(run: Callable[[int], MultilevelData], level: int, rows: int) -> MultilevelData:
    """Run a level; messages name it, rather than level 0 of the campaign of this level alone."""
    try:
        with warnings.catch_warnings():  # the pilot's table says how many failed
            warnings.filterwarnings("ignore", message="left out runs that failed")
            return run(level)
    except RuntimeError as error:
        if str(error).startswith(_ALL_FAILED.format(rows=rows)):
            raise RuntimeError(
                f"all {rows} runs of level {level} failed, so that the pilot knows nothing of it. "
                "Pass on_failure='raise' to see the first error, and correct the simulator. A "
                f"store keeps the other levels' runs; remove its folder level-{level}.zarr then."
            ) from error
        told = str(error).partition("\nTo run it again")[0]  # that hint is for campaigns
        raise RuntimeError(
            f"the pilot stopped at level {level}, whose runs are a campaign of their own in which "
            f"it is level 0: {told}"
        ) from (error.__cause__ or error)


def _columns(theta: Tensor, runs: Sequence[MultilevelData], rows: Rows) -> Columns:
    done = torch.ones(len(runs), rows.count, dtype=torch.bool)
    failures: list[Failure] = []
    for level, data in enumerate(runs):
        for failure in data.failures:
            done[level, failure.row] = False
            failures.append(PilotFailure(**(vars(failure) | {"level": level, "simulator": level})))
    full = [_spread(data.x(0), own) for data, own in zip(runs, done, strict=True)]
    return Columns(
        theta[rows.columns],
        tuple(x[rows.columns] for x in full),
        done[:, rows.columns],
        rows.twins,
        tuple(_copies(x, own, rows) for x, own in zip(full, done, strict=True)),
        tuple((data.seconds or [None])[0] for data in runs),
        tuple((data.seconds_sd or [None])[0] or None for data in runs),  # 0: of a single batch,
        tuple(failures),
    )


def _spread(x: Tensor, done: Tensor) -> Tensor:
    """Finished rows in their places, NaN in the others."""
    full = torch.full((len(done), *x.shape[1:]), float("nan"))
    full[done] = x
    return full


def _copies(x: Tensor, done: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    known = rows.copies[done[rows.copies].all(1)]
    return x[known[:, 0]], x[known[:, 1]]
