"""The table that `mlsbi bench` prints: each task's results beside the figures of others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table

from mlsbi._compare import runs_to_match
from mlsbi.benching.names import TASKS
from mlsbi.benching.results import Figure, Row, latest, read, read_reference

__all__ = ["show", "table"]


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
    groups = _grouped(row for row in latest(rows) if row.cell.task == task)
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
