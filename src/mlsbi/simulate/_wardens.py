"""Wardens of this process: started, lent to sandboxes, kept warm for a while."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe

import torch

from mlsbi.simulate import _warden

__all__ = ["Warden", "lend", "take_back"]

# The first thing it does: a Ctrl-C is the coordinator's to handle, imports or not.
_CODE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from mlsbi.simulate._warden import main; main(int(sys.argv[1]))"
)


class Warden:
    """A running warden, as its coordinator sees it. It ends with this object at the latest."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start one.

        Args:
            environment: Environment variables to set, before anything is imported.
        """
        ours, theirs = Pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        own = {"MLSBI_SANDBOX": "1", "PYTHONPATH": path}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CODE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is not for it
                env={**os.environ, **own, **environment},
            )
        self.environment = dict(environment)
        self.connection: Connection = ours
        self.owner = os.getpid()
        self.end = weakref.finalize(self, _end, self.process, ours)

    @property
    def alive(self) -> bool:
        """Whether it can still be used, by this process."""
        return self.owner == os.getpid() and self.end.alive and self.process.poll() is None

    def load(self, levels: bytes, *, threads: int) -> None:
        """Give it simulators.

        Raises:
            EOFError, OSError: If it is gone.
            RuntimeError: If the simulators cannot be loaded there.
        """
        # Code that has touched a GPU, or that runs threads of its own, must not be loaded before
        # the fork: each fork loads it then, which makes a restart as slow as its imports.
        early = not (torch.cuda.is_initialized() or {"jax", "tensorflow"} & set(sys.modules))
        setup = {
            "early": early,
            "threads": threads,
            "levels": levels,
            "path": [entry or os.getcwd() for entry in sys.path],
            "folder": os.getcwd(),
        }
        self.connection.send_bytes(_warden.SETUP + pickle.dumps(setup))
        answer = self.connection.recv_bytes()
        if answer != _warden.READY:
            raise RuntimeError(
                "the simulators could not be loaded in another process: "
                f"{answer[1:].decode()}. Import what they need inside them, or run in this "
                "process: executor=None, isolate=False."
            )


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    """A warden takes its fork along when it is told to end, and when its socket closes."""
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    connection.close()


# Starting one takes seconds (imports), and an adaptive campaign calls `simulate` again and again.
# An idle one ends by itself after a while.
_idle: list[Warden] = []
_lock = threading.Lock()


def lend(environment: Mapping[str, str]) -> Warden:
    """An idle warden with this environment, or a new one."""
    with _lock:
        for warden in list(_idle):
            if not warden.alive:
                _idle.remove(warden)
            elif warden.environment == dict(environment):
                _idle.remove(warden)
                return warden
    return Warden(environment)


def take_back(warden: Warden) -> None:
    """Keep a warden that has nothing to do."""
    with _lock:
        if warden.alive and len(_idle) < (os.cpu_count() or 1):
            _idle.append(warden)
            return
    warden.end()
