"""Benchmark results: tidy rows in a CSV file, and a table beside the figures of others."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table

from mlsbi._compare import runs_to_match
from mlsbi.benching.cells import Cell, Outcome
from mlsbi.benching.names import TASKS

__all__ = ["Figure", "Row", "append", "commit", "line", "read", "read_reference", "show", "table"]

_COLUMNS = (
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
_REFERENCE = Path(__file__).parents[3] / "benchmarks" / "reference.json"


@dataclass(frozen=True)
class Row:
    """One metric of one cell."""

    cell: Cell
    metric: str
    value: float
    seconds: float


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
        path: The file.
        outcome: A cell's metrics; one with an error adds nothing.
        source: The commit that made it.
    """
    cell = outcome.cell
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(_COLUMNS)
        budget = ",".join(map(str, cell.budget))
        key = (cell.task, budget, cell.strategy, cell.estimator, cell.seed)
        seconds = f"{outcome.seconds:.2f}"
        for metric, value in outcome.metrics.items():
            writer.writerow((*key, metric, repr(float(value)), seconds, source))


def read(path: Path) -> list[Row]:
    """All rows of a results file; none where there is no file.

    Raises:
        ValueError: The file is not a results file.
    """
    if not path.exists() or path.stat().st_size == 0:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise ValueError(
                f"out must name a results file or a new one; {path} has the columns "
                f"{reader.fieldnames}. Name another file by --out."
            )
        return [_row(record) for record in reader]


def _row(record: Mapping[str, str]) -> Row:
    budget = tuple(int(n) for n in record["budget"].split(","))
    cell = Cell(
        record["task"], budget, record["strategy"], record["estimator"], int(record["seed"])
    )
    return Row(cell, record["metric"], float(record["value"]), float(record["seconds"]))


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


def table(task: str, rows: Iterable[Row], reference: Sequence[Figure] = ()) -> Table:
    """Mean and standard error over seeds by budget and strategy, beside the figures of others.

    `vs official` is our mean over the official figure for metrics that cannot be negative, else
    our mean less the official one: below 1 or below 0 is better. `n_eq` is the number of
    high-level runs that "single" with the same estimator needs for the same metric, where the rows
    hold its curve.

    Args:
        task: A key of `TASKS`.
        rows: Results of any tasks.
        reference: The task's figures of others.
    """
    metric = TASKS[task].metric
    shown = Table(title=f"{task}: {metric} (lower is better)", title_justify="left")
    shown.add_column("budget")
    shown.add_column("strategy")
    for heading in (
        "estimator",
        "seeds",
        "mean ± se",
        "vs official",
        "coverage",
        "n_eq",
        "seconds",
    ):
        shown.add_column(heading, justify="right")
    groups = _grouped(row for row in rows if row.cell.task == task)
    budgets = list(dict.fromkeys([*(b for b, _, _ in groups), *(f.budget for f in reference)]))
    for budget in sorted(budgets, key=lambda b: (b == (), 0 in b, b)):
        label = ",".join(map(str, budget)) or "any"
        official = [f.value for f in reference if f.budget == budget and "official" in f.who]
        for (own, strategy, estimator), group in groups.items():
            if own == budget:
                cells = _cells(group, metric, official=min(official, default=None))
                match = _equivalent(groups, (own, strategy, estimator), metric)
                shown.add_row(label, strategy, estimator, *cells[:-1], match, cells[-1])
                label = ""
        for figure in reference:
            if figure.budget == budget:
                shown.add_row(label, figure.who, "", "", f"{figure.value:.3f}", style="dim")
                label = ""
        shown.add_section()
    return shown


def show(console: Console, tasks: Sequence[str], *, path: Path, reference: Path | None) -> None:
    """Print the table of each task from a results file, beside the figures of others."""
    rows, figures = read(path), read_reference(reference)
    for name in tasks:
        console.print(table(name, rows, figures.get(name, ())))
    console.print(f"Rows: {path}", markup=False)


_Key = tuple[tuple[int, ...], str, str]
_Group = dict[str, list[float]]


def _grouped(rows: Iterable[Row]) -> dict[_Key, _Group]:
    """Values over seeds by (budget, strategy, estimator) and metric; seconds among them."""
    groups: dict[_Key, _Group] = {}
    seen = set()
    for row in rows:
        cell = row.cell
        group = groups.setdefault((cell.budget, cell.strategy, cell.estimator), {})
        group.setdefault(row.metric, []).append(row.value)
        if cell not in seen:
            seen.add(cell)
            group.setdefault("seconds", []).append(row.seconds)
    return groups


def _cells(group: _Group, metric: str, *, official: float | None) -> list[str]:
    """Seeds, mean with standard error, ratio or difference, coverage error, seconds."""
    values = group.get(metric, [])
    mean = fmean(values) if values else math.nan
    error = f" ± {stdev(values) / math.sqrt(len(values)):.3f}" if len(values) > 1 else ""
    versus = ""
    if official is not None:
        signed = metric.startswith("nlpd")
        versus = f"{mean - official:+.2f}" if signed else f"× {mean / official:.2f}"
    coverage = group.get("coverage_error")
    return [
        str(len(values)),
        f"{mean:.3f}{error}",
        versus,
        f"{fmean(coverage):.3f}" if coverage else "",
        f"{fmean(group['seconds']):.1f}",
    ]


def _equivalent(
    groups: Mapping[_Key, _Group],
    key: _Key,
    metric: str,
) -> str:
    """`n_eq` from all "single" results of the estimator: mean over seeds at each number of runs."""
    if key[1] == "single":
        return ""
    curves: dict[int, list[float]] = {}
    for (budget, strategy, estimator), values in groups.items():
        if strategy == "single" and estimator == key[2] and budget[-1] > 0:
            curves.setdefault(budget[-1], []).extend(values.get(metric, []))
    curve = {n: fmean(values) for n, values in curves.items() if values}
    own = groups[key].get(metric)
    return str(runs_to_match(curve, fmean(own))) if len(curve) > 1 and own else ""


def line(outcome: Outcome) -> str:
    """One line about a cell that has just run."""
    cell = outcome.cell
    name = f"{cell.task} {cell.budget} {cell.strategy} {cell.estimator} seed {cell.seed}"
    if outcome.error:
        return f"{name}: FAILED, {outcome.error}"
    metric = TASKS[cell.task].metric
    text = f"{name}: {metric} {outcome.metrics[metric]:.3f} in {outcome.seconds:.1f} s"
    return text if outcome.metrics["status_ok"] else f"{text} (diverged)"
