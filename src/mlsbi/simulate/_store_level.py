"""One level of a store that is being written: open chunks in memory, and the status of all rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlsbi.simulate._rows import DONE, FAILED, PENDING, Outcome
from mlsbi.simulate._store_files import File, chunk_file, drop_folder, sync_folder, write_files
from mlsbi.simulate._store_layout import Layout

__all__ = ["LevelWriter", "OpenChunk", "make_arrays"]


class OpenChunk:
    """A chunk in memory, whole.

    Attributes:
        index: Which chunk of the level.
        arrays: By name, the status included; each of `chunk_rows` rows.
        dirty: Whether it holds something that is not on disk.
    """

    def __init__(self, index: int, arrays: dict[str, np.ndarray]) -> None:
        self.index, self.arrays, self.dirty = index, arrays, False
        self.nbytes = sum(array.nbytes for array in arrays.values())


class LevelWriter:
    """Takes outcomes of one level.

    Attributes:
        status: Of each row, live, shape `(n,)`, uint8.
        layout: The arrays, None until a row had a result.
        chunks: What is open, the chunk used last at the end.
    """

    def __init__(
        self, folder: Path, count: int, layout: Layout | None, *, theta_dim: int, seeds: bool
    ) -> None:
        """All rows are pending; whoever opens a store sets the status of those that are not."""
        self.folder, self.layout = folder, layout
        self.status = np.zeros(count, dtype=np.uint8)
        self._theta_dim, self._seeds = theta_dim, seeds
        self.chunks: OrderedDict[int, OpenChunk] = OrderedDict()
        self._waiting: list[Outcome] = []  # failed rows, as long as no row had a result

    def add(self, outcome: Outcome) -> None:
        """Put an outcome into chunks; what they hold is not written here."""
        if self.layout is None:
            if outcome.x is None:
                self._waiting.append(replace(outcome, faults={}))
                self.status[outcome.task.rows] = FAILED
                return
            layout = Layout.choose(
                outcome, count=len(self.status), theta_dim=self._theta_dim, seeds=self._seeds
            )
            drop_folder(self.folder)  # what a reset or a creation that was cut short left
            make_arrays(self.folder, layout, len(self.status))
            self.layout = layout
            self.status[:] = PENDING  # nothing of the level is on disk
            for earlier in self._waiting:
                self._put(earlier, layout)
            self._waiting.clear()
        self._put(outcome, self.layout)

    def _put(self, outcome: Outcome, layout: Layout) -> None:
        rows, ok = outcome.task.rows, outcome.ok
        status = np.where(ok, DONE, FAILED).astype(np.uint8)
        positions = np.cumsum(ok) - ok  # of each row among those with a result
        values = {
            "theta": outcome.theta,
            "row_seed": outcome.row_seed,
            "seconds": outcome.seconds,
            "seconds_coarse": outcome.seconds_coarse,
        }
        results = {"x": outcome.x, "x_coarse": outcome.x_coarse}
        _check_shapes(layout, {**values, **results})
        edges = np.flatnonzero(np.diff(rows // layout.chunk_rows)) + 1
        for part in np.split(np.arange(len(rows)), edges):
            if len(part) == 0:
                continue
            chunk = self._open(int(rows[part[0]]) // layout.chunk_rows, layout)
            local = rows[part] - chunk.index * layout.chunk_rows
            good = ok[part]
            chunk.dirty = True
            for name, array in values.items():
                if array is not None:
                    chunk.arrays[name][local] = array[part]
            for name, array in results.items():
                if array is not None and good.any():
                    chunk.arrays[name][local[good]] = array[positions[part][good]]
            # Last, so that an interrupt half-way leaves rows that are not done.
            chunk.arrays["status"][local] = status[part]
            self.status[rows[part]] = status[part]

    def _open(self, index: int, layout: Layout) -> OpenChunk:
        if index in self.chunks:
            self.chunks.move_to_end(index)
            return self.chunks[index]
        first = index * layout.chunk_rows
        written, status = self.status[first : first + layout.chunk_rows], layout.empty("status")
        status[: len(written)] = written
        arrays = {"status": status}
        for name in layout.data_names():
            arrays[name] = layout.read_rows(self.folder, name, index, status).copy()
        self.chunks[index] = OpenChunk(index, arrays)
        return self.chunks[index]

    def dirty(self) -> list[OpenChunk]:
        """Chunks that hold something that is not on disk."""
        return [chunk for chunk in self.chunks.values() if chunk.dirty]

    def complete(self) -> list[OpenChunk]:
        """Dirty chunks without pending rows."""
        return [chunk for chunk in self.dirty() if self._is_complete(chunk)]

    def _is_complete(self, chunk: OpenChunk) -> bool:
        rows = len(chunk.arrays["status"])
        inside = len(self.status) - chunk.index * rows
        return bool((chunk.arrays["status"][:inside] != PENDING).all())

    def data_files(self, chunks: Sequence[OpenChunk]) -> Iterator[File]:
        """What is written first."""
        if self.layout is not None:
            for chunk in chunks:
                for name in self.layout.data_names():
                    path = self.layout.path(self.folder, name, chunk.index)
                    yield chunk_file(path, chunk.arrays[name])

    def status_files(self, chunks: Sequence[OpenChunk]) -> Iterator[File]:
        """What is written when the data are on disk."""
        if self.layout is not None:
            for chunk in chunks:
                path = self.layout.path(self.folder, "status", chunk.index)
                yield chunk_file(path, chunk.arrays["status"])

    def written(self, chunks: Sequence[OpenChunk]) -> None:
        """Take note that chunks are on disk; complete ones are forgotten."""
        for chunk in chunks:
            chunk.dirty = False
            if self._is_complete(chunk):
                self.chunks.pop(chunk.index, None)

    def spare_bytes(self) -> int:
        """Memory of what is open besides the chunk used last."""
        return sum(chunk.nbytes for chunk in list(self.chunks.values())[:-1])

    def forget(self) -> None:
        """Drop all written chunks but the one used last: they can be read back."""
        for index in list(self.chunks)[:-1]:
            if not self.chunks[index].dirty:
                del self.chunks[index]

    def reopen(self, rows: np.ndarray) -> None:
        """Failed rows become pending, on disk too. Everything that was added is written before."""
        failed = rows[self.status[rows] == FAILED]
        if self.layout is None:
            # Rows that wait are nowhere on disk: another run would run them again, too.
            self._waiting.clear()
            self.status[:] = PENDING
            return
        self.status[failed] = PENDING
        self.rewrite_status(np.unique(failed // self.layout.chunk_rows))

    def reset(self) -> None:
        """Forget all rows, and which shapes they had, on disk too."""
        self.layout = None
        self.chunks.clear()
        self._waiting.clear()
        self.status[:] = PENDING
        drop_folder(self.folder)

    def rewrite_status(self, indices: np.ndarray) -> None:
        """Write the status of chunks as it is now; what was open of them is read back when due."""
        if self.layout is None or len(indices) == 0:
            return
        files = []
        for index in indices.tolist():
            self.chunks.pop(index, None)
            chunk, first = self.layout.empty("status"), index * self.layout.chunk_rows
            own = self.status[first : first + self.layout.chunk_rows]
            chunk[: len(own)] = own
            files.append(chunk_file(self.layout.path(self.folder, "status", index), chunk))
        write_files(files)


def make_arrays(folder: Path, layout: Layout, count: int) -> None:
    """Write the files that say what arrays a level has; the level's own first."""
    for name in layout.names():
        (folder / name).mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)
    write_files([layout.group_file(folder)])
    write_files(layout.metadata_file(folder, name, count) for name in layout.names())
    sync_folder(folder)


def _check_shapes(layout: Layout, arrays: dict[str, np.ndarray | None]) -> None:
    own = layout.data_names()
    for name, array in arrays.items():
        if array is not None and (name not in own or array.shape[1:] != layout.shape(name)):
            raise ValueError(
                f"outcome must have the arrays {', '.join(own)} of the store, {name} of shape "
                f"(n, *{layout.shape(name)}); got shape {array.shape}. Pass another store."
            )
