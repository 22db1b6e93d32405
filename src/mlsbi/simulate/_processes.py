"""Run a program to its end, or end it together with all that it started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["how_it_ended", "run_program"]


def run_program(
    argv: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdout: Path,
    stderr: Path,
    timeout: float | None,
) -> int | None:
    """Run a program; nothing that it started is left afterwards.

    Args:
        argv: The program, an absolute path, and its arguments.
        folder: Where it runs.
        environment: Its environment variables.
        stdout: File for its output; a file takes any amount without anybody reading along.
        stderr: File for its error output.
        timeout: Seconds that it may take, or None.

    Returns:
        Its exit code, minus the number of the signal that ended it, or None after a timeout.
    """
    # In a sandbox the worker is killed as a group, from outside: the program has to stay in it.
    own_group = os.name == "posix" and os.environ.get("MLSBI_SANDBOX") != "1"
    before = set(_children(os.getpid()))
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            process_group=0 if own_group else None,
        )
    ended = False
    try:
        ended = _wait(process, timeout)
    finally:  # after Ctrl-C too
        if own_group:
            _kill_group(process.pid)
        elif not ended:
            _kill_tree(process.pid)
        code = process.wait()
        if not own_group:
            _kill_orphans(before)
    return code if ended else None


def _wait(process: subprocess.Popen[bytes], timeout: float | None) -> bool:
    """Wait until a program ended, without collecting its exit code where possible.

    As long as nobody collects it, its process number cannot be taken by another.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux: polling, up to 50 ms late
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    finally:
        os.close(descriptor)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:  # nothing is left of it
        pass


def _kill_orphans(before: set[int]) -> None:
    """Kill what a program left behind: its worker has become the parent of it (Linux)."""
    for pid in set(_children(os.getpid())) - before:
        _kill_tree(pid)
        try:
            os.waitpid(pid, 0)
        except OSError:
            pass  # not this process's after all


def _kill_tree(program: int) -> None:
    """Kill a program and, where the system tells (Linux), what descends from it."""
    family = [program]
    for pid in family:  # grows as it goes
        _signal(pid, signal.SIGSTOP)  # first, so that it starts nothing more
        family.extend(_children(pid))
    for pid in family:
        _signal(pid, signal.SIGKILL)


def _children(pid: int) -> Iterator[int]:
    try:
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            yield from map(int, path.read_text().split())
    except OSError:
        return


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
