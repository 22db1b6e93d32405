"""Rows of a campaign: what is asked of a worker, what comes back, and why a row has no result."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["DONE", "FAILED", "PENDING", "Fault", "Outcome", "Task"]

PENDING, DONE, FAILED = 0, 1, 2
"""Status of a row, as it is stored."""


@dataclass(frozen=True)
class Task:
    """Rows of one level that a worker runs together.

    Attributes:
        level: Which level.
        rows: Row numbers within the level, ascending, int64, all of one block of draws.
    """

    level: int
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Fault:
    """Why a row has no result.

    Attributes:
        simulator: Level of the simulator that failed: the row's own level, or the one below it for
            the coarse member of a pair.
        kind: `"exception"`, `"non-finite"`, `"shape"`, `"timeout"` or `"died"`.
        message: What went wrong, with the end of a traceback or of a program's output.
        attempts: How often the row was run.
        cause: The exception itself, where the simulator ran in this process.
    """

    simulator: int
    kind: str
    message: str
    attempts: int = 1
    cause: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Outcome:
    """What running a task gave; m rows, of which k have a result.

    Attributes:
        task: The task.
        theta: Parameters, float32, shape `(m, d)`.
        row_seed: Each row's seed, int64, shape `(m,)`; None where the noise is the user's own.
        ok: Which rows have a result, shape `(m,)`.
        x: Outputs of the level, float32, shape `(k, *event)`, in the order of the rows; None if
            k is 0.
        x_coarse: Outputs of the level below, as `x`; None for level 0 and where k is 0.
        seconds: Wall-clock time of the level's run of each row, float32, shape `(m,)`; a batch's
            time is shared equally. NaN where not known.
        seconds_coarse: The same of the level below; None for level 0.
        faults: By position within the task, of every row that is not ok.
    """

    task: Task
    theta: np.ndarray
    row_seed: np.ndarray | None
    ok: np.ndarray
    x: np.ndarray | None
    x_coarse: np.ndarray | None
    seconds: np.ndarray
    seconds_coarse: np.ndarray | None
    faults: dict[int, Fault] = field(default_factory=dict)

    @property
    def run_seconds(self) -> float:
        """Wall-clock time of all runs that gave a result, both members."""
        total = float(self.seconds[self.ok].sum())
        if self.seconds_coarse is not None:
            total += float(self.seconds_coarse[self.ok].sum())
        return total
