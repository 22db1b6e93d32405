"""Runs of one level: in memory, or in a campaign's store and read when they are first used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mlsbi._data_checks import check_stored
from mlsbi._facts import total_cost
from mlsbi._stored import Source, row_numbers
from mlsbi.prior import Prior

__all__ = ["AnyRuns", "Runs", "StoredRuns", "as_runs", "describe_runs", "no_runs"]

_AGAIN = "Call simulate again with the same arguments: only what is missing is run."


class AnyRuns(Protocol):
    """Runs of one level."""

    def __len__(self) -> int: ...

    @property
    def theta(self) -> Tensor:
        """Parameters, shape `(n, d)`."""
        ...

    @property
    def x(self) -> Tensor:
        """Outputs of the level, shape `(n, *event)`."""
        ...

    @property
    def x_coarse(self) -> Tensor | None:
        """Outputs of the level below, shape `(n, *event)`, or None."""
        ...

    @property
    def paired(self) -> bool:
        """Whether there are outputs of the level below."""
        ...

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        ...

    @property
    def num_bytes(self) -> int:
        """Size of the arrays in memory."""
        ...

    def loaded(self) -> Runs:
        """The same runs in memory."""
        ...

    def pick(self, index: Tensor | None) -> AnyRuns:
        """Some rows, by their numbers; None for all. Arrays that were read are not read again."""
        ...

    def unpaired(self) -> AnyRuns:
        """The same without the coarse member."""
        ...


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
    def paired(self) -> bool:
        """Whether there are outputs of the level below."""
        return self.x_coarse is not None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one output."""
        return tuple(self.x.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Size of the arrays in memory."""
        arrays = (self.theta, self.x_coarse, self.x)
        return sum(array.nbytes for array in arrays if array is not None)

    def loaded(self) -> Runs:
        """The same runs in memory."""
        return self

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
        self.paired = level > 0 if paired is None else paired
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
        return self._array("x_coarse", self._event(self._level - 1)) if self.paired else None

    @property
    def num_bytes(self) -> int:
        """Size of the arrays in memory."""
        events = [(self._prior.dim,), self.event_shape]
        events += [self._event(self._level - 1)] if self.paired else []
        return 4 * len(self) * sum(int(np.prod(event)) for event in events)

    def loaded(self) -> Runs:
        """The same runs in memory."""
        return Runs(self.theta, self.x_coarse, self.x)

    def pick(self, index: Tensor | None) -> StoredRuns:
        """Some rows, by their numbers; None for all. Arrays that were read are not read again."""
        if index is None:
            return self
        rows = row_numbers(self._rows)[index.numpy()]
        part = StoredRuns(self._source, self._level, rows, self._prior, paired=self.paired)
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


def as_runs(runs: AnyRuns | tuple[Any, ...] | list[Any]) -> AnyRuns:
    """Runs as they are, or made of `(theta, x_coarse, x)`."""
    return Runs(*runs) if isinstance(runs, (tuple, list)) else runs


def no_runs(dim: int, events: Sequence[tuple[int, ...]], level: int) -> Runs:
    """No runs of a level, for joining.

    Args:
        dim: Number of parameters.
        events: Shape of one output of each level.
        level: Which level.
    """
    coarse = torch.empty(0, *events[level - 1]) if level else None
    return Runs(torch.empty(0, dim), coarse, torch.empty(0, *events[level]))


def describe_runs(
    levels: Sequence[AnyRuns], costs: Sequence[float] | None, dropped: Sequence[int]
) -> list[str]:
    """A line on each level, and one on the total cost; no array is read for it."""
    lines = []
    for level, runs in enumerate(levels):
        kind = "runs" if level == 0 else "pairs"
        line = f"  level {level}: {len(runs)} {kind}, x {runs.event_shape}"
        if costs is not None:
            line += f", cost {costs[level]:g} a run"
        if dropped[level]:
            line += f", {dropped[level]} dropped"
        lines.append(line)
    cost = total_cost([len(runs) for runs in levels], costs)
    return lines if cost is None else [*lines, f"  total cost {cost:g}"]
