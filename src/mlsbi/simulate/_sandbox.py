"""Run simulators in a process of their own, which may hang or die without harm."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import cloudpickle

from mlsbi.hierarchy import Level
from mlsbi.simulate._calls import CallResult, Request
from mlsbi.simulate._rows import Fault
from mlsbi.simulate._warden import DONE, ENDED, RUN
from mlsbi.simulate._wardens import Warden, lend, take_back

__all__ = ["Sandbox", "SandboxClosedError", "can_isolate", "pickled"]

_WARDENS = 3  # as many may die one after the other without a single result between


class SandboxClosedError(RuntimeError):
    """The sandbox was closed while it was running something."""


def can_isolate() -> bool:
    """Whether this system can run simulators in processes of their own."""
    return hasattr(os, "fork")


def pickled(value: object, *, what: str) -> bytes:
    """`value` for another process, functions of scripts and notebooks included.

    Raises:
        TypeError: If it cannot be pickled.
    """
    try:
        return cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        raise TypeError(
            f"{what} must be picklable to run in other processes; got {type(error).__name__}: "
            f"{error}. Open files, locks and connections inside the simulator, not outside, or "
            "run in this process: executor=None, isolate=False."
        ) from error


class Sandbox:
    """Makes calls in a process that is killed when a run takes too long, replaced when it dies.

    A `Runner`. One thread at a time may use it; `close` may be called from any.
    """

    def __init__(
        self,
        levels: Sequence[Level] | bytes,
        *,
        environment: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> None:
        """Start nothing yet.

        Args:
            levels: The levels, or what `pickled` made of them.
            environment: Environment variables to set, before anything is imported.
            threads: Threads that torch may use; one keeps results the same on any machine.
        """
        self._levels = levels if isinstance(levels, bytes) else pickled(levels, what="levels")
        self._environment = {"OMP_NUM_THREADS": str(threads), **(environment or {})}
        self._threads = threads
        self._warden: Warden | None = None
        self._running = False
        self._closed = False

    def run(self, request: Request) -> Generator[tuple[int, CallResult], None, None]:
        """Yield the number of each group with its result; see `Runner`."""
        waiting = list(range(len(request.groups)))
        lost = 0
        while waiting:
            progress = False
            with closing(self._attempt(request, waiting)) as results:
                for number, result in results:
                    waiting.remove(number)
                    progress = True
                    yield number, result
            lost = 0 if progress else lost + 1
            if waiting and lost >= _WARDENS:
                number, lost = waiting.pop(0), 0
                text = "the process that watches over the simulator died again and again"
                yield number, CallResult(fault=Fault(request.level, "died", text))

    def _attempt(
        self, request: Request, waiting: list[int]
    ) -> Generator[tuple[int, CallResult], None, None]:
        """Ask for what is waiting; ends early if a process died, with a fault if it is to blame."""
        numbers = list(waiting)
        asked = replace(request, groups=[request.groups[number] for number in numbers])
        timeout = float("nan") if request.timeout is None else request.timeout
        payload = RUN + struct.pack("<d", timeout) + pickle.dumps(asked, protocol=5)
        self._running = True
        try:
            connection = self._open().connection
            connection.send_bytes(payload)
            while self._running:
                frame = connection.recv_bytes()
                kind, body = frame[:1], memoryview(frame)[1:]
                self._running = kind not in {DONE, ENDED}
                if kind == ENDED:
                    yield from _blame(pickle.loads(body), numbers, request)
                    return
                for index, result in pickle.loads(body):
                    yield numbers[index], result
        except (EOFError, OSError) as error:  # the warden is gone
            if self._closed:
                raise SandboxClosedError("the sandbox was closed") from error
        finally:
            if self._running:  # gone, or given up half-way: the next request must not get its rest
                self._running = False
                self._drop()

    def _open(self) -> Warden:
        if self._closed:
            raise SandboxClosedError("the sandbox was closed")
        if self._warden is not None and not self._warden.alive:
            self._drop()  # it ended for want of work, or somebody killed it
        if self._warden is None:
            warden = lend(self._environment)
            try:
                warden.load(self._levels, threads=self._threads)
            except RuntimeError:  # of the simulators: the warden is as good as before
                take_back(warden)
                raise
            self._warden = warden
        return self._warden

    def _drop(self) -> None:
        warden, self._warden = self._warden, None
        if warden is not None:
            warden.end()

    def __del__(self) -> None:
        """The thread of somebody's executor ended, and its sandbox with it."""
        if hasattr(self, "_closed"):
            self.close()

    def close(self) -> None:
        """End what runs at once; without anything running, keep the process for later."""
        self._closed = True
        warden = self._warden
        if warden is None:
            return
        if self._running:
            warden.end()  # the thread that waits for an answer sees the socket close
        else:
            take_back(warden)
            self._warden = None


def _blame(
    report: dict[str, object], numbers: list[int], request: Request
) -> Iterator[tuple[int, CallResult]]:
    """The fault of the group that was running when the process ended, if it is to blame."""
    group, simulator = int(str(report["group"])), int(str(report["simulator"]))
    if group < 0 or report["kind"] == "interrupted":
        return  # between two runs: nobody's fault
    if report["kind"] == "timeout":
        text = f"ran longer than the timeout of {request.timeout:g} s"
    else:
        text = f"its process died: {report['how']}"
    fault = Fault(simulator, str(report["kind"]), text)
    yield numbers[group], CallResult(fault=fault)
