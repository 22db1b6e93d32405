"""The loop of a campaign: hand out tasks, take outcomes in, decide what a failure means."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate import _messages as messages
from mlsbi.simulate._event_shapes import EventShapes
from mlsbi.simulate._plan import Plan
from mlsbi.simulate._pool import Pool
from mlsbi.simulate._rows import FAILED, Outcome, Task
from mlsbi.simulate._settle import unit_rows
from mlsbi.simulate._status_line import Report

__all__ = ["Campaign", "Policy", "Sink"]

_LOGGER = logging.getLogger("mlsbi")
_PATIENCE = 0.5  # seconds after which finished rows are written although no more came


class Sink(Protocol):
    """Where outcomes go."""

    def status(self, level: int) -> np.ndarray:
        """Of each row: PENDING, DONE or FAILED."""
        ...

    def event_shape(self, level: int) -> tuple[int, ...] | None:
        """Shape of one output of a level's own simulator, None while not known."""
        ...

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, perhaps not at once."""
        ...

    def flush(self) -> None:
        """Keep everything that was added, now."""
        ...

    def reopen(self, level: int, rows: np.ndarray) -> None:
        """Make failed rows pending again."""
        ...

    def reset(self, level: int) -> None:
        """Forget all rows of a level, and which shape they had; `status` stays the same array."""
        ...


@dataclass(frozen=True)
class Policy:
    """What failures mean for the campaign.

    Attributes:
        stop: Whether the first failed row ends it.
        max_failed: Share of a level's rows that may fail.
        retries: How often a task is handed out again whose worker was lost.
        seed: The campaign's seed, for messages.
        kept: Whether finished rows are in a store, for messages.
    """

    stop: bool
    max_failed: float
    retries: int
    seed: int
    kept: bool


class Campaign:
    """Runs the pending rows of a sink to their end."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        counts: Sequence[int],
        sink: Sink,
        pool: Pool,
        policy: Policy,
        report: Report,
        shapes: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        """Put the parts together; `run` does the work.

        Args:
            hierarchy: The simulators, prior and noise.
            counts: Rows of each level that are wanted; 0 is a level with nothing to do.
            sink: Where outcomes go.
            pool: What runs tasks.
            policy: What failures mean.
            report: Where progress goes.
            shapes: Event shape that each level must have, where other runs say it.
        """
        self._hierarchy, self._counts = hierarchy, counts
        self._sink, self._pool, self._policy, self._report = sink, pool, policy, report
        self._flying: dict[Future[list[Outcome]], Task] = {}
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()  # single rows, run when all else is done
        self._lost: dict[tuple[int, bytes], int] = {}
        self._shapes = EventShapes(sink, counts, shapes)
        self._start()

    def _start(self, taken: Sequence[Task] = ()) -> None:
        """Plan what is pending, and count what failed, as the sink has it now."""
        levels = range(len(self._counts))
        status = [self._sink.status(level) for level in levels]
        units = [unit_rows(self._hierarchy.levels, level) for level in levels]
        self._plan = Plan(status, self._counts, units, slots=self._pool.slots, taken=taken)
        self._failed = [int((status[i][: self._counts[i]] == FAILED).sum()) for i in levels]

    def run(self) -> None:
        """Run all rows. Whatever ends it, outcomes that arrived are kept.

        Raises:
            RuntimeError: If rows failed and the policy says so, or workers are lost for good.
            ValueError: If they failed as their outputs have not the event shape they must have.
        """
        flying = self._flying
        try:
            self._check_failed()
            while self._submit():
                done, _ = wait(flying, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
                if not done:
                    self._sink.flush()
                for future in done:
                    self._take(future, flying.pop(future))
            self._sink.flush()
        except messages.RowsFailedError as error:
            try:
                if self._policy.kept:
                    self._finish(error)
            finally:
                self._rescue()
            contradicted = self._shapes.contradicted()
            if contradicted is not None:
                raise messages.other_shape(*contradicted, self._policy) from error
            raise
        except BaseException:
            self._rescue()
            raise

    def _submit(self) -> bool:
        """Hand out tasks while there are any and the pool has room; False at the end."""
        self._plan.slots = self._pool.slots
        while len(self._flying) < self._pool.in_flight:
            task = self._next()
            if task is None:
                break
            if self._pool.in_flight == 1 and self._plan.seconds(task) > _PATIENCE:
                self._sink.flush()  # nothing is written while a task runs in this process
            self._flying[self._pool.submit(task)] = task
        return bool(self._flying)

    def _next(self) -> Task | None:
        if self._again:
            return self._again.popleft()
        task = self._plan.next()
        return self._suspects.popleft() if task is None and self._suspects else task

    def _take(self, future: Future[list[Outcome]], task: Task) -> None:
        try:
            outcomes = future.result()
        except Exception as error:
            self._worker_lost(task, error)
        else:
            self._vote(task, outcomes)
            for outcome in sorted(outcomes, key=lambda outcome: len(outcome.faults)):
                self._accept(outcome)  # failures last: they may end the campaign

    def _vote(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        """If what a simulator's first runs returned is not what most return, run those again.

        All rows of the levels that have its outputs: there are few, or it would not be outvoted.
        """
        for outcome in outcomes:
            self._shapes.see(outcome)
        simulator = None if self._policy.stop else self._shapes.outvoted()
        if simulator is not None:
            for level in range(simulator, min(simulator + 2, len(self._counts))):
                self._sink.reset(level)
            self._start(taken=[task, *self._flying.values(), *self._again, *self._suspects])

    def _accept(self, outcome: Outcome) -> None:
        odd = self._shapes.odd(outcome)
        if odd is not None:
            outcome = self._shapes.refuse(outcome, odd)
        level, failed = outcome.task.level, len(outcome.faults)
        self._sink.add(outcome)
        self._plan.learn(outcome)
        self._report.update(level, int(outcome.ok.sum()), failed, outcome.run_seconds)
        if not failed:
            return
        self._failed[level] += failed
        if self._policy.stop:
            raise messages.row_failed(outcome, self._hierarchy, self._policy)
        self._check_failed(outcome)

    def _check_failed(self, outcome: Outcome | None = None) -> None:
        """End the campaign as soon as too many rows failed, not after days."""
        for level, (failed, count) in enumerate(zip(self._failed, self._counts, strict=True)):
            if failed > self._policy.max_failed * count:
                raise messages.too_many(level, failed, count, outcome, self._policy)

    def _worker_lost(self, task: Task, error: Exception) -> None:
        """A worker did not return: hand its task out again, in the end row by row.

        Rows are blamed last of all, as workers are lost for many reasons: a cluster that takes
        machines away now and then must not cost a row.
        """
        if isinstance(error, BrokenExecutor):
            raise messages.executor_broken(error, self._policy) from error
        key = (task.level, task.rows.tobytes())
        self._lost[key] = lost = self._lost.get(key, 0) + 1
        if lost <= self._policy.retries:
            (self._again if len(task) > 1 else self._suspects).append(task)
        elif type(error).__name__ != "KilledWorker":  # Dask's; anything else is not the rows' doing
            raise messages.worker_failed(task, error, self._policy) from error
        elif len(task) > 1:
            self._suspects.extend(Task(task.level, row) for row in task.rows[:, None])
        else:
            self._accept(messages.killed(task, error, self._hierarchy, self._policy.seed))

    def _finish(self, error: Exception) -> None:
        """Wait for runs that have begun: they may have taken days so far."""
        begun = {future for future in self._flying if not future.cancel()}
        if not all(future.done() for future in begun):
            _LOGGER.warning(
                "the campaign stops when the tasks that have begun (%d) are in the store; Ctrl-C "
                "stops it now. %s",
                len(begun),
                error,
            )
            wait(begun)

    def _rescue(self) -> None:
        """Keep outcomes that had arrived when something else ended the campaign."""
        try:
            for future in self._flying:
                if future.done() and not future.cancelled() and future.exception() is None:
                    for outcome in future.result():
                        self._shapes.see(outcome)
                        if self._shapes.odd(outcome) is None:
                            self._sink.add(outcome)
            self._sink.flush()
        except Exception:  # the error that ended the campaign is the one to show
            _LOGGER.exception("finished rows could not be kept")
