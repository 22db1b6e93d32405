"""Blocks of rows: the unit of randomness. A row's theta and noise are a part of its block's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mlsbi._noise import pick_rows
from mlsbi._random import make_generator
from mlsbi.hierarchy import Hierarchy

__all__ = ["CHUNK_ROWS", "Chunk", "Draws", "draw_chunk"]

CHUNK_ROWS = 1024
"""Rows of a full block. A part of the seed's meaning: another value gives other data."""


@dataclass(frozen=True)
class Chunk:
    """Rows `CHUNK_ROWS * index` to `CHUNK_ROWS * index + rows` of a level.

    Attributes:
        level: Which level.
        index: Which chunk of that level.
        rows: Number of rows, at most `CHUNK_ROWS`.
    """

    level: int
    index: int
    rows: int

    @property
    def start(self) -> int:
        """The first row's number within the level."""
        return self.index * CHUNK_ROWS


def draw_chunk(hierarchy: Hierarchy, chunk: Chunk, seed: int) -> tuple[Tensor, Any]:
    """Parameters and noise of a chunk.

    A full chunk is drawn, whatever part of it is run, so that asking for more rows later keeps the
    rows that were there.

    Args:
        hierarchy: The hierarchy.
        chunk: Which rows.
        seed: The user's seed.

    Returns:
        theta, shape `(rows, d)`, and u with as many rows.
    """
    generator = make_generator(seed, "simulate", chunk.level, chunk.index)
    theta, u = hierarchy.draw(CHUNK_ROWS, generator)
    return theta[: chunk.rows], pick_rows(u, slice(chunk.rows))


class Draws:
    """Blocks of draws of a campaign; the last few are kept, as several tasks share one."""

    _KEPT = 4

    def __init__(self, hierarchy: Hierarchy, seed: int) -> None:
        """Draw from a hierarchy."""
        self._hierarchy, self._seed = hierarchy, seed
        self._blocks: dict[tuple[int, int], tuple[Tensor, Any]] = {}

    def block(self, level: int, index: int) -> tuple[Tensor, Any]:
        """Parameters and noise of a whole block, `CHUNK_ROWS` rows."""
        found = self._blocks.pop((level, index), None)
        if found is None:
            found = draw_chunk(self._hierarchy, Chunk(level, index, CHUNK_ROWS), self._seed)
            while len(self._blocks) >= self._KEPT:
                self._blocks.pop(next(iter(self._blocks)))
        self._blocks[level, index] = found  # last: used most recently
        return found
