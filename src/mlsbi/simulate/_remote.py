"""What an executor's worker runs: a task of a job that it got as bytes."""

from __future__ import annotations

import hashlib
import pickle
import threading
from dataclasses import dataclass, replace

from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._calls import InProcess, Runner
from mlsbi.simulate._chunks import Draws
from mlsbi.simulate._rows import Outcome, Task
from mlsbi.simulate._sandbox import Sandbox, pickled
from mlsbi.simulate._settle import Rules, run_task

__all__ = ["Job", "run_remote"]


@dataclass(frozen=True)
class Job:
    """A campaign, as its workers see it.

    Attributes:
        hierarchy: The pickled hierarchy.
        digest: What identifies the job.
        seed: The campaign's seed.
        rules: What to do about failures.
        isolate: Whether simulators run in a process of their own, beside the worker.
    """

    hierarchy: bytes
    digest: str
    seed: int
    rules: Rules
    isolate: bool

    @staticmethod
    def of(hierarchy: bytes, seed: int, rules: Rules, *, isolate: bool) -> Job:
        """A job with its digest."""
        text = repr((seed, rules, isolate)).encode()
        digest = hashlib.blake2b(hierarchy + text, digest_size=16).hexdigest()
        return Job(hierarchy, digest, seed, rules, isolate)


@dataclass(frozen=True)
class _Loaded:
    """A job in a worker, ready to run."""

    digest: str
    hierarchy: Hierarchy
    draws: Draws
    runner: Runner


# Of each thread: the job that it ran last. Loading a simulator may take long.
_own = threading.local()


def run_remote(job: Job, task: Task) -> list[Outcome]:
    """Run a task.

    Args:
        job: The campaign.
        task: Rows of it.

    Returns:
        Outcomes, as `run_task` returns them, in arrays and plain types.
    """
    loaded: _Loaded | None = getattr(_own, "loaded", None)
    if loaded is None or loaded.digest != job.digest:
        if loaded is not None and isinstance(loaded.runner, Sandbox):
            loaded.runner.close()
        loaded = _own.loaded = _load(job)
    outcomes = run_task(loaded.hierarchy, task, loaded.draws, loaded.runner, job.rules)
    for outcome in outcomes:
        for position, fault in outcome.faults.items():  # exceptions may not survive pickling
            outcome.faults[position] = replace(fault, cause=None)
    return outcomes


def _load(job: Job) -> _Loaded:
    hierarchy: Hierarchy = pickle.loads(job.hierarchy)
    runner: Runner = InProcess(hierarchy.levels)
    if job.isolate:
        runner = Sandbox(pickled(hierarchy.levels, what="the simulators"))
    return _Loaded(job.digest, hierarchy, Draws(hierarchy, job.seed), runner)
