"""Reading a campaign store, also one that another process is writing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mlsbi._folders import as_folder
from mlsbi.simulate._rows import FAILED
from mlsbi.simulate._store_failures import FAILURES, read_records
from mlsbi.simulate._store_files import Damage, is_leftover, read_json
from mlsbi.simulate._store_layout import Layout, level_folder, read_layout

__all__ = ["FORMAT", "FORMAT_VERSION", "StoreReader", "is_store", "read_root", "read_store"]

FORMAT, FORMAT_VERSION = "mlsbi.campaign", 1
_REMEDY = "Call simulate again with the same arguments: only what is damaged is run again."


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a campaign (a damaged one, too)."""
    folder = Path(path)
    try:
        root = read_json(folder / "zarr.json")
    except Damage:
        return any(is_leftover(e.name) or e.name == FAILURES for e in folder.iterdir())
    except OSError:
        return False
    attributes = None if root is None else root.get("attributes")
    return isinstance(attributes, dict) and attributes.get("format") == FORMAT


def read_root(folder: Path) -> dict[str, Any] | None:
    """The attributes of a store, None where the folder has no `zarr.json`.

    Raises:
        ValueError: It is none, or of another version, or damaged.
    """
    name, path = repr(str(folder)), folder / "zarr.json"
    try:
        root = read_json(path)
    except Damage as damage:
        raise ValueError(
            f"store {name}: {str(path)!r} is damaged ({damage.why}), and without it nothing says "
            "what its rows are of. Restore that file, or pass another store."
        ) from damage
    if root is None:
        return None
    attributes = root.get("attributes")
    found = attributes.get("format") if isinstance(attributes, dict) else None
    if not isinstance(attributes, dict) or found != FORMAT:
        raise ValueError(
            f"store {name} must be a campaign's; got a Zarr group of format {found!r}. Pass a new "
            "folder, or the one of an earlier simulate(..., store=...)."
        )
    if attributes.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"store {name} has format version {attributes.get('format_version')}; this mlsbi "
            f"handles version {FORMAT_VERSION}. Use the version of mlsbi that wrote it."
        )
    return attributes


def read_store(path: str | os.PathLike[str]) -> StoreReader:
    """Open a store to read it. Takes no lock.

    Raises:
        ValueError: The folder holds no campaign, or its `zarr.json` is damaged.
    """
    return StoreReader(as_folder(path))


class StoreReader:
    """Reads the rows of a store.

    Attributes:
        path: The store.
        manifest: What the campaign is of.
        n: Rows asked for, of each level.
    """

    def __init__(self, path: Path) -> None:
        """Read the root's attributes; arrays are read when asked for."""
        attributes = read_root(path)
        if attributes is None:
            raise ValueError(
                f"path {str(path)!r} holds no campaign. Pass the store given to simulate."
            )
        self.path = path
        self.manifest: dict[str, Any] = attributes["manifest"]
        self.n: tuple[int, ...] = tuple(int(count) for count in attributes["n"])
        self._layouts: dict[int, Layout] = {}

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return len(self.n)

    def event_shape(self, level: int) -> tuple[int, ...] | None:
        """Shape of one output of a level's own simulator, None while not known."""
        own = self._layout(level)
        if own is not None:
            return own.event_shape
        above = self._layout(level + 1) if level + 1 < self.num_levels else None
        return None if above is None else above.coarse_shape

    def status(self, level: int) -> np.ndarray:
        """Of each row, as it is on disk now, shape `(n,)`, uint8.

        Raises:
            ValueError: A file is damaged.
        """
        status, layout = np.zeros(self.n[level], dtype=np.uint8), self._layout(level)
        if layout is not None:
            size = layout.chunk_rows
            for index in range(-(-len(status) // size)):
                own = status[index * size : (index + 1) * size]
                own[:] = self._status_chunk(level, layout, index)[: len(own)]
        return status

    def read(self, level: int, name: str, rows: np.ndarray) -> np.ndarray:
        """Some rows of an array; only chunks that hold them are read.

        Args:
            level: Which level.
            name: `"theta"`, `"x"`, `"x_coarse"`, `"row_seed"`, `"seconds"` or `"seconds_coarse"`.
            rows: Row numbers, ascending.

        Returns:
            The rows, shape `(len(rows), *)`. Rows that were not run are NaN, and -1 in `row_seed`.

        Raises:
            ValueError: The level has no such array (yet), or a file is damaged.
        """
        layout = self._layout(level)
        if layout is None or name not in layout.data_names():
            names = () if layout is None else layout.data_names()
            raise ValueError(
                f"name must be an array of level {level}, which has "
                f"{', '.join(names) or 'none before its first rows are finished'}; got {name!r}. "
                "Pass another name, or finish rows of that level first."
            )
        rows = np.asarray(rows, dtype=np.int64)
        values = np.empty((len(rows), *layout.shape(name)), dtype=layout.dtype(name))
        chunks = rows // layout.chunk_rows
        for index in np.unique(chunks).tolist():
            first, last = np.searchsorted(chunks, [index, index + 1])
            local = rows[first:last] - index * layout.chunk_rows
            values[first:last] = self._chunk(level, layout, name, index, local)
        return values

    def failures(self) -> list[dict[str, Any]]:
        """The last record of each row that is failed now, ordered by level and row.

        Raises:
            ValueError: A record is missing, or a status file is damaged.
        """
        failed = [self.status(level) == FAILED for level in range(self.num_levels)]
        last: dict[tuple[int, int], dict[str, Any]] = {}
        for record in read_records(self.path):
            level, row = record["level"], record["row"]
            known = 0 <= level < len(failed) and 0 <= row < len(failed[level])
            if known and failed[level][row]:
                last[level, row] = record
        if len(last) < sum(int(rows.sum()) for rows in failed):
            raise self._error(Damage(self.path / FAILURES, "records of failed rows are missing"))
        return [last[key] for key in sorted(last)]

    def _layout(self, level: int) -> Layout | None:
        if level not in self._layouts:
            try:
                layout = read_layout(level_folder(self.path, level))
            except Damage as damage:
                raise self._error(damage) from damage
            if layout is None:
                return None
            self._layouts[level] = layout
        return self._layouts[level]

    def _status_chunk(self, level: int, layout: Layout, index: int) -> np.ndarray:
        try:
            status = layout.read(level_folder(self.path, level), "status", index)
        except Damage as damage:
            raise self._error(damage) from damage
        return layout.empty("status") if status is None else status

    def _chunk(
        self, level: int, layout: Layout, name: str, index: int, local: np.ndarray
    ) -> np.ndarray:
        # The status first: what it says is finished was on disk before it.
        status = self._status_chunk(level, layout, index)
        asked = np.zeros_like(status)
        asked[local] = status[local]
        try:
            return layout.read_rows(level_folder(self.path, level), name, index, asked)[local]
        except Damage as damage:
            raise self._error(damage) from damage

    def _error(self, damage: Damage) -> ValueError:
        return ValueError(f"{str(damage.path)!r} is damaged: {damage.why}. {_REMEDY}")
