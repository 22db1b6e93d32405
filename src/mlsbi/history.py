"""What a training did: a table of losses, and a status that says what to try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["History", "Status"]


class Status(Enum):
    """How a training ended; the value says what it means and what to try."""

    CONVERGED = "converged: the held-out loss stopped falling, and the best weights were kept"
    LOW_LEVEL_UNUSED = (
        "converged; the cheaper levels add nothing here: the held-out runs of level L are "
        "described as well by level L's runs alone, and the result is what single-level methods "
        "give"
    )
    MAX_STEPS = (
        "stopped at max_steps while the held-out loss was still falling: "
        "raise Training(max_steps=...) or the learning rate"
    )
    FIXED_STEPS = "ran the fixed number of steps that was asked for, without a held-out part"
    ON_DRAWS = (
        "converged: trained on fresh synthetic draws of level L, "
        "at a learning rate that fell to zero"
    )
    STEPPED_BACK = (
        "met losses that were not finite, stepped back and went on at a lower learning rate: "
        "the result is usable; look at fit.history, and at the data for extreme values"
    )
    DIVERGED = (
        "gave up after repeated losses that were not finite, and kept the best weights before: "
        "lower Training(learning_rate=...), try tails='asinh', or look for extreme values"
    )

    @classmethod
    def worst(cls, statuses: Iterable[Status]) -> Status:
        """The one that most needs attention; they are declared in that order."""
        return max(statuses, key=list(cls).index)

    @property
    def short(self) -> str:
        """What it means, without what to try: "converged"."""
        return self.value.partition(":")[0].partition(";")[0]

    @property
    def ok(self) -> bool:
        """Whether the result can be used as it is."""
        return self is not Status.DIVERGED


@dataclass(frozen=True)
class History:
    """One row per evaluation of the held-out loss.

    Columns: `stage` (0 unless the strategy trains in several), `step`, `train_loss` and
    `held_out_loss` (means over members, nats, in the network's units: the Jacobians, which do not
    depend on the weights, left out), and what the strategy adds.
    """

    rows: tuple[dict[str, float], ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in order of first appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, column: str) -> list[float]:
        """One column; NaN where a row does not have it."""
        if column not in self.columns:
            raise KeyError(f"history has no column {column!r}; it has {list(self.columns)}")
        return [row.get(column, float("nan")) for row in self.rows]

    def __len__(self) -> int:
        """Number of evaluations."""
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Rows as dictionaries."""
        return iter(self.rows)

    def __repr__(self) -> str:
        """The table, its middle left out when it is long."""
        columns = self.columns
        lines = ["  ".join(f"{c:>14}" for c in columns)]
        shown: list[dict[str, float] | None] = list(self.rows)
        if len(shown) > 12:
            shown = [*self.rows[:6], None, *self.rows[-5:]]
        for row in shown:
            cells = ["..."] if row is None else [f"{row.get(c, float('nan')):.6g}" for c in columns]
            lines.append("  ".join(f"{c:>14}" for c in cells))
        return "\n".join(lines)
