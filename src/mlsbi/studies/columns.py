"""Columns of numbers from text and Parquet files."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

__all__ = ["read_parquet", "read_text"]

_Choose = Callable[[Sequence[str]], Sequence[str]]


def read_text(path: Path, choose: _Choose) -> np.ndarray:
    """Columns of a text file; its first line may name them, after a `#` or not.

    Args:
        path: Comma-separated if it ends in .csv, otherwise separated by white space.
        choose: Of all columns' names, returns those to read. A file whose first line holds numbers
            has no names, and all of its columns are read.

    Returns:
        Shape `(rows, columns)`, float64; NaN where a cell is empty.

    Raises:
        ValueError: A cell is no number, or a line has too few.
    """
    comma = path.suffix.lower() == ".csv"
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
    line = first.strip().removeprefix("#")
    cells = next(csv.reader([line]), []) if comma else line.split()
    names = [cell.strip() for cell in cells]
    named = not all(_is_number(cell) for cell in names)
    if not names:
        raise ValueError("it is empty, or its first line is")
    columns = [names.index(name) for name in choose(names)] if named else None
    found: np.ndarray = np.loadtxt(
        path,
        delimiter="," if comma else None,
        skiprows=int(named),
        usecols=columns,
        ndmin=2,
        quotechar='"' if comma else None,
        converters=_number if comma else None,
        encoding="utf-8-sig",
    )
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    return float(cell.strip() or "nan")


def read_parquet(path: Path, choose: _Choose) -> np.ndarray:
    """Columns of a Parquet file.

    Args:
        path: The file.
        choose: Of all columns' names, returns those to read.

    Returns:
        Shape `(rows, columns)`, float64, NaN where a cell is empty; of one column of lists shape
        `(rows, length)`.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: The file cannot be read, or a column does not hold numbers.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = list(choose(file.schema_arrow.names))
            table = file.read(columns=names)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    columns = []
    for name in names:
        kind = table.schema.field(name).type
        if pyarrow.types.is_list(kind) or pyarrow.types.is_fixed_size_list(kind):
            if len(names) > 1:
                raise ValueError(f"column {name} holds lists; name it alone")
            return np.array(table.column(name).to_pylist(), dtype=np.float64)
        if not _has_numbers(pyarrow.types, kind):
            raise ValueError(f"column {name} must hold numbers; it holds {kind}")
        values = table.column(name).to_pylist()
        columns.append(np.array([np.nan if v is None else v for v in values], dtype=np.float64))
    return np.stack(columns, axis=1)


def _has_numbers(types: object, kind: object) -> bool:
    tests = ("is_integer", "is_floating", "is_boolean", "is_null")
    return any(getattr(types, test)(kind) for test in tests)
