"""Draws of a pilot: the same theta and noise for all levels, with twins and copies planted.

A level's runs are the campaign of that level alone, with one seed for all levels: a hierarchy of
one level draws from the same stream, ("simulate", 0, block), whichever level it is. Rows are
planted at fixed places of a block, so that a larger pilot keeps the rows of a smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlsbi._noise import pick_rows
from mlsbi.failures import Failure
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate import CHUNK_ROWS, Chunk, draw_chunk

__all__ = ["ColumnLevel", "PilotFailure", "Rows", "column_theta", "row_failures", "rows_of"]

_COPIES = (1, 5)  # rows of a block with the theta and the noise of the row before
_FIRST_GROUP = 8  # from this row of a block on, the last row of every four is the third's twin


@dataclass(frozen=True)
class PilotFailure(Failure):
    """Why one run of a pilot has no result; `row` is its row in the campaign of its level alone."""

    def _draw(self, hierarchy: Hierarchy) -> tuple[Tensor, Any]:
        if self.level >= hierarchy.num_levels:
            raise self._another(f"it has {hierarchy.num_levels} level(s)")
        as_run = Failure(**(vars(self) | {"level": 0}))
        return as_run._draw(ColumnLevel(hierarchy, self.level))

    def __str__(self) -> str:
        return f"pilot, {super().__str__()}"


def row_failures(failures: Sequence[Failure], num_levels: int) -> tuple[Failure, ...]:
    """One failure for every run or pair that a pilot's data leave out, as a campaign notes it.

    A column of level l that failed takes the pair of level l + 1 with it. Copies are no columns.
    """
    found: dict[tuple[int, int], Failure] = {}
    for level in range(num_levels):
        for simulator in (level - 1, level):  # in the order in which a pair is run
            for failure in failures:
                if failure.simulator == simulator and failure.row % CHUNK_ROWS not in _COPIES:
                    found.setdefault((level, failure.row), replace(failure, level=level))
    return tuple(found[key] for key in sorted(found))


class ColumnLevel(Hierarchy):
    """One level of a hierarchy alone, with twins and copies planted among its rows."""

    def __init__(self, hierarchy: Hierarchy, level: int) -> None:
        super().__init__(hierarchy.prior, [hierarchy.levels[level]], noise=hierarchy._noise)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Draw a block of rows, and plant."""
        theta, u = super().draw(n, generator)
        row = torch.arange(n)
        copy, twin = (mark.long() for mark in _marks(row))
        return theta[row - (copy | twin)], pick_rows(u, row - copy)


def _marks(place: Tensor) -> tuple[Tensor, Tensor]:
    """Of places within a block: whether they are copies, and whether twins, of the row before."""
    copy = torch.isin(place, torch.tensor(_COPIES))
    return copy, (place >= _FIRST_GROUP) & ((place - _FIRST_GROUP) % 4 == 3)


@dataclass(frozen=True)
class Rows:
    """Which rows a pilot runs, and what they are.

    Attributes:
        count: How many are run of each level: n + 2 for n columns of a pilot of usual size.
        columns: The row of each column, int64, shape `(n,)`.
        twins: Columns with the same theta and independent noise, int64, shape `(r, 2)`.
        copies: Rows with the same theta and noise, int64, shape `(2, 2)`.
    """

    count: int
    columns: Tensor
    twins: Tensor
    copies: Tensor


def rows_of(n: int) -> Rows:
    """The rows of a pilot with n columns, 8 at least."""
    blocks = n // (CHUNK_ROWS - len(_COPIES)) + 1
    row = torch.arange(n + blocks * len(_COPIES))
    columns = row[~_marks(row % CHUNK_ROWS)[0]][:n]
    place = columns % CHUNK_ROWS
    second = _marks(place)[1].nonzero().flatten()  # its twin is the row, thus the column, before
    copy = torch.tensor(_COPIES)
    return Rows(
        int(columns[-1]) + 1,
        columns,
        torch.stack([second - 1, second], 1),
        torch.stack([copy - 1, copy], 1),
    )


def column_theta(hierarchy: Hierarchy, count: int, seed: int) -> Tensor:
    """Parameters of the first rows, whether their runs succeed or not, shape `(count, d)`."""
    alone = ColumnLevel(hierarchy, 0)
    starts = range(0, count, CHUNK_ROWS)
    blocks = [Chunk(0, i, min(CHUNK_ROWS, count - start)) for i, start in enumerate(starts)]
    return torch.cat([draw_chunk(alone, block, seed)[0] for block in blocks])
