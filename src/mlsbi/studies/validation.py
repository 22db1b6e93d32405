"""What `Study.validate` returns, and what it gathers on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsbi._table import Table

if TYPE_CHECKING:
    from torch import Tensor

    from mlsbi.prior import Prior

__all__ = ["Seen", "Validation"]


@dataclass(frozen=True, eq=False)
class Validation:
    """What was found when everything was tried out; print it.

    Attributes:
        levels: A row a level: name, shape of x, and of simulators seconds a run, whether x was
            finite, and whether the same seed gave the same x.
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
        table = [str(self.levels)] if len(self.levels) else []
        found = [f"Problem: {text}" for text in self.problems] or ["No problem was found."]
        return "\n".join([*table, *found, *(f"Note: {text}" for text in self.notes)])


@dataclass(eq=False)
class Seen:
    """What was seen so far.

    Attributes:
        rows: Of the table.
        problems: As in `Validation`.
        notes: Likewise.
        events: Shape of one x of each level; None where it is not known.
        prior: The prior, where it could be made.
        theta: A few parameters, `(n, d)`.
        x: A few outputs of the finest level that gave any, `(n, *event)`.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    events: list[tuple[int, ...] | None] = field(default_factory=list)
    prior: Prior | None = None
    theta: Tensor | None = None
    x: Tensor | None = None

    @property
    def event(self) -> tuple[int, ...] | None:
        """Shape of one x of level L; None where it is not known."""
        return self.events[-1] if self.events else None

    def note_shapes(self) -> None:
        """Say so where levels have x of different shapes."""
        known = [event for event in self.events if event is not None]
        if len(set(known)) > 1:
            shapes = ", ".join(str(event) for event in self.events)
            self.notes.append(
                f"x has another shape at each of some levels ({shapes}). The strategies default, "
                "bridge and emulator learn summaries that these have in common; multilevel, "
                "transfer and pooled need one shape."
            )

    def validation(self) -> Validation:
        """What was found."""
        return Validation(
            Table("Levels, coarsest first", tuple(self.rows)),
            tuple(self.problems),
            tuple(self.notes),
        )
