"""Tables of runs as CSV or Parquet files, read and written piece by piece."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlsbi._checks import check_type

__all__ = ["Piece", "as_table", "read_table", "write_table"]

_FORMATS = (".csv", ".parquet")
_ROWS = 4096  # of a piece that is read


class Piece(NamedTuple):
    """Rows of a table of results.

    Attributes:
        run_id: Their names.
        columns: Numbers by column, NaN where a cell is empty, shape `(m,)`; integers stay such.
        empty: Which cells are empty, by column, shape `(m,)`.
    """

    run_id: Sequence[str]
    columns: Mapping[str, np.ndarray]
    empty: Mapping[str, np.ndarray]


def as_table(path: str | os.PathLike[str], *, name: str) -> Path:
    """A table's file as an absolute path.

    Raises:
        TypeError: It is no path.
        ValueError: Its suffix is that of no format.
        ImportError: Its format needs a package that is not installed.
    """
    check_type(path, (str, os.PathLike), name=name, remedy="Pass a file's name.")
    target = Path(path).absolute()
    if target.suffix not in _FORMATS:
        raise ValueError(
            f"{name} must end in .csv or .parquet; got {os.fspath(path)!r}. Name such a file."
        )
    if target.suffix == ".parquet":
        _pyarrow()
    return target


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files need the package pyarrow, which is not installed. Install it (pip "
            "install pyarrow), or use a .csv file."
        ) from error
    return pyarrow, pyarrow.parquet


def write_table(path: Path, pieces: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: The file; what it held before is replaced at the end.
        pieces: Rows as columns of strings, integers or floats; the same columns in all pieces, of
            which there is at least one.
    """
    with _written_whole(path) as fresh:
        if path.suffix == ".csv":
            _write_csv(fresh, pieces)
        else:
            _write_parquet(fresh, pieces)


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        fresh = Path(place) / target.name
        yield fresh
        fresh.replace(target)


def _write_csv(path: Path, pieces: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, piece in enumerate(pieces):
            if number == 0:
                writer.writerow(piece)
            writer.writerows(zip(*piece.values(), strict=True))  # floats as repr: exact


def _write_parquet(path: Path, pieces: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    pyarrow, parquet = _pyarrow()
    rest = iter(pieces)
    first = next(rest)
    schema = pyarrow.schema([(name, _parquet_type(name)) for name in first])
    with parquet.ParquetWriter(path, schema) as writer:
        for piece in chain([first], rest):
            columns = {name: list(values) for name, values in piece.items()}
            writer.write_table(pyarrow.table(columns, schema=schema))


def _parquet_type(name: str) -> str:
    """Of a column of the plan; an empty piece does not show it."""
    return "string" if name == "run_id" else "double" if name.startswith("theta_") else "int64"


def read_table(path: Path, wanted: Callable[[Sequence[str]], Sequence[str]]) -> Iterator[Piece]:
    """Read a table.

    Args:
        path: The file.
        wanted: Of all columns' names, returns those to read as numbers; `run_id` is read anyway.

    Returns:
        The rows, piece by piece.

    Raises:
        ValueError: If it cannot be read, has no column `run_id`, or a cell is no number.
    """
    if not path.is_file():
        raise ValueError(f"results {str(path)!r} is no file. Pass the table that the runs wrote.")
    return (_read_csv if path.suffix == ".csv" else _read_parquet)(path, wanted)


def _names(path: Path, names: Sequence[str], wanted: Callable[..., Sequence[str]]) -> list[str]:
    if "run_id" not in names:
        raise ValueError(
            f"results {str(path)!r} must have a column run_id; got {list(names)[:8]}. Copy it from "
            "the table that mlsbi.export_runs wrote."
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"results {str(path)!r} has columns twice: {twice}. Remove one of each.")
    return list(wanted(names))


def _read_csv(path: Path, wanted: Callable[[Sequence[str]], Sequence[str]]) -> Iterator[Piece]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        names = _names(path, header, wanted)
        rows: list[list[str]] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"results {str(path)!r} must have {len(header)} cells a line; line "
                    f"{reader.line_num} has {len(row)}. Was it cut off while it was written?"
                )
            rows.append(row)
            if len(rows) == _ROWS:
                yield _csv_piece(path, header, names, rows)
                rows = []
        if rows:
            yield _csv_piece(path, header, names, rows)


def _csv_piece(
    path: Path, header: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]
) -> Piece:
    place = header.index("run_id")
    run_id = [row[place].strip() for row in rows]
    columns: dict[str, np.ndarray] = {}
    empty: dict[str, np.ndarray] = {}
    for name in names:
        place = header.index(name)
        cells = [row[place].strip() for row in rows]
        none = np.array([not cell for cell in cells])
        empty[name] = none
        kind: Any = int if name == "seed" else float
        filled = cells if name == "seed" else [cell or "nan" for cell in cells]
        try:
            columns[name] = np.array([kind(cell) for cell in filled], dtype=_dtype(name))
        except (ValueError, OverflowError):
            row = next(i for i, cell in enumerate(filled) if not _is(kind, cell))
            raise _not_a_number(path, name, run_id[row], cells[row]) from None
    return Piece(run_id, columns, empty)


def _dtype(name: str) -> type:
    return np.int64 if name == "seed" else np.float64


def _is(kind: Callable[[str], int | float], cell: str) -> bool:
    try:
        np.array(kind(cell), dtype=np.int64 if kind is int else np.float64)
    except (ValueError, OverflowError):
        return False
    return True


def _not_a_number(path: Path, name: str, run_id: str, found: Any) -> ValueError:
    what = "a whole number, as exported" if name == "seed" else "a number"
    return ValueError(
        f"results {str(path)!r}: column {name} must hold {what}; got {found!r} for run {run_id!r}. "
        "Correct it; leave cells empty, or write nan, for a run that failed."
    )


def _read_parquet(path: Path, wanted: Callable[[Sequence[str]], Sequence[str]]) -> Iterator[Piece]:
    pyarrow, parquet = _pyarrow()
    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"results {str(path)!r} cannot be read: {error}. Was it cut off while it was written?"
        ) from error
    with file:
        names = _names(path, file.schema_arrow.names, wanted)
        for batch in file.iter_batches(batch_size=_ROWS, columns=["run_id", *names]):
            run_id = [str(value) for value in batch.column("run_id").to_pylist()]
            columns, empty = {}, {}
            for name in names:
                column = batch.column(name)
                empty[name] = np.asarray(column.is_null())
                columns[name] = _parquet_numbers(path, name, run_id, column)
            yield Piece(run_id, columns, empty)


def _parquet_numbers(path: Path, name: str, run_id: Sequence[str], column: Any) -> np.ndarray:
    pyarrow, _ = _pyarrow()
    kind = column.type
    whole = pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind)
    nothing = pyarrow.types.is_null(kind)
    allowed = whole if name == "seed" else whole or nothing or pyarrow.types.is_floating(kind)
    if run_id and (not allowed or (name == "seed" and column.null_count)):
        raise _not_a_number(path, name, run_id[0], f"a column of type {kind}")
    values = column.to_pylist()
    if name == "seed":
        return np.array(values, dtype=np.int64)
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
