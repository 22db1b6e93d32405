"""Which rows: arguments of `MultilevelData`'s methods as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_fraction, check_seed, check_type
from mlsbi._random import make_generator

__all__ = ["row_picks", "split_picks"]


def row_picks(rows: Any, *, counts: Sequence[int]) -> list[Tensor | None]:
    """Row numbers of each level, int64; None for a level that is kept whole."""
    check_type(rows, (list, tuple), name="rows", remedy="Pass a list with one entry a level.")
    if len(rows) != len(counts):
        raise ValueError(
            f"rows must have one entry a level, {len(counts)}; got {len(rows)}. Use None for a "
            "level that is kept whole."
        )
    return [
        _row_index(r, count=n, name=f"rows[{level}]")
        for level, (r, n) in enumerate(zip(rows, counts, strict=True))
    ]


def _row_index(rows: Any, *, count: int, name: str) -> Tensor | None:
    """Row numbers in `[0, count)`, int64, from integers or a boolean mask; None stays None."""
    if rows is None:
        return None
    index = as_tensor(
        rows,
        name=name,
        ndim=1,
        dtype=None,
        finite=False,
        remedy="Pass row numbers or a boolean mask.",
    ).cpu()
    if index.numel() == 0:
        raise ValueError(f"{name} must keep at least 1 row; got none. Pass row numbers or None.")
    if index.dtype == torch.bool:
        if len(index) != count:
            raise ValueError(
                f"{name} must have one entry a row, {count}; got {len(index)}. Pass a mask of that "
                "length, or row numbers."
            )
        if not bool(index.any()):
            raise ValueError(f"{name} must keep at least 1 row; got none. Set some entries True.")
        return index.nonzero().flatten()
    if index.is_floating_point():
        raise TypeError(f"{name} must hold integers; got {index.dtype}. Pass row numbers.")
    if int(index.min()) < 0 or int(index.max()) >= count:
        raise ValueError(
            f"{name} must lie in [0, {count}); got {int(index.min())} to {int(index.max())}. Pass "
            "row numbers of this level."
        )
    return index.long()


def split_picks(
    counts: Sequence[int], fraction: Any, *, seed: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """Row numbers of the two parts of every level; see `MultilevelData.split`."""
    fraction = check_fraction(fraction, name="fraction")
    seed = check_seed(seed)
    first: list[Tensor] = []
    second: list[Tensor] = []
    for level, n in enumerate(counts):
        if n < 2:
            raise ValueError(
                f"data must have at least 2 rows at every level to be split; level {level} has "
                f"{n}. Add runs to that level."
            )
        count = min(max(round(fraction * n), 1), n - 1)
        order = torch.randperm(n, generator=make_generator(seed, "split", level))
        first.append(order[:count].sort().values)
        second.append(order[count:].sort().values)
    return first, second
