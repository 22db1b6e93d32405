"""Benchmark results: tidy rows in a CSV file, or a Parquet file made of one."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlsbi._replaced import replaced
from mlsbi.benching.cells import Cell, Outcome
from mlsbi.benching.names import metric_of

__all__ = [
    "COLUMNS",
    "CURVE",
    "Figure",
    "Row",
    "append",
    "commit",
    "kept_in",
    "latest",
    "line",
    "read",
    "read_reference",
    "write_parquet",
]

COLUMNS = (
    "task",
    "budget",
    "strategy",
    "estimator",
    "seed",
    "metric",
    "value",
    "seconds",
    "commit",
)
CURVE = "coverage_at_"  # and a credibility: the share of test pairs in regions of that credibility
_REFERENCE = Path(__file__).parents[3] / "benchmarks" / "reference.json"


@dataclass(frozen=True)
class Row:
    """One metric of one cell."""

    cell: Cell
    metric: str
    value: float
    seconds: float
    commit: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure of others that is shown beside ours.

    Attributes:
        budget: As in a `Cell`; empty where it does not depend on one.
        who: Whose it is.
        value: Of the task's metric.
    """

    budget: tuple[int, ...]
    who: str
    value: float


def commit() -> str:
    """Short hash of the source's commit, with "+" where files differ from it; "" if unknown."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "-s", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def append(path: Path, outcome: Outcome, *, source: str) -> None:
    """Add an outcome's rows to a CSV file; a header first where the file is new.

    Args:
        path: The file; of a Parquet file, the CSV file beside it.
        outcome: A cell's metrics; one with an error adds nothing.
        source: The commit that made it.
    """
    path = kept_in(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        key = _key(outcome.cell)
        seconds = f"{outcome.seconds:.2f}"
        for metric, value in outcome.metrics.items():
            writer.writerow((*key, metric, repr(float(value)), seconds, source))


def kept_in(path: Path) -> Path:
    """The CSV file that rows go to as cells end: beside a Parquet file, which is made of it."""
    return path.with_suffix(".csv") if path.suffix == ".parquet" else path


def read(path: Path) -> list[Row]:
    """All rows of a results file; none where there is no file.

    Args:
        path: A CSV file, or a Parquet file; of that the CSV file beside it, where there is one.

    Raises:
        ValueError: The file is not a results file.
    """
    source = kept_in(path)
    if path.suffix == ".parquet" and not source.exists() and path.exists():
        return _read_parquet(path)
    if not source.exists() or source.stat().st_size == 0:
        return []
    with source.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        _check_columns(reader.fieldnames, source)
        return [_row(record) for record in reader]


def latest(rows: Iterable[Row]) -> list[Row]:
    """Rows of which the last of each cell and metric is kept, in the order of the first."""
    kept = {(row.cell, row.metric): row for row in rows}
    return list(kept.values())


def write_parquet(path: Path) -> None:
    """Make a Parquet file of the CSV file beside it, whole or not at all.

    Raises:
        ImportError: pyarrow is not installed.
    """
    pyarrow, parquet = _pyarrow()
    rows = read(kept_in(path))
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for row in rows:
        own = (*_key(row.cell), row.metric, row.value, row.seconds, row.commit)
        for name, value in zip(COLUMNS, own, strict=True):
            columns[name].append(value)
    with replaced(path) as part:
        parquet.write_table(pyarrow.table(columns), part)


def _read_parquet(path: Path) -> list[Row]:
    _, parquet = _pyarrow()
    table = parquet.read_table(path)
    _check_columns(table.column_names, path)
    return [_row(record) for record in table.to_pylist()]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet files need the package pyarrow, which is not installed. Install it (pip "
            "install 'mlsbi[parquet]'), or name a .csv file."
        ) from error
    return pyarrow, pyarrow.parquet


def _check_columns(found: Sequence[str] | None, path: Path) -> None:
    if tuple(found or ()) != COLUMNS:
        raise ValueError(
            f"out must name a results file or a new one; {path} has the columns "
            f"{found}. Name another file by --out."
        )


def _key(cell: Cell) -> tuple[str, str, str, str, int]:
    return cell.task, ",".join(map(str, cell.budget)), cell.strategy, cell.estimator, cell.seed


def _row(record: Mapping[str, Any]) -> Row:
    budget = tuple(int(n) for n in record["budget"].split(","))
    cell = Cell(
        record["task"], budget, record["strategy"], record["estimator"], int(record["seed"])
    )
    return Row(
        cell, record["metric"], float(record["value"]), float(record["seconds"]), record["commit"]
    )


def read_reference(path: Path | None = None) -> dict[str, tuple[Figure, ...]]:
    """The figures of others for each task; none where the file is not there.

    Args:
        path: A file like `benchmarks/reference.json`; None: that of the source checkout.
    """
    path = path or _REFERENCE
    if not path.is_file():
        return {}
    tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    return {
        name: tuple(Figure(tuple(f["budget"]), f["who"], float(f["value"])) for f in figures)
        for name, figures in tasks.items()
    }


def line(outcome: Outcome) -> str:
    """One line about a cell that has just run."""
    cell = outcome.cell
    name = f"{cell.task} {cell.budget} {cell.strategy} {cell.estimator} seed {cell.seed}"
    if outcome.error:
        return f"{name}: FAILED, {outcome.error}"
    metric = metric_of(cell.task)
    text = f"{name}: {metric} {outcome.metrics[metric]:.3f} in {outcome.seconds:.1f} s"
    return text if outcome.metrics["status_ok"] else f"{text} (diverged)"
