"""The sink for a campaign without a store: arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mlsbi._run_times import RunTime
from mlsbi._runs import Runs, no_runs
from mlsbi.data import MultilevelData
from mlsbi.failures import Failure
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._rows import DONE, FAILED, PENDING, Fault, Outcome

__all__ = ["MemorySink"]


class MemorySink:
    """Keeps what is added; a `Sink`."""

    def __init__(self, hierarchy: Hierarchy, counts: Sequence[int]) -> None:
        """Room for `counts` rows of each level."""
        dim, seeds = hierarchy.prior.dim, hierarchy.row_seeds
        self._levels = [_LevelRows(count, dim, seeds=seeds) for count in counts]

    def status(self, level: int) -> np.ndarray:
        """Of each row, shape `(n,)`, uint8."""
        return self._levels[level].status

    def event_shape(self, level: int) -> tuple[int, ...] | None:
        """Shape of one output of a level's own simulator, None while not known."""
        return self._levels[level].event_shape("x")

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome."""
        self._levels[outcome.task.level].add(outcome)

    def flush(self) -> None:
        """Nothing is held back."""

    def reopen(self, level: int, rows: np.ndarray) -> None:
        """Make failed rows pending again."""
        self._levels[level].status[rows] = PENDING

    def reset(self, level: int) -> None:
        """Forget all rows of a level, and which shape they had."""
        self._levels[level].forget()

    def read(self, level: int, name: str) -> np.ndarray:
        """An array of all rows of a level that are done, in order."""
        own = self._levels[level]
        array, done = own.arrays[name], own.status == DONE
        return array if done.all() else array[done]

    def data(
        self,
        hierarchy: Hierarchy,
        seed: int,
        *,
        events: Sequence[tuple[int, ...]] | None = None,
    ) -> MultilevelData:
        """The finished rows, and why others are not.

        Args:
            hierarchy: The campaign's hierarchy.
            seed: Its seed.
            events: Shape of one output of each level, where a level may have no finished row.

        Returns:
            The data.
        """
        numbers = range(len(self._levels))
        levels = [self._runs(level, hierarchy.prior.dim, events) for level in numbers]
        failures = self.failures(seed)
        costs = tuple(cost for cost in hierarchy.costs if cost is not None)
        times = [RunTime.of(self.read(level, "seconds")) for level in numbers]
        return MultilevelData(
            hierarchy.prior,
            levels,
            costs=costs if len(costs) == len(levels) else None,
            dropped=tuple(sum(f.level == level for f in failures) for level in numbers),
            failures=failures,
            seconds=tuple(time.mean for time in times),
            seconds_sd=tuple(time.sd for time in times),
            seeds=frozenset([seed]),
        )

    def _runs(self, level: int, dim: int, events: Sequence[tuple[int, ...]] | None) -> Runs:
        done = bool((self._levels[level].status == DONE).any())
        if events is not None and not done:
            return no_runs(dim, events, level)
        coarse = torch.from_numpy(self.read(level, "x_coarse")) if level else None
        theta, x = (torch.from_numpy(self.read(level, name)) for name in ("theta", "x"))
        return Runs(theta, coarse, x)

    def failures(self, seed: int) -> tuple[Failure, ...]:
        """Rows that failed, in order."""
        found = []
        for level, own in enumerate(self._levels):
            seeds = own.arrays.get("row_seed")
            for row in np.flatnonzero(own.status == FAILED).tolist():
                values = vars(own.faults[row]) | {
                    "level": level,
                    "row": row,
                    "theta": tuple(own.arrays["theta"][row].tolist()),
                    "row_seed": None if seeds is None else int(seeds[row]),
                    "seed": seed,
                }
                found.append(Failure.from_dict(values))
        return tuple(found)

    def close(self) -> None:
        """Nothing is open."""


class _LevelRows:
    """Arrays of one level, each made when its shape is known."""

    def __init__(self, count: int, dim: int, *, seeds: bool) -> None:
        self._count = count
        self.status = np.zeros(count, dtype=np.uint8)
        self.faults: dict[int, Fault] = {}
        self.arrays = {
            "theta": np.empty((count, dim), dtype=np.float32),
            "seconds": np.full(count, np.nan, dtype=np.float32),
        }
        if seeds:
            self.arrays["row_seed"] = np.empty(count, dtype=np.int64)

    def forget(self) -> None:
        self.status[:] = PENDING
        self.faults.clear()
        for name in ("x", "x_coarse"):
            self.arrays.pop(name, None)

    def event_shape(self, name: str) -> tuple[int, ...] | None:
        return tuple(self.arrays[name].shape[1:]) if name in self.arrays else None

    def add(self, outcome: Outcome) -> None:
        rows = outcome.task.rows
        self._put("theta", rows, outcome.theta)
        self._put("seconds", rows, outcome.seconds)
        if outcome.row_seed is not None:
            self._put("row_seed", rows, outcome.row_seed)
        good = rows[outcome.ok]
        for name, values in (("x", outcome.x), ("x_coarse", outcome.x_coarse)):
            if values is not None:
                self._put(name, good, values)
        self.status[rows] = np.where(outcome.ok, DONE, FAILED)
        for position, fault in outcome.faults.items():
            self.faults[int(rows[position])] = fault

    def _put(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        if name not in self.arrays:
            self.arrays[name] = np.empty((self._count, *values.shape[1:]), dtype=values.dtype)
        if len(rows) == 0:
            return
        first, last = int(rows[0]), int(rows[-1]) + 1
        self.arrays[name][slice(first, last) if last - first == len(rows) else rows] = values
