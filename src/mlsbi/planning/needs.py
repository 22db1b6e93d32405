"""What each level adds to the error of a fit: the needs b_l that an allocation is made from.

    error(n) = sum_l b_l / n_l
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Needs"]


@dataclass(frozen=True)
class Needs:
    """What the levels add to the error: `sum_l b_l / n_l`.

    Attributes:
        b: Of each level, 0 .. L, at least 0.
        single: The same of level L alone: n single-level runs have the error `single / n`.
        source: Where the figures come from, in words.
        unit: Of the error.
    """

    b: tuple[float, ...]
    single: float
    source: str
    unit: str = ""
