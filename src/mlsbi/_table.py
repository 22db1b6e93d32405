"""A small table that reads well on a terminal, and says the same to a program."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Table"]

Cell = float | int | str | None


@dataclass(frozen=True)
class Table(Sequence[Mapping[str, Cell]]):
    """Rows with the same columns.

    Attributes:
        title: A line above the table; empty: none.
        rows: Cells by column; None where there is nothing to say.
        notes: Lines below the table.
    """

    title: str
    rows: tuple[Mapping[str, Cell], ...]
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, in order of first appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> list[Cell]:
        """One column, None where a row does not have it.

        Raises:
            KeyError: There is no such column.
        """
        if name not in self.columns:
            raise KeyError(f"the table has no column {name!r}; it has {list(self.columns)}")
        return [row.get(name) for row in self.rows]

    def to_dict(self) -> dict[str, Any]:
        """The table in JSON types."""
        return {
            "title": self.title,
            "rows": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Table:
        """The table that `to_dict` described."""
        return Table(
            str(record["title"]),
            tuple(dict(row) for row in record["rows"]),
            tuple(str(note) for note in record["notes"]),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __iter__(self) -> Iterator[Mapping[str, Cell]]:
        return iter(self.rows)

    @property
    def word_columns(self) -> tuple[int, ...]:
        """Places of the columns that hold words, not numbers alone."""
        columns = [self.column(name) for name in self.columns]
        return tuple(i for i, own in enumerate(columns) if any(isinstance(v, str) for v in own))

    def __str__(self) -> str:
        """The table as text: numbers to the right, words to the left."""
        texts = [[_text(row.get(name)) for name in self.columns] for row in self.rows]
        told = self.word_columns
        words = [i in told for i in range(len(self.columns))]
        lines = [_line(cells, words, self._widths(texts)) for cells in [list(self.columns), *texts]]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*([self.title] if self.title else []), *lines, *self.notes])

    __repr__ = __str__

    def _widths(self, texts: Sequence[Sequence[str]]) -> list[int]:
        rows = [list(self.columns), *texts]
        return [max(len(row[i]) for row in rows) for i in range(len(self.columns))]


def _line(cells: Sequence[str], words: Sequence[bool], widths: Sequence[int]) -> str:
    aligned = [
        cell.ljust(width) if left else cell.rjust(width)
        for cell, left, width in zip(cells, words, widths, strict=True)
    ]
    return "  ".join(aligned).rstrip()


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1e5 and math.isfinite(cell) else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
