"""Scratch folders of programs: one a run, removed after it, later if the run was killed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on this system: leftovers of killed runs stay
    fcntl = None  # type: ignore[assignment]

__all__ = ["Scratch", "remove_leftovers", "scratch_folder"]

_PREFIX = "mlsbi-run-"
_LOCK = "mlsbi-lock"
_GRACE = 60.0  # seconds in which a new folder may have no lock yet


class Scratch:
    """The folder of one run; `keep` says that it stays."""

    def __init__(self, path: Path) -> None:
        """Hold a folder that exists."""
        self.path = path
        self.kept = False

    def keep(self) -> None:
        """Leave the folder where it is."""
        self.kept = True


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Scratch]:
    """A fresh empty folder in `parent` (made if need be) or in the folder for temporary files."""
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    scratch = Scratch(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)).absolute())
    # The system drops the lock however this process ends: who can take it may remove the folder.
    with (scratch.path / _LOCK).open("wb") as lock:
        _take(lock)
        try:
            yield scratch
        finally:
            if scratch.kept:
                (scratch.path / _LOCK).unlink(missing_ok=True)
            else:
                _remove(scratch.path)


@lru_cache(maxsize=16)
def remove_leftovers(parent: Path | None, process: int) -> None:
    """Remove the folders of runs that were killed together with the process that watched them.

    Once a process, as it takes a look at all of `parent`, and as what follows a kill is a new one.
    """
    del process  # its number is for the cache alone
    if fcntl is None:
        return
    folder = Path(tempfile.gettempdir()) if parent is None else parent
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime < _GRACE:
                continue
            with (path / _LOCK).open("r+b") as lock:  # a folder that was kept has none
                if _take(lock):
                    _remove(path)
        except OSError:  # another user's, or another process removes it just now
            continue


def _take(lock: IO[bytes]) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Remove a folder with what is in it; what cannot be removed is no reason to lose a run."""
    for place, names, _ in os.walk(folder):  # a program may leave folders that are write-protected
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
