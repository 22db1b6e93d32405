"""Run a single row of a campaign again, right here."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mlsbi._checks import check_count, check_level, check_seed, check_type
from mlsbi._noise import pick_rows
from mlsbi.hierarchy import Hierarchy
from mlsbi.simulate._chunks import CHUNK_ROWS, Chunk, draw_chunk

__all__ = ["draw_row", "reproduce"]


def draw_row(hierarchy: Hierarchy, *, level: int, row: int, seed: int) -> tuple[Tensor, Any]:
    """Parameters, shape `(1, d)`, and noise of one row of a campaign."""
    block, offset = divmod(row, CHUNK_ROWS)
    theta, u = draw_chunk(hierarchy, Chunk(level, block, CHUNK_ROWS), seed)
    rows = slice(offset, offset + 1)
    return theta[rows], pick_rows(u, rows)


def reproduce(
    hierarchy: Hierarchy, *, level: int, row: int, seed: int
) -> tuple[Tensor | None, Tensor]:
    """Run one row of `mlsbi.simulate(hierarchy, ..., seed=seed)` again, in this process.

    Nothing is caught: a debugger stops in the simulator.

    Args:
        hierarchy: The hierarchy.
        level: Which level.
        row: The row's number within the level, as errors and `data.failures` give it.
        seed: The seed of the campaign.

    Returns:
        Outputs of the level below, shape `(1, *event)` (None for level 0), and of the level.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If there is no such level, or an argument is out of range.
        Exception: Whatever the simulator raises.
    """
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    row = check_count(row, name="row", minimum=0)
    level = check_level(level, num_levels=hierarchy.num_levels)
    theta, u = draw_row(hierarchy, level=level, row=row, seed=check_seed(seed))
    return hierarchy.pair(level, theta, u)
