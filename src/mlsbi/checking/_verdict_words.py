"""The sentence of a verdict."""

from __future__ import annotations

import math
from dataclasses import replace

from mlsbi.checking.bands import Band

__all__ = ["centres_text", "figures_text", "runs_text", "widths_text"]


def widths_text(scale: Band) -> str:
    """What to do to the widths."""
    return f"widths should be {_span(scale)} times as large"


def centres_text(shift: Band, *, together: bool) -> str:
    """Where the centres are; of all parameters `together` there is no side."""
    if together:
        return f"centres are off by {_span(shift)} sd, all parameters together"
    if shift.value > 0:
        return f"the centre is too low by {_span(shift)} posterior sd"
    upright = replace(shift, value=-shift.value, low=-shift.high, high=-shift.low)
    return f"the centre is too high by {_span(upright)} posterior sd"


def figures_text(scale: Band, shift: Band) -> str:
    """Both figures, where nothing is wrong with them."""
    moved = "" if math.isnan(shift.value) else f", shift {_span(shift)} sd"
    return f"width factor {_span(scale)}{moved}"


def runs_text(n: int, p_value: float) -> str:
    """The number of runs, and how easily chance does it."""
    chance = "p < 0.0001" if p_value < 1e-4 else f"p = {p_value:.1g}"
    return f"({n} runs, {chance})"


def _span(band: Band) -> str:
    """As many decimals as the interval has a use for."""
    width = band.high - band.low
    digits = 0 if width > 20 else 1 if width > 1 else 2
    value, low, high = (f"{v:.{digits}f}" for v in (band.value, band.low, band.high))
    return f"{value} ({low} to {high})".replace("-0.00", "0.00")
