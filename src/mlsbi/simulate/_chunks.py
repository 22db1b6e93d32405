"""Chunks of rows: the unit of work, of randomness, and (for a store) of progress kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlsbi._noise import pick_rows
from mlsbi._random import make_generator
from mlsbi.hierarchy import Hierarchy, RowError

__all__ = ["CHUNK_ROWS", "Chunk", "ChunkResult", "draw_chunk", "plan_chunks", "run_chunk"]

CHUNK_ROWS = 1024
"""Rows of a full chunk. A part of the seed's meaning: another value gives other data."""


@dataclass(frozen=True)
class Chunk:
    """Rows `CHUNK_ROWS * index` to `CHUNK_ROWS * index + rows` of a level.

    Attributes:
        level: Which level.
        index: Which chunk of that level.
        rows: Number of rows to run, at most `CHUNK_ROWS`.
    """

    level: int
    index: int
    rows: int

    @property
    def start(self) -> int:
        """The first row's number within the level."""
        return self.index * CHUNK_ROWS


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave.

    Attributes:
        chunk: Which chunk.
        theta: Parameters, shape `(rows, d)`.
        x_coarse: Outputs of level l-1, shape `(rows, *event)`, None for level 0.
        x: Outputs of level l, shape `(rows, *event)`.
    """

    chunk: Chunk
    theta: Tensor
    x_coarse: Tensor | None
    x: Tensor


def plan_chunks(n: Sequence[int]) -> list[Chunk]:
    """Cut every level's rows into chunks.

    Args:
        n: Rows of each level.

    Returns:
        The chunks, in the order of levels and rows.
    """
    return [
        Chunk(level, index, min(CHUNK_ROWS, count - index * CHUNK_ROWS))
        for level, count in enumerate(n)
        for index in range(-(-count // CHUNK_ROWS))
    ]


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
        """theta and u of a whole block, `CHUNK_ROWS` rows."""
        found = self._blocks.pop((level, index), None)
        if found is None:
            found = draw_chunk(self._hierarchy, Chunk(level, index, CHUNK_ROWS), self._seed)
            while len(self._blocks) >= self._KEPT:
                self._blocks.pop(next(iter(self._blocks)))
        self._blocks[level, index] = found  # last: used most recently
        return found


def run_chunk(hierarchy: Hierarchy, chunk: Chunk, seed: int) -> ChunkResult:
    """Run one chunk: a pure function of its arguments, which can go to another process.

    Args:
        hierarchy: The hierarchy.
        chunk: Which rows of which level.
        seed: The user's seed.

    Returns:
        Parameters and outputs; failed runs are NaN or infinite as the simulator returned them.

    Raises:
        RuntimeError: If a simulator raises an exception or returns something of a wrong shape or
            type; the message names the level, the rows and how to run them again.
    """
    theta, u = draw_chunk(hierarchy, chunk, seed)
    coarse: Tensor | None = None
    level = chunk.level
    try:
        if chunk.level > 0:
            level = chunk.level - 1
            coarse = hierarchy.levels[level].run(theta, u)
        level = chunk.level
        fine = hierarchy.levels[level].run(theta, u)
    except RowError as error:
        row = chunk.start + error.row
        cause = error.__cause__ or error
        raise RuntimeError(_message(chunk, level, seed, f"row {row}", cause)) from cause
    except Exception as error:
        rows = f"rows {chunk.start} to {chunk.start + chunk.rows - 1}"
        raise RuntimeError(_message(chunk, level, seed, rows, error)) from error
    return ChunkResult(chunk, theta, coarse, fine)


def _message(chunk: Chunk, level: int, seed: int, rows: str, error: BaseException) -> str:
    pair = "" if level == chunk.level else f" (as the coarse member of level {chunk.level}'s pairs)"
    return (
        f"the simulator of level {level}{pair} failed at {rows} of level {chunk.level}: "
        f"{type(error).__name__}: {error}. {reproduce(chunk, seed)} If some runs may fail, let the "
        "simulator return NaN for them and pass on_failure='drop'."
    )


def reproduce(chunk: Chunk, seed: int) -> str:
    """How to run a chunk again, for a message."""
    return (
        "To reproduce: from mlsbi.simulate import Chunk, run_chunk; run_chunk(hierarchy, "
        f"Chunk(level={chunk.level}, index={chunk.index}, rows={chunk.rows}), seed={seed})."
    )


def non_finite_rows(result: ChunkResult) -> dict[int, Tensor]:
    """Rows (within the level) where a member has NaN or infinite values.

    Args:
        result: A chunk's result.

    Returns:
        Row numbers by the level of the simulator that gave them; levels without any are left out.
    """
    members = {result.chunk.level: result.x}
    if result.x_coarse is not None:
        members[result.chunk.level - 1] = result.x_coarse
    found = {}
    for level, x in sorted(members.items()):
        bad = ~torch.isfinite(x).reshape(len(x), -1).all(dim=1)
        if bool(bad.any()):
            found[level] = bad.nonzero().flatten() + result.chunk.start
    return found
