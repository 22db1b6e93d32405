"""Which rows to run next, and how many together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlsbi.simulate._chunks import CHUNK_ROWS
from mlsbi.simulate._rows import PENDING, Outcome, Task

__all__ = ["Plan"]

_TASK_SECONDS = 1.0  # what a lost worker costs, and long beside what handing out a task takes
_TASKS_A_SECOND = 100  # as many as a coordinator takes in with ease, however many its workers


class Plan:
    """Hands out pending rows, each once, as tasks of about a second.

    The first task of each level is one call, coarsest level first: a broken simulator shows at
    once, and how long a run takes is known early. After that the finest level goes first, so that
    the longest runs are not left to the end. Neither order nor sizes change any result.
    """

    def __init__(
        self,
        status: Sequence[np.ndarray],
        counts: Sequence[int],
        units: Sequence[int],
        *,
        slots: int,
        taken: Sequence[Task] = (),
    ) -> None:
        """Plan the rows that are pending now.

        Args:
            status: Of each level's rows; read when a block's turn comes.
            counts: Rows of each level that are wanted.
            units: Rows of one call of each level.
            slots: Number of workers.
            taken: Tasks that were handed out before, and are not to be again.
        """
        self.slots = slots
        of_levels = zip(status, counts, units, strict=True)
        self._levels = [
            _Level(level, *of_level, [task.rows for task in taken if task.level == level])
            for level, of_level in enumerate(of_levels)
        ]

    def next(self) -> Task | None:
        """The next task; None when all rows were handed out."""
        probes = [level for level in self._levels if level.left and not level.started]
        others = [level for level in reversed(self._levels) if level.left]
        for level in (*probes, *others):
            return level.take(self.slots)
        return None

    def seconds(self, task: Task) -> float:
        """How long a task may take; infinity where nothing is known yet."""
        return self._levels[task.level].row_seconds * len(task)

    def learn(self, outcome: Outcome) -> None:
        """Take note of how long rows took."""
        self._levels[outcome.task.level].learn(outcome)


class _Level:
    """The pending rows of one level."""

    def __init__(
        self, level: int, status: np.ndarray, count: int, unit: int, taken: list[np.ndarray]
    ) -> None:
        self._level, self._status, self._count, self._unit = level, status, count, unit
        self._taken = set(np.concatenate(taken).tolist()) if taken else set()
        self._next_block = 0
        self._rows = np.empty(0, dtype=np.int64)
        self.left = int((status[:count] == PENDING).sum()) - len(self._taken)
        self.started = False
        self.row_seconds = float("inf")

    def take(self, slots: int) -> Task:
        while len(self._rows) == 0:
            first = self._next_block * CHUNK_ROWS
            block = self._status[first : min(first + CHUNK_ROWS, self._count)]
            rows = first + np.flatnonzero(block == PENDING)
            self._rows = rows[~np.isin(rows, list(self._taken))] if self._taken else rows
            self._next_block += 1
        size, end = len(self._rows), self._call(0) + self._calls(slots)
        if self._call(-1) >= end:
            size = int(np.searchsorted((self._rows % CHUNK_ROWS) // self._unit, end))
        rows, self._rows = self._rows[:size], self._rows[size:]
        self.left -= size
        self.started = True
        return Task(self._level, rows)

    def _call(self, position: int) -> int:
        """The number, within its block, of the call that a row belongs to."""
        return int(self._rows[position]) % CHUNK_ROWS // self._unit

    def _calls(self, slots: int) -> int:
        """Calls of a task: a second's worth, fewer towards the end to keep all workers busy."""
        seconds = max(_TASK_SECONDS, slots / _TASKS_A_SECOND)
        rows = min(seconds / max(self.row_seconds, 1e-9), self.left / (2 * slots))
        return max(int(rows) // self._unit, 1)

    def learn(self, outcome: Outcome) -> None:
        finished = int(outcome.ok.sum())
        if finished:
            mean = outcome.run_seconds / finished
            old = self.row_seconds
            self.row_seconds = mean if old == float("inf") else 0.7 * old + 0.3 * mean
