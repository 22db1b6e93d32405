"""Whole jobs side by side: in this process, in others of this machine, or on an executor.

For few and long jobs, such as fits. Processes are started afresh (not forked: PyTorch's threads do
not survive that), and do not import the script that started them: no `if __name__ ==
"__main__"` is needed in it, and functions of scripts and notebooks travel by value.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

import cloudpickle
import torch

from mlsbi._worker import call, read_frame, write_frame
from mlsbi.simulate import LocalProcesses
from mlsbi.simulate._pool import as_executor

__all__ = ["check_executor", "each", "slots_of"]

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mlsbi._worker import main; "
_Job = TypeVar("_Job")


def check_executor(executor: Any) -> Any:
    """None, `LocalProcesses`, or an executor; a number n is n processes, threads shared out.

    Raises:
        TypeError: It is none of these.
        ValueError: It is a number below 1.
    """

    def local(count: int) -> LocalProcesses:
        return LocalProcesses(count, threads=max(torch.get_num_threads() // count, 1))

    return as_executor(executor, local=local)


def slots_of(executor: Any, jobs: int) -> int | None:
    """How many jobs run at a time; None where an executor does not say."""
    if executor is None:
        return 1
    local = isinstance(executor, LocalProcesses)
    count: Any = executor.workers if local else getattr(executor, "_max_workers", None)
    return min(count, jobs) if isinstance(count, int) and count > 0 else None


def each(
    function: Callable[[_Job], Any],
    jobs: Sequence[_Job],
    *,
    executor: Any,
    done: Callable[[int], None],
) -> list[Any]:
    """The result of `function` for every job, or the exception that it raised.

    One job that fails ends no other. Results do not depend on where and in which order they run.

    Args:
        function: What to do; it depends on its argument alone.
        jobs: The arguments.
        executor: As `check_executor` returned it.
        done: Called with the number of jobs that are done, after each.

    Returns:
        Results, in the order of the jobs.

    Raises:
        TypeError: Something cannot be pickled for an executor.
    """
    results: list[Any] = [None] * len(jobs)
    if executor is None:
        for i, job in enumerate(jobs):
            results[i] = _tried(function, job)
            done(i + 1)
        return results
    with _pool(executor, len(jobs)) as submit:
        futures = {submit(function, job): i for i, job in enumerate(jobs)}
        try:
            for count, future in enumerate(as_completed(futures), 1):
                results[futures[future]] = _unpacked(future)
                done(count)
        finally:
            for future in futures:
                future.cancel()
    return results


def _tried(function: Callable[[Any], Any], job: Any) -> Any:
    try:
        return function(job)
    except Exception as error:
        return error


def _packed(function: Callable[[Any], Any], job: Any) -> bytes:
    try:
        return cloudpickle.dumps((function, job))
    except Exception as error:
        raise TypeError(
            f"the fit and its data must be picklable to be worked on in other processes; got "
            f"{type(error).__name__}: {error}. Pass executor=None to work in this process."
        ) from error


def _unpacked(future: Future[bytes]) -> Any:
    """The result, or the exception with what the worker's traceback said as its cause."""
    try:
        value, error, text = pickle.loads(future.result())
    except Exception as failure:
        return failure
    if error is not None:
        error.__cause__ = RuntimeError(f"in another process:\n{text}")
        return error
    return value


@contextmanager
def _pool(executor: Any, jobs: int) -> Iterator[Callable[..., Future[bytes]]]:
    """How to submit a function and its argument, until the block is left."""
    if not isinstance(executor, LocalProcesses):
        yield lambda function, job: executor.submit(call, _packed(function, job))
        return
    count = min(executor.workers, jobs)
    processes = _Processes(executor)
    with ThreadPoolExecutor(count, thread_name_prefix="mlsbi-job") as threads:
        try:
            yield lambda function, job: threads.submit(processes.run, function, job)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            processes.end()


class _Processes:
    """One process a thread, started with its first job and replaced when it dies."""

    def __init__(self, settings: LocalProcesses) -> None:
        self._settings = settings
        self._own = threading.local()
        self._number = iter(range(settings.workers))
        self._all: list[subprocess.Popen[bytes]] = []
        self._lock, self._ended = threading.Lock(), False

    def run(self, function: Callable[[Any], Any], argument: Any) -> bytes:
        """Do a job in this thread's process."""
        job = _packed(function, argument)  # only now: all jobs at once may be large
        process: Any = getattr(self._own, "process", None)
        if process is None or process.poll() is not None:
            process = self._own.process = self._start()
        try:
            write_frame(process.stdin, job)
            answer = read_frame(process.stdout)
        except (BrokenPipeError, ValueError):  # ValueError: closed, by `end`
            answer = None
        if answer is None:
            code = process.wait()
            raise RuntimeError(
                f"the process that did it ended (exit code {code}); killed for want of memory, "
                "perhaps: use fewer processes"
            )
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        count = self._settings.threads
        command = f"{_START}main({count})"
        with self._lock:
            if not hasattr(self._own, "number"):
                self._own.number = next(self._number)
            if self._ended:
                raise RuntimeError("the work was given up")
            process = subprocess.Popen(
                [sys.executable, "-c", command, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is this process's, which then ends them
                env=os.environ
                | {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}
                | self._settings.environment(self._own.number),
            )
            self._all.append(process)
        return process

    def end(self) -> None:
        """End all processes."""
        with self._lock:
            self._ended = True
            for process in self._all:
                process.kill()
        for process in self._all:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    _close(stream)


def _close(stream: Any) -> None:
    try:
        stream.close()
    except OSError:  # a frame that nobody reads any more
        pass
