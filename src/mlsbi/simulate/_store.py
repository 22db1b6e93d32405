"""The store of a campaign: a Zarr (version 3) folder that survives whatever ends the process.

A row counts as finished when its status is on disk, and that is written last: first records of
failures, then chunks of data, then chunks of status, each durable before the next. So a kill at
any instant, a full disk or a lost machine leaves rows that are finished whole, or pending.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mlsbi._folders import as_folder
from mlsbi.simulate import _store_failures as failures
from mlsbi.simulate._rows import Outcome
from mlsbi.simulate._store_files import (
    Lock,
    is_leftover,
    json_file,
    sync_folder,
    write_files,
    writing,
)
from mlsbi.simulate._store_level import LevelWriter, OpenChunk
from mlsbi.simulate._store_manifest import check_manifest
from mlsbi.simulate._store_reader import (
    FORMAT,
    FORMAT_VERSION,
    StoreReader,
    is_store,
    read_root,
    read_store,
)
from mlsbi.simulate._store_verify import open_levels

__all__ = ["CampaignStore", "StoreReader", "is_store", "read_store"]

_PAUSE, _MAX_PAUSE = 0.5, 5.0  # seconds between writes
_SHARE = 10  # a slow disk: writing takes at most one part in so many
_WAITING_BYTES = 2**23
_SPARE_BYTES = 2**24


class CampaignStore:
    """A store that is open to go on; a `Sink`."""

    def __init__(self, path: Path, levels: list[LevelWriter], lock: Lock, records: int) -> None:
        """Put the parts together; `open` makes them."""
        self.path, self._levels, self._lock = path, levels, lock
        self._records, self._lines = records, list[bytes]()
        self._waiting, self._pause, self._last = 0, _PAUSE, time.monotonic() - _PAUSE
        self._broken = self._closed = False

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        *,
        manifest: Mapping[str, Any],
        n: Sequence[int],
        allow_changes: bool = False,
        noise_seeds: bool,
        theta_dim: int,
    ) -> CampaignStore:
        """Create a store, or open one to go on.

        Args:
            path: The folder.
            manifest: What the campaign is of, plain JSON.
            n: Rows that are wanted of each level; a store with fewer is extended.
            allow_changes: Whether a simulator's code or settings may have changed.
            noise_seeds: Whether rows have seeds.
            theta_dim: Number of parameters.

        Raises:
            ValueError: The folder holds something else, or another campaign.
            RuntimeError: Another process writes it, or it cannot be written.
        """
        folder = as_folder(path)
        with writing(folder):
            _check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
            lock = Lock(folder)
            try:
                counts = _open_root(folder, manifest, n, allow_changes=allow_changes)
                levels = open_levels(folder, counts, theta_dim=theta_dim, seeds=noise_seeds)
                records = sum(1 for _ in failures.read_records(folder))
            except BaseException:
                lock.release()
                raise
        return CampaignStore(folder, levels, lock, records)

    def status(self, level: int) -> np.ndarray:
        """Of each row, also of those that wait to be written, shape `(>= n,)`, uint8."""
        return self._levels[level].status

    def event_shape(self, level: int) -> tuple[int, ...] | None:
        """Shape of one output of a level's own simulator, None while not known."""
        own = self._levels[level].layout
        if own is not None:
            return own.event_shape
        above = self._levels[level + 1].layout if level + 1 < len(self._levels) else None
        return None if above is None else above.coarse_shape

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome. It is on disk half a second later if something is added then.

        Raises:
            RuntimeError: The store cannot be written, or is closed.
        """
        self._check_open()
        level = self._levels[outcome.task.level]
        with self._writing():
            lines = failures.lines_of(outcome, before=self._records)
            self._lines += lines
            self._records += len(lines)
            self._waiting += _nbytes(outcome) + sum(map(len, lines))
            level.add(outcome)
            complete = level.complete()
            if complete:
                self._write({outcome.task.level: complete})
            due = time.monotonic() - self._last >= self._pause
            if due or self._waiting > _WAITING_BYTES or self._spare_bytes() > _SPARE_BYTES:
                self._write_all()

    def flush(self) -> None:
        """Bring everything that was added to disk.

        Raises:
            RuntimeError: The store cannot be written, or is closed.
        """
        self._check_open()
        with self._writing():
            self._write_all()

    def reopen(self, level: int, rows: np.ndarray) -> None:
        """Make failed rows pending again, on disk too.

        Raises:
            RuntimeError: The store cannot be written, or is closed.
        """
        self.flush()
        with self._writing():
            self._levels[level].reopen(np.asarray(rows, dtype=np.int64))

    def reset(self, level: int) -> None:
        """Forget all rows of a level, and which shape they had; `status` stays the same array.

        Raises:
            RuntimeError: The store cannot be written, or is closed.
        """
        self._check_open()
        with self._writing():
            self._levels[level].reset()

    def close(self) -> None:
        """Write what waits, unless writing failed before, and let others write."""
        if self._closed:
            return
        try:
            if not self._broken:
                self.flush()
        finally:
            self._closed = True
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed or self._broken:
            why = "is closed" if self._closed else "could not be written before"
            raise RuntimeError(f"the store {str(self.path)!r} {why}. Open it again.")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A write that failed is the last one: `close` must not hide its error by another."""
        try:
            with writing(self.path):
                yield
        except RuntimeError:
            self._broken = True
            raise

    def _spare_bytes(self) -> int:
        return sum(level.spare_bytes() for level in self._levels)

    def _write_all(self) -> None:
        self._write({number: level.dirty() for number, level in enumerate(self._levels)})
        self._waiting = 0
        if self._spare_bytes() > _SPARE_BYTES:
            for level in self._levels:
                level.forget()

    def _write(self, chunks: Mapping[int, Sequence[OpenChunk]]) -> None:
        """Write chunks of levels, in the order that makes a row finished last."""
        begin = time.monotonic()
        if self._lines:
            failures.append(self.path, self._lines)
            self._lines.clear()
        work = [(self._levels[number], own) for number, own in chunks.items() if own]
        write_files(file for level, own in work for file in level.data_files(own))
        write_files(file for level, own in work for file in level.status_files(own))
        for level, own in work:
            level.written(own)
        self._last = time.monotonic()
        self._pause = min(max(_PAUSE, _SHARE * (self._last - begin)), _MAX_PAUSE)


def _nbytes(outcome: Outcome) -> int:
    arrays = (outcome.theta, outcome.x, outcome.x_coarse)
    return sum(array.nbytes for array in arrays if array is not None)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is not a store's, before anything is written to it."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"store {str(folder)!r} must be a folder; got a file. Pass another name.")
    if read_root(folder) is None:
        others = sorted(e.name for e in folder.iterdir() if not is_leftover(e.name))
        if others:
            raise ValueError(
                f"store {str(folder)!r} must be new or a campaign's; got a folder that holds "
                f"{', '.join(map(repr, others[:3]))}. Pass another name."
            )


def _open_root(
    folder: Path, manifest: Mapping[str, Any], n: Sequence[int], *, allow_changes: bool
) -> list[int]:
    """Write what the store is of, or compare with it; the number of rows of each level."""
    now: dict[str, Any] = json.loads(json.dumps(manifest, allow_nan=False))
    stored, counts = read_root(folder), [int(count) for count in n]
    if stored is None:
        attributes: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "created": _now(),
            "versions": _versions(),
            "n": counts,
            "manifest": now,
        }
    else:
        kept, changes = check_manifest(
            stored["manifest"], now, store=str(folder), allow_changes=allow_changes
        )
        if len(stored["n"]) != len(counts):
            raise ValueError(
                f"n must have {len(stored['n'])} levels, as store {str(folder)!r}; got "
                f"{len(counts)}. Pass another store."
            )
        counts = [max(old, new) for old, new in zip(stored["n"], counts, strict=True)]
        attributes = {**stored, "n": counts, "manifest": kept}
        if changes:
            noted = [{"time": _now(), **change} for change in changes]
            attributes["changes"] = [*stored.get("changes", []), *noted]
    if attributes != stored:
        value = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        write_files([json_file(folder / "zarr.json", value)])
    return counts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    names = ("mlsbi", "torch", "numpy", "zarr")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
