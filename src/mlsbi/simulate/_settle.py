"""Run a task to its end: draw its rows, make the calls, retry, narrow a fault down to its row."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from mlsbi._noise import pick_rows
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate._calls import CallResult, Request, Runner, rows_index
from mlsbi.simulate._chunks import CHUNK_ROWS, Draws
from mlsbi.simulate._rows import Fault, Outcome, Task

__all__ = ["Rules", "run_task", "unit_rows"]

Shapes = tuple[tuple[int, ...], ...]

_PIECES = 32  # a batch that failed is cut into so many, and each of these into rows


@dataclass(frozen=True)
class Rules:
    """What to do about failures.

    Attributes:
        timeout: Seconds that one run of one simulator may take, or None.
        retries: How often a row is run again whose process died.
        retry_faults: Whether the simulator's own failures are retried as often.
        stop: Whether to return as soon as a row failed for good.
    """

    timeout: float | None = None
    retries: int = 2
    retry_faults: bool = False
    stop: bool = False

    def retries_of(self, fault: Fault) -> int:
        """How often a call with this fault is made again."""
        return self.retries if self.retry_faults or fault.kind == "died" else 0


def unit_rows(levels: Sequence[Level], level: int) -> int:
    """Rows of one call for a level: fixed, so that results do not depend on who ran what.

    Batched simulators get whole batches, cut from the blocks of draws. A pair with a member that
    runs row by row is run row by row: its expensive member decides how work is shared out.

    Args:
        levels: All levels.
        level: Which one.

    Returns:
        A number from 1 to `CHUNK_ROWS`.
    """
    members = levels[max(level - 1, 0) : level + 1]
    if not all(member.batched for member in members):
        return 1
    return min(CHUNK_ROWS, *(member.batch_size or CHUNK_ROWS for member in members), CHUNK_ROWS)


def run_task(
    hierarchy: Hierarchy, task: Task, draws: Draws, runner: Runner, rules: Rules
) -> list[Outcome]:
    """Run a task.

    Args:
        hierarchy: The hierarchy.
        task: Rows of one block.
        draws: Where their parameters and noise come from.
        runner: What makes the calls.
        rules: What to do about failures.

    Returns:
        The outcome, or several if outputs differ in shape: one for each shape. With `rules.stop`
        rows of the task that were not run are in none.
    """
    block, offsets = int(task.rows[0]) // CHUNK_ROWS, task.rows % CHUNK_ROWS
    full_theta, full_u = draws.block(task.level, block)
    index = rows_index(offsets)
    theta, u = full_theta[index], pick_rows(full_u, index)
    groups = _groups(offsets, unit_rows(hierarchy.levels, task.level))
    settled = _Settling(rules, width=len(task))
    request = Request(task.level, groups, theta, u, rules.timeout)
    while request.groups and not settled.stopped:
        with closing(runner.run(request)) as results:
            for number, result in results:
                settled.take(task.level, request.groups[number], result)
                if settled.stopped:
                    break
        request = replace(request, groups=settled.again())
    seeds = u.numpy() if hierarchy.row_seeds and isinstance(u, Tensor) else None
    return settled.outcomes(task, theta.numpy(), seeds)


def _groups(offsets: np.ndarray, unit: int) -> list[np.ndarray]:
    """Positions of the rows of each call."""
    positions = np.arange(len(offsets))
    if offsets[0] // unit == offsets[-1] // unit:
        return [positions]
    if unit == 1:
        return list(positions[:, None])
    return np.split(positions, np.flatnonzero(np.diff(offsets // unit)) + 1)


@dataclass
class _Settling:
    """What is known so far of a task's rows."""

    rules: Rules
    width: int
    done: dict[Shapes, list[tuple[np.ndarray, CallResult]]] = field(default_factory=dict)
    faults: dict[int, Fault] = field(default_factory=dict)
    stopped: bool = False
    _queue: deque[np.ndarray] = field(default_factory=deque)
    _attempts: dict[bytes, int] = field(default_factory=dict)

    def again(self) -> list[np.ndarray]:
        """Groups to run again; they are handed out once."""
        groups = list(self._queue)
        self._queue.clear()
        return groups

    def take(self, level: int, group: np.ndarray, result: CallResult) -> None:
        """Take the result of a call in."""
        if result.fault is not None:
            self._fault(group, result.fault)
            return
        bad = _non_finite(level, result)
        if bad:
            good = [i for i in range(len(group)) if i not in bad]
            group, result, whole = group[good], _rows_of(result, good), group
        else:
            whole = group
        if len(group):
            self.done.setdefault(_shapes(result), []).append((group, result))
        for i, fault in bad.items():
            self._fault(whole[i : i + 1], fault)

    def _fault(self, group: np.ndarray, fault: Fault) -> None:
        key = group.tobytes()
        attempts = self._attempts.get(key, 0) + 1
        self._attempts[key] = attempts
        if attempts <= self.rules.retries_of(fault):
            self._queue.append(group)
        elif len(group) > 1 and fault.kind != "shape":  # which row a shape comes from is unknown
            pieces = np.array_split(group, min(_PIECES, len(group)))
            self._queue.extend(pieces)
        else:
            for position in group.tolist():
                self.faults[position] = replace(fault, attempts=attempts)
            self.stopped = self.rules.stop

    def outcomes(self, task: Task, theta: np.ndarray, seeds: np.ndarray | None) -> list[Outcome]:
        """One for each shape of outputs; rows that failed are in the first."""
        parts = list(self.done.values()) or [[]]
        return [
            _outcome(task, theta, seeds, part, {} if i else self.faults)
            for i, part in enumerate(parts)
        ]


def _outcome(
    task: Task,
    theta: np.ndarray,
    seeds: np.ndarray | None,
    done: list[tuple[np.ndarray, CallResult]],
    faults: dict[int, Fault],
) -> Outcome:
    """Those rows of a task that are done or failed, in order; no others."""
    if len(done) == 1 and len(done[0][0]) == len(task):
        return _whole(task, theta, seeds, done[0][1])
    ok = np.zeros(len(task), dtype=bool)
    seconds = np.full(len(task), np.nan, dtype=np.float32)
    coarse = seconds.copy()
    for group, result in done:
        ok[group], seconds[group], coarse[group] = True, result.seconds, result.seconds_coarse
    run = ok.copy()
    run[list(faults)] = True
    number = np.cumsum(run) - 1
    return Outcome(
        task=task if run.all() else Task(task.level, task.rows[run]),
        theta=theta[run],
        row_seed=None if seeds is None else seeds[run],
        ok=ok[run],
        x=_joined(done, "x"),
        x_coarse=_joined(done, "x_coarse"),
        seconds=seconds[run],
        seconds_coarse=coarse[run] if task.level else None,
        faults={int(number[p]): fault for p, fault in sorted(faults.items())},
    )


def _whole(task: Task, theta: np.ndarray, seeds: np.ndarray | None, result: CallResult) -> Outcome:
    """All rows of a task, done by one call: what a cheap batched level gives each time."""
    seconds = np.full(len(task), result.seconds, dtype=np.float32)
    coarse = np.full(len(task), result.seconds_coarse, dtype=np.float32) if task.level else None
    ok = np.ones(len(task), dtype=bool)
    return Outcome(task, theta, seeds, ok, result.x, result.x_coarse, seconds, coarse)


def _joined(done: list[tuple[np.ndarray, CallResult]], name: str) -> np.ndarray | None:
    parts = [getattr(result, name) for _, result in done]
    if not parts or parts[0] is None:
        return None
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([group for group, _ in done]))
    return np.concatenate(parts)[order]


def _shapes(result: CallResult) -> Shapes:
    """Shapes of one row of the members."""
    return tuple(a.shape[1:] for a in (result.x_coarse, result.x) if a is not None)


def _non_finite(level: int, result: CallResult) -> dict[int, Fault]:
    """Rows of a call with NaN or infinite values, and which member gave them."""
    found: dict[int, Fault] = {}
    for simulator, x in ((level - 1, result.x_coarse), (level, result.x)):
        if x is None or np.isfinite(x).all():
            continue
        flat = np.isfinite(x).reshape(len(x), -1)
        for i in np.flatnonzero(~flat.all(axis=1)).tolist():
            count = int((~flat[i]).sum())
            text = f"returned NaN or infinite values (as float32) in {count} of {flat.shape[1]}"
            found.setdefault(i, Fault(simulator, "non-finite", text))
    return found


def _rows_of(result: CallResult, rows: list[int]) -> CallResult:
    coarse = None if result.x_coarse is None else result.x_coarse[rows]
    return replace(result, x=None if result.x is None else result.x[rows], x_coarse=coarse)
