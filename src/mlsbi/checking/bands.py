"""Intervals that admit how few runs there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Band"]


@dataclass(frozen=True)
class Band:
    """An estimate and the interval around it.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        level: Confidence of the interval.
        method: How the interval was made, in a word or two.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""

    def __contains__(self, number: float) -> bool:
        """Whether `number` lies in the interval, its ends included."""
        return self.low <= number <= self.high

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Band:
        """The band that `to_dict` wrote; numbers may be text ("nan", "inf"), as JSON has none."""
        numbers = {name: float(values[name]) for name in ("value", "low", "high", "level")}
        return Band(**numbers, method=str(values["method"]))
