"""The warden: a process that forks the one that runs simulators, watches it, and replaces it.

A simulator that hangs or takes its process down must not take anything else with it. The warden
imports what the simulators need once, then forks; a new fork costs milliseconds. Three processes:

    coordinator (or an executor's worker)  --socket-->  warden  --socket-->  its fork

The warden passes frames on unread, both ways. It learns what the fork is at from memory that they
share, kills it when a run takes too long, and tells the coordinator how it ended. When the
coordinator dies, the socket closes: the warden kills its fork and ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import signal
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from mlsbi.simulate._calls import CallResult, Inputs, Request, run_pair

__all__ = ["DONE", "ENDED", "READY", "RESULTS", "RUN", "SETUP", "main"]

# The first byte of a frame says what it is. Coordinator -> warden: SETUP, answered by READY or an
# error's text. Coordinator -> fork: RUN. Fork -> coordinator: RESULTS, DONE (results, and the
# request is finished). Warden -> coordinator: ENDED (the fork is gone, and how).
SETUP, READY, RUN, RESULTS, DONE, ENDED = b"s", b"h", b"r", b"p", b"d", b"x"

_FLUSH = 0.05  # seconds of finished rows that may wait in the fork, and are lost with it
_IDLE = 60.0  # seconds without work after which a warden ends; the next request starts another


class _Now:
    """What the fork is running: group number, simulator, since when. Shared memory."""

    _LAYOUT = struct.Struct("<qqd")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._LAYOUT.size)
        self.set(-1, -1)

    def set(self, group: int, simulator: int) -> None:
        self._memory[:] = self._LAYOUT.pack(group, simulator, time.monotonic())

    def get(self) -> tuple[int, int, float]:
        return self._LAYOUT.unpack(self._memory[:])


def main(descriptor: int) -> None:
    """Serve the socket with this file descriptor until it closes."""
    warden = _Warden(Connection(descriptor))
    signal.signal(signal.SIGTERM, lambda *_: warden.end())
    warden.serve()


class _Warden:
    """See the module's docstring."""

    def __init__(self, coordinator: Connection) -> None:
        self._coordinator = coordinator
        self._levels: Any = None
        self._threads = 1
        self._now = _Now()
        self._fork: Connection | None = None
        self._pid = 0
        self._timeout: float | None = None
        self._busy = False

    def serve(self) -> None:
        """Pass frames on until the coordinator is gone."""
        try:
            while self._step():
                pass
        except (EOFError, OSError):  # the coordinator is gone
            pass
        self.end()

    def _load(self, setup: dict[str, Any]) -> None:
        """Take other simulators than before, which ends the fork that ran those."""
        self._kill()
        self._reap()
        self._threads, self._levels = setup["threads"], setup["levels"]
        sys.path[:] = setup["path"]
        try:
            os.chdir(setup["folder"])
            if setup["early"]:  # imports happen once, here; see Warden.load
                self._levels = pickle.loads(self._levels)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._coordinator.send_bytes(ENDED + text.encode())
        else:
            self._coordinator.send_bytes(READY)

    def end(self) -> None:
        """Take the fork along, whatever it is doing."""
        self._kill()
        os._exit(0)

    def _step(self) -> bool:
        """Wait for something and deal with it; False after long idleness."""
        fork, idle = self._fork, not self._busy
        sources = [self._coordinator] if fork is None else [self._coordinator, fork]
        ready = wait(sources, timeout=self._patience())
        if self._coordinator in ready:
            self._request(self._coordinator.recv_bytes())
        if fork is not None and fork in ready:
            self._answer(fork)
        elif self._overdue():
            self._stop_overdue()
        return bool(ready) or not idle

    def _patience(self) -> float:
        if not self._busy:
            return _IDLE
        if self._timeout is None:
            return 3600.0
        group, _, since = self._now.get()
        if group < 0:  # nothing runs yet, or any more
            return min(self._timeout, 1.0)
        return max(since + self._timeout - time.monotonic(), 0.0) + 0.001

    def _request(self, frame: bytes) -> None:
        if frame[:1] == SETUP:
            self._load(pickle.loads(memoryview(frame)[1:]))
            return
        self._timeout = struct.unpack_from("<d", frame, 1)[0]
        if self._timeout != self._timeout:
            self._timeout = None
        if self._fork is None:
            self._start()
        self._busy = True
        self._now.set(-1, -1)
        try:
            if self._fork is not None:
                self._fork.send_bytes(frame)
        except OSError:
            pass  # it has just died: the next step finds out

    def _answer(self, fork: Connection) -> None:
        try:
            frame = fork.recv_bytes()
        except (EOFError, OSError):
            self._report("died")
            return
        if frame[:1] == DONE:
            self._busy = False
        self._coordinator.send_bytes(frame)

    def _overdue(self) -> bool:
        group, _, since = self._now.get()
        running = self._busy and self._timeout is not None and group >= 0
        return running and time.monotonic() - since > (self._timeout or 0.0)

    def _stop_overdue(self) -> None:
        seen = self._now.get()
        self._kill()
        # The run may have ended in the moment before: then the next one was killed, innocently.
        self._report("timeout" if self._now.get() == seen else "interrupted")

    def _report(self, kind: str) -> None:
        """Tell the coordinator that the fork is gone."""
        status = self._reap()
        group, simulator, _ = self._now.get()
        busy, self._busy = self._busy, False
        if busy:
            how = _how_it_ended(status)
            report = {"kind": kind, "group": group, "simulator": simulator, "how": how}
            self._coordinator.send_bytes(ENDED + pickle.dumps(report))

    def _start(self) -> None:
        ours, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            self._coordinator.close()
            _run_fork(theirs, self._now, self._levels, self._threads)
        theirs.close()
        self._fork = ours

    def _kill(self) -> None:
        """Kill the fork and what it started."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)  # not reaped yet, so the number is its own
            self._kill_group()

    def _kill_group(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except OSError:
            pass  # it had not made its group yet, or nothing is left of it

    def _reap(self) -> int:
        """The wait status of the fork, dead or about to be; what it started goes with it."""
        if not self._pid:
            return 0
        _, status = os.waitpid(self._pid, 0)
        self._kill_group()
        if self._fork is not None:
            self._fork.close()
        self._fork, self._pid = None, 0
        return status


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def _run_fork(connection: Connection, now: _Now, levels: Any, threads: int) -> None:
    """What the fork does, from its first line to its last."""
    code = 1
    try:
        os.setpgid(0, 0)  # so that programs it starts die with it
        _tie_family()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        import torch

        torch.set_num_threads(threads)
        if isinstance(levels, bytes):
            levels = pickle.loads(levels)
        while True:
            frame = connection.recv_bytes()
            _serve_request(pickle.loads(memoryview(frame)[9:]), connection, now, levels)
    except (EOFError, OSError):
        code = 0  # the warden is gone
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _tie_family() -> None:
    """On Linux, die with the warden however it dies, and adopt what programs leave behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig, pr_set_child_subreaper = 1, 36
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(pr_set_pdeathsig, signal.SIGKILL)
        prctl(pr_set_child_subreaper, 1)


def _serve_request(request: Request, connection: Connection, now: _Now, levels: Any) -> None:
    finished: list[tuple[int, CallResult]] = []
    last = time.monotonic()
    inputs = Inputs(request)
    for number, group in enumerate(request.groups):
        if finished and time.monotonic() - last > _FLUSH:
            connection.send_bytes(RESULTS + pickle.dumps(finished, protocol=5))
            finished, last = [], time.monotonic()
        result = run_pair(levels, request.level, inputs, group, on_start=_noting(now, number))
        if result.fault is not None:
            object.__setattr__(result.fault, "cause", None)  # it may not survive pickling
        finished.append((number, result))
        now.set(-1, -1)
    connection.send_bytes(DONE + pickle.dumps(finished, protocol=5))


def _noting(now: _Now, group: int) -> Callable[[int], None]:
    return lambda simulator: now.set(group, simulator)
