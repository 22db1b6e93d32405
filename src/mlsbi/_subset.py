"""Which levels of a hierarchy to keep: the check that all that can be cut down share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from mlsbi._checks import check_level, check_type

__all__ = ["KEEP", "check_kept"]


KEEP = "Pass the levels to keep, ascending, such as [0, 2]."


def check_kept(levels: Any, *, num_levels: int, remedy: str = KEEP) -> list[int]:
    """Numbers of levels to keep, ascending.

    Raises:
        TypeError: `levels` is no sequence of integers.
        ValueError: It is empty or not ascending, or there is no such level.
    """
    check_type(levels, (list, tuple, range), name="levels", remedy=remedy)
    kept = [check_level(level, num_levels=num_levels) for level in levels]
    if not kept or any(upper <= lower for lower, upper in pairwise(kept)):
        raise ValueError(f"levels must be ascending and distinct; got {kept}. {remedy}")
    return kept
