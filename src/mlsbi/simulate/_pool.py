"""Where tasks run: in this process, in local processes, or wherever an executor takes them."""

from __future__ import annotations

import numbers
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from mlsbi._checks import check_count, check_type
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._calls import InProcess
from mlsbi.simulate._chunks import Draws
from mlsbi.simulate._remote import Job, run_remote
from mlsbi.simulate._rows import Outcome, Task
from mlsbi.simulate._sandbox import Sandbox, can_isolate, pickled
from mlsbi.simulate._settle import Rules, run_task

__all__ = ["LocalProcesses", "Pool", "as_executor", "make_pool"]

_ASK_AGAIN = 2.0  # seconds between questions to a cluster about its size


@dataclass(frozen=True)
class LocalProcesses:
    """Processes of this machine, for `simulate(executor=...)`; a number n means `(n)`.

    Attributes:
        count: How many; None for one a device.
        devices: GPUs to share out, one worker each: what `CUDA_VISIBLE_DEVICES` (and
            `HIP_VISIBLE_DEVICES`) is set to in a worker, such as `[0, 1]`. A worker sees one GPU,
            as `cuda:0`.
        threads: Threads that torch may use in each.
    """

    count: int | None = None
    devices: Sequence[int | str] | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the fields."""
        check_count(self.threads, name="threads")
        if self.devices is not None:
            check_type(self.devices, (list, tuple, range), name="devices", remedy="Pass a list.")
            if len(self.devices) == 0:
                raise ValueError("devices must name at least one; got none. Pass None for no GPU.")
            if self.count not in {None, len(self.devices)}:
                raise ValueError(
                    f"count must be the number of devices, {len(self.devices)}; got {self.count}. "
                    "Leave it out, or name a device twice to run two workers on it."
                )
        elif self.count is None:
            raise ValueError("count must be a number; got None. Pass it, or devices=[...].")
        if self.count is not None:
            check_count(self.count, name="count")

    @property
    def workers(self) -> int:
        """Number of workers."""
        return len(self.devices) if self.devices is not None else int(self.count or 1)

    def environment(self, worker: int) -> dict[str, str]:
        """Environment variables of a worker."""
        if self.devices is None:
            return {}
        device = str(self.devices[worker])
        return {"CUDA_VISIBLE_DEVICES": device, "HIP_VISIBLE_DEVICES": device}


class Pool(Protocol):
    """Something that runs tasks."""

    @property
    def slots(self) -> int:
        """Number of workers."""
        ...

    @property
    def in_flight(self) -> int:
        """How many tasks it may hold at a time."""
        ...

    def submit(self, task: Task) -> Future[list[Outcome]]:
        """Run a task, now or later."""
        ...

    def close(self) -> None:
        """Give up what is running."""
        ...


class _Inline:
    """Runs a task while it is submitted."""

    slots = 1
    in_flight = 1

    def __init__(self, hierarchy: Hierarchy, seed: int, rules: Rules) -> None:
        self._hierarchy, self._rules = hierarchy, rules
        self._draws = Draws(hierarchy, seed)
        self._runner = InProcess(hierarchy.levels)

    def submit(self, task: Task) -> Future[list[Outcome]]:
        future: Future[list[Outcome]] = Future()
        future.set_result(run_task(self._hierarchy, task, self._draws, self._runner, self._rules))
        return future

    def close(self) -> None:
        pass


class _Local:
    """A thread for each worker, which waits for its sandbox."""

    def __init__(
        self, hierarchy: Hierarchy, seed: int, rules: Rules, processes: LocalProcesses
    ) -> None:
        self._hierarchy, self._seed, self._rules = hierarchy, seed, rules
        self.slots = processes.workers
        self.in_flight = 2 * self.slots
        levels = pickled(hierarchy.levels, what="the simulators")
        self._sandboxes = [
            Sandbox(levels, environment=processes.environment(i), threads=processes.threads)
            for i in range(self.slots)
        ]
        self._free = list(self._sandboxes)
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(self.slots, thread_name_prefix="mlsbi-worker")

    def submit(self, task: Task) -> Future[list[Outcome]]:
        return self._threads.submit(self._run, task)

    def _run(self, task: Task) -> list[Outcome]:
        own = self._own
        if not hasattr(own, "sandbox"):
            own.sandbox = self._free.pop()
            own.draws = Draws(self._hierarchy, self._seed)
        return run_task(self._hierarchy, task, own.draws, own.sandbox, self._rules)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for sandbox in self._sandboxes:
            sandbox.close()
        self._threads.shutdown(wait=True)


class _Remote:
    """Somebody's executor."""

    def __init__(self, executor: Executor, job: Job) -> None:
        self._executor, self._job = executor, job
        self._slots, self._asked = 1, float("-inf")
        self._futures: set[Future[list[Outcome]]] = set()

    @property
    def slots(self) -> int:
        now = time.monotonic()
        if now - self._asked > _ASK_AGAIN:  # a cluster may grow while it runs
            self._slots, self._asked = _workers_of(self._executor), now
        return self._slots

    @property
    def in_flight(self) -> int:
        return 2 * self.slots

    def submit(self, task: Task) -> Future[list[Outcome]]:
        future = self._executor.submit(run_remote, self._job, task)
        self._futures = {f for f in self._futures if not f.done()} | {future}
        return future

    def close(self) -> None:
        for future in self._futures:
            future.cancel()


def _workers_of(executor: Any) -> int:
    """Workers of an executor, as far as it tells."""
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "scheduler_info"):  # dask.distributed
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return max(sum(worker["nthreads"] for worker in workers), 1)
    for name in ("num_workers", "_max_workers"):  # mpi4py.futures; concurrent.futures, loky
        value = getattr(executor, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return os.cpu_count() or 1


def as_executor(executor: Any, *, local: Callable[[int], LocalProcesses] = LocalProcesses) -> Any:
    """What a user's `executor` stands for: None, `LocalProcesses`, or an executor.

    Args:
        executor: None, a number of processes, `LocalProcesses`, an executor or a Dask client.
        local: What a number of processes stands for.

    Raises:
        TypeError: It is none of these.
        ValueError: It is a number below 1.
    """
    if isinstance(executor, numbers.Integral) and not isinstance(executor, bool):
        return local(check_count(executor, name="executor"))
    if executor is None or isinstance(executor, LocalProcesses):
        return executor
    if hasattr(executor, "get_executor"):  # a Dask client
        executor = executor.get_executor()
    if not hasattr(executor, "submit"):
        raise TypeError(
            f"executor must be None, a number of processes, mlsbi.LocalProcesses, an object with "
            f"the methods of concurrent.futures.Executor, or a Dask client; got "
            f"{type(executor).__name__}. Pass one of these."
        )
    return executor


def make_pool(
    executor: Any,
    hierarchy: Hierarchy,
    seed: int,
    rules: Rules,
    *,
    isolate: bool | None,
) -> Pool:
    """The pool for `simulate`'s argument `executor`.

    Raises:
        TypeError: If `executor` is none of what `simulate` takes, or something is not picklable.
        ValueError: If this system cannot do what is asked for.
    """
    executor = as_executor(executor)
    if executor is None:
        if not isolate and (isolate is False or rules.timeout is None):
            _refuse_timeout(rules)
            return _Inline(hierarchy, seed, rules)
        executor = LocalProcesses(1)
    if isinstance(executor, LocalProcesses):
        _check_isolation(isolate=isolate, local=True)
        return _Local(hierarchy, seed, rules, executor)
    if isolate is False:
        _refuse_timeout(rules)
    else:
        _check_isolation(isolate=isolate, local=False)
    blob = pickled(hierarchy, what="hierarchy")
    return _Remote(executor, Job.of(blob, seed, rules, isolate=isolate is not False))


def _refuse_timeout(rules: Rules) -> None:
    if rules.timeout is not None:
        raise ValueError(
            f"timeout must be None with isolate=False; got {rules.timeout}. A run can be stopped "
            "only in a process of its own: leave isolate out."
        )


def _check_isolation(*, isolate: bool | None, local: bool) -> None:
    if local and isolate is False:
        raise ValueError(
            "isolate must not be False with local processes; got False. Pass executor=None to run "
            "in this process, or leave isolate out."
        )
    if not can_isolate():
        raise ValueError(
            "executor must be None, or an executor with isolate=False, on this system: simulators "
            "get processes of their own only where processes can be forked (Linux, macOS)."
        )
