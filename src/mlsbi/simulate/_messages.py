"""What a campaign says when something fails: which run, why, how to see it, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._reproduce import draw_row
from mlsbi.simulate._rows import Fault, Outcome, Task

if TYPE_CHECKING:
    from mlsbi.simulate._campaign import Policy

__all__ = [
    "RowsFailedError",
    "executor_broken",
    "killed",
    "other_shape",
    "row_failed",
    "too_many",
    "worker_failed",
]


class RowsFailedError(RuntimeError):
    """Rows failed, and the campaign is not to go on."""


def _kept(policy: Policy) -> str:
    return " Finished rows are in the store; the same call goes on from there." * policy.kept


def _where(outcome: Outcome, position: int, fault: Fault) -> str:
    level = outcome.task.level
    pair = ""
    if fault.simulator != level:
        pair = f" (as the coarse member of level {level}'s pairs)"
    row = int(outcome.task.rows[position])
    return f"the simulator of level {fault.simulator}{pair} failed at row {row} of level {level}"


def row_failed(outcome: Outcome, hierarchy: Hierarchy, policy: Policy) -> RowsFailedError:
    """The error of the first failed row of an outcome."""
    position, fault = next(iter(outcome.faults.items()))
    level, row = outcome.task.level, int(outcome.task.rows[position])
    theta = ", ".join(f"{value:g}" for value in outcome.theta[position].tolist())
    seed = "" if outcome.row_seed is None else f", seed {int(outcome.row_seed[position])}"
    error = RowsFailedError(
        f"{_where(outcome, position, fault)} (theta [{theta}]{seed}): {fault.message.strip()}\n"
        "To run it again, in a debugger if you like: from mlsbi.simulate import reproduce; "
        f"reproduce(hierarchy, level={level}, row={row}, seed={policy.seed}). Pass "
        f"on_failure='drop' to leave failed runs out, or 'retry' to repeat them.{_kept(policy)}"
    )
    error.__cause__ = fault.cause
    return error


def too_many(
    level: int, failed: int, count: int, outcome: Outcome | None, policy: Policy
) -> RowsFailedError:
    """The error of a level where more rows failed than may."""
    last = ""
    if outcome is not None and outcome.task.level == level and outcome.faults:
        position, fault = list(outcome.faults.items())[-1]
        text = fault.message.strip().splitlines()[0]
        last = f" The last: {_where(outcome, position, fault)}: {text}."
    return RowsFailedError(
        f"{failed} of {count} runs of level {level} failed, more than max_failed="
        f"{policy.max_failed:g} allows.{last} Failed runs are left out, which biases the posterior "
        "where failure depends on theta: correct the simulator or narrow the prior, or pass a "
        f"larger max_failed.{_kept(policy)}"
    )


def other_shape(
    simulator: int, expected: tuple[int, ...], found: tuple[int, ...], policy: Policy
) -> ValueError:
    """The error of a simulator none of whose runs has the event shape of those there are."""
    return ValueError(
        f"extend must have x of event shape {found} at level {simulator}, as the runs of that "
        f"simulator now; got {expected}. Pass runs of the same simulators.{_kept(policy)}"
    )


def executor_broken(error: Exception, policy: Policy) -> RuntimeError:
    """The error of an executor that takes no more work."""
    text = str(error).rstrip(".")
    return RuntimeError(
        f"the executor broke down: {type(error).__name__}: {text}. Make a new one and call again; "
        f"executor=N (local processes) replaces workers that die.{_kept(policy)}"
    )


def worker_failed(task: Task, error: Exception, policy: Policy) -> RuntimeError:
    """The error of a task that fails outside the simulators, each time."""
    return RuntimeError(
        f"workers failed at rows {task.rows[0]} to {task.rows[-1]} of level {task.level}, outside "
        f"the simulators: {type(error).__name__}: {error}. Check that mlsbi and what the "
        f"simulators import are installed, in the same versions, where the workers are."
        f"{_kept(policy)}"
    )


def killed(task: Task, error: Exception, hierarchy: Hierarchy, seed: int) -> Outcome:
    """The outcome of a single row that took its worker down each time."""
    theta, u = draw_row(hierarchy, level=task.level, row=int(task.rows[0]), seed=seed)
    unknown = np.full(1, np.nan, dtype=np.float32)
    return Outcome(
        task=task,
        theta=theta.numpy(),
        row_seed=u.numpy() if hierarchy.row_seeds else None,
        ok=np.zeros(1, dtype=bool),
        x=None,
        x_coarse=None,
        seconds=unknown,
        seconds_coarse=unknown if task.level else None,
        faults={0: Fault(task.level, "died", f"its worker died each time: {error}")},
    )
