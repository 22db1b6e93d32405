"""Runs of one level: in memory, or in a campaign's store and read when they are first used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from mlsbi._data_checks import check_costs, check_stored
from mlsbi._stored import Source, StoredFailures, StoredSeconds, row_numbers
from mlsbi.failures import Failure
from mlsbi.prior import Prior

if TYPE_CHECKING:
    from mlsbi.simulate._store import StoreReader

__all__ = ["AnyRuns", "Runs", "StoredRuns", "as_runs", "describe_runs", "open_runs"]

_AGAIN = "Call simulate again with the same arguments: only what is missing is run."


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs in memory.

    Attributes:
        theta: Parameters, shape `(n, d)`.
        x_coarse: Outputs of the level below, shape `(n, *event)`, or None.
        x: Outputs of the level, shape `(n, *event)`.
    """

    theta: Tensor
    x_coarse: Tensor | None
    x: Tensor

    def __len__(self) -> int:
        return len(self.theta)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        return tuple(self.x.shape[1:])

    def pick(self, index: Tensor | None) -> Runs:
        """Some rows, by their numbers; None for all."""
        if index is None:
            return self
        coarse = None if self.x_coarse is None else self.x_coarse[index]
        return Runs(self.theta[index], coarse, self.x[index])

    def unpaired(self) -> Runs:
        """The same without the coarse member."""
        return Runs(self.theta, None, self.x)


class StoredRuns:
    """Runs in a store: an array is read when it is first used, and kept."""

    def __init__(
        self,
        source: Source,
        level: int,
        rows: range | np.ndarray,
        prior: Prior,
        *,
        paired: bool | None = None,
    ) -> None:
        """Name the rows; nothing is read.

        Args:
            source: The store.
            level: The level within the store.
            rows: Rows of that level that are done, in any order.
            prior: Where theta must lie.
            paired: Whether the coarse member is of interest; by default at levels above 0.
        """
        self._source, self._level, self._rows, self._prior = source, level, rows, prior
        self._paired = level > 0 if paired is None else paired
        self._arrays: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}  # whoever loads it reads what it needs

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        return self._event(self._level)

    @property
    def theta(self) -> Tensor:
        """Parameters, shape `(n, d)`."""
        return self._array("theta", (self._prior.dim,))

    @property
    def x(self) -> Tensor:
        """Outputs of the level, shape `(n, *event)`."""
        return self._array("x", self.event_shape)

    @property
    def x_coarse(self) -> Tensor | None:
        """Outputs of the level below, shape `(n, *event)`, or None."""
        return self._array("x_coarse", self._event(self._level - 1)) if self._paired else None

    @property
    def num_bytes(self) -> int:
        """Size of the arrays in memory."""
        events = [(self._prior.dim,), self.event_shape]
        events += [self._event(self._level - 1)] if self._paired else []
        return 4 * len(self) * sum(int(np.prod(event)) for event in events)

    def loaded(self) -> Runs:
        """The same runs in memory."""
        return Runs(self.theta, self.x_coarse, self.x)

    def pick(self, index: Tensor | None) -> StoredRuns:
        """Some rows, by their numbers; None for all. Arrays that were read are not read again."""
        if index is None:
            return self
        rows = row_numbers(self._rows)[index.numpy()]
        part = StoredRuns(self._source, self._level, rows, self._prior, paired=self._paired)
        part._arrays = {name: array[index] for name, array in self._arrays.items()}
        return part

    def unpaired(self) -> StoredRuns:
        """The same without the coarse member."""
        part = StoredRuns(self._source, self._level, self._rows, self._prior, paired=False)
        part._arrays = {k: v for k, v in self._arrays.items() if k != "x_coarse"}
        return part

    def _event(self, level: int) -> tuple[int, ...]:
        shape = self._source.reader.event_shape(level)
        if shape is None:  # rows of the level are done, so that the store must know
            raise ValueError(
                f"store {str(self._source.path)!r} does not say which shape the outputs of level "
                f"{level} have. {_AGAIN}"
            )
        return tuple(shape)

    def _array(self, name: str, event: tuple[int, ...]) -> Tensor:
        if name not in self._arrays:
            where = f"store {str(self._source.path)!r}, level {self._level}"
            values = torch.from_numpy(np.require(self._read(name), requirements=["C", "W"]))
            self._arrays[name] = check_stored(
                values, (len(self), *event), name=name, where=where, prior=self._prior
            )
        return self._arrays[name]

    def _read(self, name: str) -> np.ndarray:
        """Rows in their order, from a store that is read in its own order, each row once."""
        read, rows = self._source.reader.read, row_numbers(self._rows)
        if len(rows) < 2 or bool((rows[1:] > rows[:-1]).all()):
            return read(self._level, name, rows)
        ascending, place = np.unique(rows, return_inverse=True)
        return read(self._level, name, ascending)[place]


AnyRuns = Runs | StoredRuns


def as_runs(runs: AnyRuns | Sequence[Any]) -> AnyRuns:
    """Runs as they are, or made of `(theta, x_coarse, x)`."""
    return runs if isinstance(runs, (Runs, StoredRuns)) else Runs(*runs)


def describe_runs(
    levels: Sequence[AnyRuns], costs: Sequence[float] | None, dropped: Sequence[int]
) -> list[str]:
    """A line on each level; no array is read for it."""
    lines = []
    for level, runs in enumerate(levels):
        kind = "runs" if level == 0 else "pairs"
        line = f"  level {level}: {len(runs)} {kind}, x {runs.event_shape}"
        if costs is not None:
            line += f", cost {costs[level]:g} a run"
        if dropped[level]:
            line += f", {dropped[level]} dropped"
        lines.append(line)
    return lines


class Facts(TypedDict):
    """What is known of runs beside the runs: arguments of `MultilevelData`."""

    costs: tuple[float, ...] | None
    dropped: tuple[int, ...]
    failures: Sequence[Failure]
    seconds: Sequence[float | None]


def open_runs(
    store: StoreReader | str | os.PathLike[str],
    *,
    prior: Prior,
    n: Sequence[int] | None,
    eager_bytes: int,
) -> tuple[list[AnyRuns], Facts]:
    """Finished rows of a campaign's store, in the order of the rows.

    Args:
        store: The store's reader, or its path.
        prior: The campaign's prior.
        n: How many rows of each level to look at; by default all that were asked for.
        eager_bytes: Sets of at most this size are read at once, and need the store no more.

    Returns:
        Each level's runs, and what else is known. Failed rows count as dropped.

    Raises:
        ValueError: If a level has no finished rows, or the store is damaged.
    """
    from mlsbi.simulate._rows import FAILED  # it imports this module

    source = Source(store)
    reader = source.reader
    counts = tuple(reader.n if n is None else n)
    status = [np.asarray(reader.status(i))[:count] for i, count in enumerate(counts)]
    rows = [_done(source, level, own) for level, own in enumerate(status)]
    failed = {level: np.flatnonzero(own == FAILED) for level, own in enumerate(status)}
    stored = [StoredRuns(source, level, own, prior) for level, own in enumerate(rows)]
    dropped = tuple(len(own) for own in failed.values())
    failures = StoredFailures(source, failed) if any(dropped) else ()
    facts = Facts(
        costs=_costs(reader.manifest),
        dropped=dropped,
        failures=failures,
        seconds=StoredSeconds(source, list(enumerate(rows))),
    )
    if sum(runs.num_bytes for runs in stored) > eager_bytes:
        return list(stored), facts
    facts["failures"], facts["seconds"] = tuple(facts["failures"]), tuple(facts["seconds"])
    return [runs.loaded() for runs in stored], facts


def _done(source: Source, level: int, status: np.ndarray) -> range | np.ndarray:
    from mlsbi.simulate._rows import DONE  # it imports this module

    done = status == DONE
    count = int(done.sum())
    if count == 0:
        raise ValueError(
            f"store {str(source.path)!r}: level {level} has no finished rows yet, of "
            f"{len(status)} asked for. Wait for the campaign, or call simulate again with the same "
            "arguments; if its rows failed, failures.jsonl in the store says why."
        )
    # A range takes no memory, where numbers of 10 million rows take 80 MB.
    return range(count) if bool(done[:count].all()) else np.flatnonzero(done)


def _costs(manifest: Mapping[str, Any]) -> tuple[float, ...] | None:
    costs = [level.get("cost") for level in manifest["levels"]]
    return None if None in costs else check_costs(costs, len(costs))
