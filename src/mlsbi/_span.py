"""A length of time, as people say it."""

from __future__ import annotations

__all__ = ["span"]


def span(seconds: float) -> str:
    """A time in the unit that suits it: "0.4 s", "12 min", "3.5 h", "2.1 days"."""
    for unit, length, limit in (("s", 1, 120), ("min", 60, 3600), ("h", 3600, 172800)):
        if seconds < limit:
            number = seconds / length
            return f"{number:.0f} {unit}" if unit != "h" and number >= 1 else f"{number:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"
