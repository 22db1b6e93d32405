"""How long one run of each level takes: mean and spread, read from a store when first used.

Counts, means and standard deviations of parts are put together as Chan, Golub and LeVeque (1979,
"Updating formulae and a pairwise algorithm for computing sample variances") say, so that one pass
over the rows gives both without cancellation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np

from mlsbi._stored import Source, row_numbers

__all__ = ["JoinedTimes", "RunTime", "Seconds", "StoredTimes", "Times"]

_PIECE = 1 << 20  # rows of which the seconds are read at once

Known = Sequence[float | None] | None


@dataclass(frozen=True)
class RunTime:
    """What is known of the wall-clock seconds of one run.

    Attributes:
        count: Runs that were timed.
        mean: Their mean; None where not known.
        sd: Their standard deviation (n - 1 in the denominator); None where not known.
    """

    count: int
    mean: float | None
    sd: float | None

    @staticmethod
    def of(seconds: np.ndarray) -> RunTime:
        """The runs with these times, shape `(n,)`; NaN where not known."""
        known = seconds[np.isfinite(seconds)].astype(np.float64)
        if len(known) == 0:
            return RunTime(0, None, None)
        spread = float(known.std(ddof=1)) if len(known) > 1 else None
        return RunTime(len(known), float(known.mean()), spread)

    @property
    def _squares(self) -> float:
        """Sum of squared distances from the mean; NaN where not known."""
        if self.count == 1:
            return 0.0
        return math.nan if self.sd is None else (self.count - 1) * self.sd**2

    def __add__(self, other: RunTime) -> RunTime:
        """Both together; where one of the two is not known, the other."""
        if self.count == 0 or self.mean is None:
            return other
        if other.count == 0 or other.mean is None:
            return self
        count, apart = self.count + other.count, other.mean - self.mean
        squares = self._squares + other._squares
        squares += apart**2 * self.count * other.count / count
        return RunTime(
            count,
            self.mean + apart * other.count / count,
            None if math.isnan(squares) else math.sqrt(squares / (count - 1)),
        )


class Times(Protocol):
    """Run times of levels."""

    def __len__(self) -> int: ...

    def of(self, level: int) -> RunTime:
        """Those of a level."""
        ...


class StoredTimes:
    """Of rows of a store; each level's are read once, when they are first used."""

    def __init__(self, source: Source, rows: Sequence[range | np.ndarray]) -> None:
        """Name the rows; nothing is read.

        Args:
            source: The store.
            rows: Of each level, those that are done, ascending.
        """
        self._source, self._rows = source, tuple(rows)
        self._found: dict[int, RunTime] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, level: int) -> RunTime:
        """Those of a level."""
        if level not in self._found:
            total = RunTime(0, None, None)
            for piece in _pieces(self._rows[level]):
                total += RunTime.of(self._source.reader.read(level, "seconds", piece))
            self._found[level] = total
        return self._found[level]


class JoinedTimes:
    """Of two sets of runs together."""

    def __init__(self, *parts: tuple[Sequence[int], Known, Known]) -> None:
        """Take each set's number of rows, mean and spread of the seconds of each level."""
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts[0][0])

    def of(self, level: int) -> RunTime:
        """Those of a level."""
        total = RunTime(0, None, None)
        for n, means, spreads in self._parts:
            mean = None if means is None else means[level]
            total += RunTime(n[level], mean, None if spreads is None else spreads[level])
        return total


class Seconds(Sequence["float | None"]):
    """One number a level: the mean, or the spread; nothing is read before it is used."""

    def __init__(self, times: Times, *, spread: bool, levels: range | None = None) -> None:
        """Look at the times of some levels; by default at all."""
        self._times, self._spread = times, spread
        self._levels = range(len(times)) if levels is None else levels

    def __len__(self) -> int:
        return len(self._levels)

    @overload
    def __getitem__(self, index: int) -> float | None: ...
    @overload
    def __getitem__(self, index: slice) -> Seconds: ...
    def __getitem__(self, index: int | slice) -> float | Seconds | None:
        if isinstance(index, slice):
            return Seconds(self._times, spread=self._spread, levels=self._levels[index])
        found = self._times.of(self._levels[index])
        return found.sd if self._spread else found.mean


def _pieces(rows: range | np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _PIECE):
        yield row_numbers(rows[start : start + _PIECE])
