"""Arguments with one number a level, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlsbi._checks import check_count, check_positive, check_type

__all__ = ["level_counts", "level_numbers", "level_seconds"]


def level_numbers(
    values: Any, *, name: str, length: int | None = None, strict: bool = True
) -> tuple[float, ...]:
    """One positive number a level (or zero too, if not `strict`).

    Raises:
        TypeError: If `values` is no sequence of numbers.
        ValueError: If one is out of range, or there are not `length` of them.
    """
    return tuple(
        check_positive(value, name=f"{name}[{level}]", strict=strict)
        for level, value in enumerate(_entries(values, name=name, length=length))
    )


def level_counts(values: Any, *, name: str, length: int) -> tuple[int, ...]:
    """One whole number a level, zero allowed, or one for all levels.

    Raises:
        TypeError: If one is no integer.
        ValueError: If one is negative, or there are not `length` of them.
    """
    if not isinstance(values, (Sequence, np.ndarray)):
        return (check_count(values, name=name, minimum=0),) * length
    return tuple(
        check_count(value, name=f"{name}[{level}]", minimum=0)
        for level, value in enumerate(_entries(values, name=name, length=length))
    )


def level_seconds(values: Any, *, length: int) -> tuple[float | None, ...]:
    """Positive seconds of a run of each level, None where they are not known.

    Raises:
        TypeError: If `values` is no sequence of numbers.
        ValueError: If one is out of range, or there are not `length` of them.
    """
    if values is None:
        return (None,) * length
    return tuple(
        None if value is None else check_positive(value, name=f"seconds[{level}]")
        for level, value in enumerate(_entries(values, name="seconds", length=length))
    )


def _entries(values: Any, *, name: str, length: int | None) -> list[Any]:
    remedy = "Pass one number a level, coarsest first."
    check_type(values, (Sequence, np.ndarray), name=name, remedy=remedy)
    if (length is None and len(values) == 0) or (length is not None and len(values) != length):
        wanted = "at least one entry" if length is None else f"one entry a level, {length}"
        raise ValueError(f"{name} must have {wanted}; got {len(values)}. {remedy}")
    return list(values)
