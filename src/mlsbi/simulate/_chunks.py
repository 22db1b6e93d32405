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
    """Blocks of draws of a campaign. The last one is kept, as several tasks share it."""

    def __init__(self, hierarchy: Hierarchy, seed: int) -> None:
        """Draw from a hierarchy."""
        self._hierarchy, self._seed = hierarchy, seed
        self._key = (-1, -1)
        self._draws: tuple[Tensor, Any] | None = None

    def block(self, level: int, index: int) -> tuple[Tensor, Any]:
        """Parameters and noise of a whole block, `CHUNK_ROWS` rows."""
        if self._draws is None or self._key != (level, index):
            self._draws = None  # its memory is free for the next one, and still warm
            self._key = (level, index)
            self._draws = draw_chunk(self._hierarchy, Chunk(level, index, CHUNK_ROWS), self._seed)
        return self._draws
