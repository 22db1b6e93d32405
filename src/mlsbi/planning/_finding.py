"""What the doctor finds, and what he looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsbi.planning._evidence import LevelView, view_level

if TYPE_CHECKING:
    from mlsbi.planning.columns import Columns
    from mlsbi.planning.explained import PairGain

__all__ = ["FEWEST", "SEVERITIES", "Case", "Finding", "names", "percent"]

SEVERITIES = ("fault", "warning", "note")  # the worst first
FEWEST = 8  # columns, or twins, below which nothing is said


@dataclass(frozen=True)
class Finding:
    """One thing that was seen.

    Attributes:
        code: A word that stays the same between versions, such as `"other-order"`.
        level: The level that it is about; of a pair, the finer one.
        severity: `"fault"`: to be mended before anything is spent. `"warning"`: worth a look.
            `"note"`: good to know.
        message: What was seen.
        remedy: What to do; empty if nothing.
    """

    code: str
    level: int
    severity: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """The finding, and the remedy on a line of its own."""
        lines = [f"{self.severity} ({self.code}): {self.message}"]
        return "\n  ".join([*lines, *([f"Remedy: {self.remedy}"] if self.remedy else [])])


@dataclass(frozen=True, eq=False)
class Case:
    """What is judged.

    Attributes:
        columns: The pilot's.
        costs: Of one run of each level.
        views: Of each level; None where fewer than `FEWEST` columns are ok.
        gains: What a coarser level tells of a finer one, by (level, coarse).
    """

    columns: Columns
    costs: tuple[float, ...]
    views: tuple[LevelView | None, ...]
    gains: Mapping[tuple[int, int], PairGain]

    @staticmethod
    def of(columns: Columns, costs: Sequence[float], gains: Sequence[PairGain]) -> Case:
        """Look at each level."""
        views = tuple(
            view_level(columns, level) if int(ok.sum()) >= FEWEST else None
            for level, ok in enumerate(columns.ok)
        )
        by_pair = {(gain.level, gain.coarse): gain for gain in gains}
        return Case(columns, tuple(costs), views, by_pair)

    @property
    def top(self) -> int:
        """The finest level, L."""
        return len(self.views) - 1

    def view(self, level: int) -> LevelView:
        """A level that has enough columns.

        Raises:
            ValueError: It has not.
        """
        view = self.views[level]
        if view is None:
            raise ValueError(f"level {level} has fewer than {FEWEST} columns. Check `sees` first.")
        return view

    def alike(self, *levels: int) -> bool:
        """Whether levels have x of the same shape."""
        return len({self.columns.x[level].shape[1:] for level in levels}) == 1

    def sees(self, *levels: int) -> bool:
        """Whether levels have enough columns in which all of them are ok."""
        return int(self.columns.ok[list(levels)].all(0).sum()) >= FEWEST

    @property
    def pairs(self) -> tuple[int, ...]:
        """Finer levels of the pairs that can be compared."""
        levels = range(1, self.top + 1)
        return tuple(k for k in levels if self.alike(k - 1, k) and self.sees(k - 1, k))


def percent(share: float) -> str:
    """A share for people, `12 %`; of what is small, `0.3 %`."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 1 or value == 0 else f"{value:.1g} %"


def names(numbers: Sequence[int], *, most: int = 6) -> str:
    """Numbers for people, `0, 1, 2 and 30 more`."""
    shown = ", ".join(str(number) for number in numbers[:most])
    rest = len(numbers) - most
    return shown if rest <= 0 else f"{shown} and {rest} more"
