"""Shell scripts as levels, for tests."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from mlsbi.simulate._command import CommandLevel

THETA = np.array([0.1, 2.5], dtype=np.float32)


def sh(script, *arguments, **options):
    """A level that runs a shell script; arguments are $1, $2, ..."""
    return CommandLevel(["sh", "-c", script.replace("{", "{{").replace("}", "}}"), "sh",
                         *arguments], **options)  # fmt: skip


def run(level, theta=THETA, seed=7):
    """One row, as `simulate` would call it."""
    return np.asarray(level.simulator(theta, seed))


def executable(path, script):
    path.write_text(script)
    path.chmod(0o755)
    return path


def alive(pid):
    """Whether a process runs (a zombie that nobody collects does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
