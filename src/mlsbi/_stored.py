"""What else a campaign's store says of its runs, read when it is first used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mlsbi.failures import Failure

if TYPE_CHECKING:
    from mlsbi.simulate._store import StoreReader

__all__ = ["JoinedFailures", "Source", "StoredFailures", "failures_since", "row_numbers"]


class Source:
    """A store to read from. A pickle holds its path only, and opens it again when it is used."""

    def __init__(self, store: StoreReader | str | os.PathLike[str]) -> None:
        """Take a reader, or open a path."""
        self._reader: StoreReader | None = None
        if isinstance(store, (str, os.PathLike)):
            self.path = Path(store).absolute()
        else:
            self.path, self._reader = Path(store.path).absolute(), store

    @property
    def reader(self) -> StoreReader:
        """The reader."""
        if self._reader is None:
            from mlsbi.simulate._store import read_store  # it imports this module

            self._reader = read_store(self.path)
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_reader": None}


class StoredFailures(Sequence[Failure]):
    """Failed rows of a store, read when they are first used."""

    def __init__(self, source: Source, failed: Mapping[int, np.ndarray]) -> None:
        """Name the rows; nothing is read.

        Args:
            source: The store.
            failed: Rows that failed, ascending, by level.
        """
        self._source, self._failed = source, dict(failed)
        self._records: tuple[Failure, ...] | None = None

    def since(self, level: int) -> StoredFailures:
        """Those of a level and of the levels above it."""
        kept = {own: rows for own, rows in self._failed.items() if own >= level}
        return StoredFailures(self._source, kept)

    def _all(self) -> tuple[Failure, ...]:
        if self._records is None:
            reader = self._source.reader
            wanted = {level: set(rows.tolist()) for level, rows in self._failed.items()}
            self._records = tuple(
                Failure.from_dict(record, seed=reader.manifest["seed"])
                for record in reader.failures()
                if record["row"] in wanted.get(record["level"], ())
            )
        return self._records

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Failure: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Failure, ...]: ...
    def __getitem__(self, index: int | slice) -> Failure | tuple[Failure, ...]:
        return self._all()[index]

    def __repr__(self) -> str:
        count = sum(len(rows) for rows in self._failed.values())
        return f"<{count} failures in store {str(self._source.path)!r}>"


class JoinedFailures(Sequence[Failure]):
    """Failures of two data sets, the first one's first, read when they are first used."""

    def __init__(self, first: Sequence[Failure], second: Sequence[Failure]) -> None:
        """Put them together; nothing is read."""
        self._parts = (first, second)

    def since(self, level: int) -> JoinedFailures:
        """Those of a level and of the levels above it."""
        first, second = (failures_since(level, part) for part in self._parts)
        return JoinedFailures(first, second)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @overload
    def __getitem__(self, index: int) -> Failure: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Failure, ...]: ...
    def __getitem__(self, index: int | slice) -> Failure | tuple[Failure, ...]:
        first, second = self._parts
        return (*first, *second)[index]

    def __repr__(self) -> str:
        return f"<failures of two sets: {self._parts[0]!r}, {self._parts[1]!r}>"


def row_numbers(rows: range | np.ndarray) -> np.ndarray:
    """Rows as an array, int64."""
    if isinstance(rows, range):  # `asarray` takes it apart number by number: a second a million
        return np.arange(rows.start, rows.stop, dtype=np.int64)
    return rows


def failures_since(level: int, failures: Sequence[Failure]) -> Sequence[Failure]:
    """Failures of a level and of the levels above it."""
    if level == 0:
        return failures
    if isinstance(failures, (StoredFailures, JoinedFailures)):
        return failures.since(level)
    return tuple(failure for failure in failures if failure.level >= level)
