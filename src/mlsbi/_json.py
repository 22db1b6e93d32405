"""Standard JSON, which knows neither NaN nor infinity and nothing of NumPy."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

__all__ = ["to_json"]


def to_json(value: Any) -> str:
    """`value` as standard JSON: NaN and infinities as the strings that `float` reads back."""
    return json.dumps(_standard(value), indent=2, allow_nan=False)


def _standard(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _standard(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(entry) for entry in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else str(float(value))
    return value
