"""Run simulators in a process of their own, which may hang or die without harm."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe

import cloudpickle
import torch

from mlsbi.hierarchy import Level
from mlsbi.simulate import _warden
from mlsbi.simulate._calls import CallResult, Request
from mlsbi.simulate._rows import Fault

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
        self._environment = dict(environment or {})
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._finalizer: weakref.finalize[..., Sandbox] | None = None
        self._closed = False

    def run(self, request: Request) -> Iterator[tuple[int, CallResult]]:
        """Yield the number of each group with its result; see `Runner`."""
        waiting = list(range(len(request.groups)))
        lost = 0
        while waiting:
            progress = False
            for number, result in self._attempt(request, waiting):
                waiting.remove(number)
                progress = True
                yield number, result
            lost = 0 if progress else lost + 1
            if waiting and lost >= _WARDENS:
                number, lost = waiting.pop(0), 0
                text = "the process that watches over the simulator died again and again"
                yield number, CallResult(fault=Fault(request.level, "died", text))

    def _attempt(self, request: Request, waiting: list[int]) -> Iterator[tuple[int, CallResult]]:
        """Ask for what is waiting; ends early if a process died, with a fault if it is to blame."""
        numbers = list(waiting)
        asked = replace(request, groups=[request.groups[number] for number in numbers])
        timeout = float("nan") if request.timeout is None else request.timeout
        payload = _warden.RUN + struct.pack("<d", timeout) + pickle.dumps(asked, protocol=5)
        try:
            connection = self._open()
            connection.send_bytes(payload)
            while True:
                frame = connection.recv_bytes()
                kind, body = frame[:1], memoryview(frame)[1:]
                if kind == _warden.ENDED:
                    yield from _blame(pickle.loads(body), numbers, request)
                    return
                for index, result in pickle.loads(body):
                    yield numbers[index], result
                if kind == _warden.DONE:
                    return
        except (EOFError, OSError) as error:  # the warden is gone
            self._stop()
            if self._closed:
                raise SandboxClosedError("the sandbox was closed") from error

    def _open(self) -> Connection:
        if self._closed:
            raise SandboxClosedError("the sandbox was closed")
        if self._process is not None and self._process.poll() is not None:
            self._stop()  # it ended for want of work, or somebody killed it
        if self._connection is None:
            self._start()
        if self._connection is None:
            raise EOFError
        return self._connection

    def _start(self) -> None:
        ours, theirs = Pipe()
        code = "import sys; from mlsbi.simulate._warden import main; main(int(sys.argv[1]))"
        threads = {"OMP_NUM_THREADS": str(self._threads), "MLSBI_SANDBOX": "1"}
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is not for it
                env={**os.environ, **threads, "PYTHONPATH": path, **self._environment},
            )
        # A sandbox that is forgotten, or that lives until the interpreter ends, leaves nothing.
        self._finalizer = weakref.finalize(self, _end, self._process)
        self._connection = ours
        # Code that has touched a GPU, or that runs threads of its own, must not be loaded before
        # the fork: each fork loads it then, which makes a restart as slow as its imports.
        early = not (torch.cuda.is_initialized() or {"jax", "tensorflow"} & set(sys.modules))
        ours.send_bytes(pickle.dumps({"early": early, "threads": self._threads}))
        ours.send_bytes(self._levels)
        answer = ours.recv_bytes()
        if answer != _warden.READY:
            self._stop()
            raise RuntimeError(
                f"the simulators could not be loaded in another process: {answer[1:].decode()}. "
                "Import what they need inside them, or run in this process: isolate=False."
            )

    def _stop(self) -> None:
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is not None:
            connection.close()
        if process is not None and self._finalizer is not None:
            self._finalizer()

    def close(self) -> None:
        """End its processes at once, whatever they are doing."""
        self._closed = True
        # A thread that waits for an answer sees the socket close, and cleans up.
        if self._finalizer is not None:
            self._finalizer()


def _end(process: subprocess.Popen[bytes]) -> None:
    """The warden takes its fork along when it is told to end, and when its socket closes."""
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
