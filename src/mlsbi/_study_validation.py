"""What `Study.validate` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsbi._table import Table

__all__ = ["Validation"]


@dataclass(frozen=True, eq=False)
class Validation:
    """What was found when everything was tried out; print it.

    Attributes:
        levels: A row a level: name, runs tried, shape of x, seconds a run.
        problems: What must be mended, each with its remedy.
        notes: What is worth knowing.
    """

    levels: Table
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing must be mended."""
        return not self.problems

    def table(self) -> Table:
        """Print the levels, and return them as a table."""
        print(self.levels)
        return self.levels

    def to_dict(self) -> dict[str, Any]:
        """What was found in JSON types."""
        return {
            "ok": self.ok,
            "levels": self.levels.to_dict(),
            "problems": list(self.problems),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """Levels, problems and notes."""
        found = [f"Problem: {text}" for text in self.problems] or ["No problem was found."]
        return "\n".join([str(self.levels), *found, *(f"Note: {text}" for text in self.notes)])
