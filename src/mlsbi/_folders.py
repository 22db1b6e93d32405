"""Folders that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlsbi._checks import check_type

__all__ = ["as_folder", "written_whole"]


def as_folder(path: str | os.PathLike[str]) -> Path:
    """The argument `path` as an absolute path.

    Raises:
        TypeError: It is no path.
        ValueError: It is empty.
    """
    check_type(path, (str, os.PathLike), name="path", remedy="Pass a folder's name.")
    if not os.fspath(path):
        raise ValueError("path must not be empty; got ''. Pass a folder's name.")
    return Path(path).absolute()


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder name to write to, which takes `target`'s place at the end.

    It lies beside `target`, so that the move is one rename. What `target` held before is there
    until then, and comes back if the rename fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        fresh, old = Path(place) / "new", Path(place) / "old"
        yield fresh
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
