"""Is the factor that a pilot predicts the one that is measured? n_eq / n_L on all tasks.

Measured: the default strategy's score at a budget (rows of earlier benchmarks in
`benchmarks/results/`), and how many runs of the highest level alone reach it with the same
estimator, between the points of single-level curves that are run here where missing (the mean over
seeds; a score beyond the last point is a lower bound).
Predicted: from pilots of 64 columns, n_eq = single / sum_l b_l / n_l at the same n (`Needs`); on
CAMELS, which has no simulators, from 64 coupled pairs.
The two constants of the prediction are fitted to these tasks; so the error is also given with the
constant refitted without the task that is predicted.

Run: python benchmarks/factors.py [--data FOLDER] [--seeds 2] [--jobs 2] [--figure docs/factors.png]
     [--show]
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import mlsbi
from mlsbi.benching import results
from mlsbi.benching.cells import Cell, plan
from mlsbi.benching.names import TASKS, Budget, make_task
from mlsbi.benching.run import run_cells
from mlsbi.planning.needs import Needs, reestimate

RESULTS = Path("benchmarks/results")
CURVES = RESULTS / "single_curves.csv"
SOURCES = ("paper.csv", "never_worse.csv")
RUNS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
PILOT, FIRST_SEED = 64, 10


@dataclass(frozen=True)
class Point:
    """A task at a budget.

    Attributes:
        task: Its name.
        n: Rows of each level.
        measured: n_eq / n_L.
        bound: Whether that is a lower bound.
        predicted: By each pilot.
    """

    task: str
    n: Budget
    measured: float
    bound: bool
    predicted: tuple[float, ...]

    @property
    def middle(self) -> float:
        """Geometric mean of the predictions."""
        return math.exp(fmean(map(math.log, self.predicted)))


def curve_cells(tasks: Iterable[str], seeds: int) -> list[Cell]:
    """Single-level fits, seed by seed; of tasks with simulators."""
    cells = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for name in tasks:
            if not TASKS[name].needs_data:
                built = make_task(name, folder=None)
                cells += plan(
                    name, built, strategies=["single"], seeds=[seed], budgets=[], single_runs=RUNS
                )
    return cells


def scores(paths: Iterable[Path], strategy: str) -> dict[tuple[str, Budget], float]:
    """Mean over seeds of each task's metric."""
    found = defaultdict(list)
    for path in paths:
        for row in results.latest(results.read(path)):
            cell = row.cell
            wanted = cell.strategy == strategy and cell.estimator.startswith("mdn")
            if wanted and row.metric == TASKS[cell.task].metric:
                found[cell.task, cell.budget].append(row.value)
    return {key: fmean(values) for key, values in found.items()}


def equal_runs(curve: dict[int, float], score: float) -> tuple[float, bool]:
    """Runs that reach a score, by interpolation in log n, and whether that is a lower bound."""
    n = sorted(curve)
    best = list(np.minimum.accumulate([curve[m] for m in n]))
    at = next((i for i, value in enumerate(best) if value <= score), None)
    if at is None:
        return float(n[-1]), True
    if at == 0:
        return float(n[0]), False
    share = (best[at - 1] - score) / (best[at - 1] - best[at])
    return math.exp(math.log(n[at - 1]) + share * math.log(n[at] / n[at - 1])), False


def pilot_needs(name: str, folder: Path | None, seed: int) -> Needs:
    """What a pilot says of a task's levels, for the default strategy."""
    task = make_task(name, folder=folder)
    if task.hierarchy is not None:
        return mlsbi.pilot(task.hierarchy, PILOT, seed=seed).needs(kind=task.kind)
    data, _, _ = task.data((PILOT, PILOT), seed)
    return reestimate(data, (1.0, 10.0), kind=task.kind)


def points(folder: Path | None, seeds: int) -> list[Point]:
    """All tasks and budgets that both figures are known of."""
    single = defaultdict(dict)
    files = [RESULTS / name for name in (*SOURCES, CURVES.name)]
    for (name, n), value in scores(files, "single").items():
        single[name][n[-1]] = value
    found = []
    needs: dict[str, list[Needs]] = {}
    for (name, n), score in sorted(scores([RESULTS / f for f in SOURCES], "default").items()):
        if len(single[name]) < 3 or (TASKS[name].needs_data and folder is None):
            continue
        if name not in needs:
            needs[name] = [pilot_needs(name, folder, FIRST_SEED + i) for i in range(seeds + 1)]
        runs, bound = equal_runs(single[name], score)
        predicted = tuple(
            of.single_runs(sum(b / m for b, m in zip(of.b, n, strict=True))) / n[-1]
            for of in needs[name]
        )
        found.append(Point(name, n, runs / n[-1], bound, predicted))
    return found


def kind(point: Point) -> str:
    return "likelihood" if point.task in {"g-and-k-nle", "toggle"} else "posterior"


def left_out(some: list[Point], point: Point) -> float:
    """The prediction with the constant fitted to the other tasks of the kind."""
    others = [
        math.log(p.measured / p.middle)
        for p in some
        if p.task != point.task and kind(p) == kind(point) and not p.bound
    ]
    return point.middle * math.exp(fmean(others)) if others else point.middle


def show(some: list[Point]) -> None:
    """The table, and the errors."""
    table = Table(title="Factor n_eq / n_L of the default strategy")
    for name in ("task", "n", "measured", "predicted (each pilot)", "ratio", "constant left out"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for p in some:
        table.add_row(
            p.task, ", ".join(f"{m:,}" for m in p.n), f"{'>' if p.bound else ''}{p.measured:.1f}",
            "  ".join(f"{value:.1f}" for value in p.predicted),
            f"{p.middle / p.measured:.2f}", f"{left_out(some, p) / p.measured:.2f}",
        )  # fmt: skip
    console = Console(width=140)
    console.print(table)
    known = [p for p in some if not p.bound]
    for words, of in (
        ("as fitted", lambda p: p.middle),
        ("constant left out", lambda p: left_out(some, p)),
    ):
        logs = np.array([math.log(of(p) / p.measured) for p in known])
        within = np.mean(np.abs(logs) < math.log(2))
        console.print(
            f"{words}: typical error a factor of {math.exp(float(np.sqrt(np.mean(logs**2)))):.2f} "
            f"(root mean square of the logarithm), bias {math.exp(float(logs.mean())):.2f}, "
            f"{within:.0%} of {len(known)} within a factor of 2; lower bounds not counted"
        )


def figure(some: list[Point]) -> Figure:
    """Predicted against measured, on logarithmic axes."""
    canvas = Figure(figsize=(6.2, 5.2), layout="constrained")
    ax = canvas.subplots()
    ends = [0.8 * min(min(p.measured, *p.predicted) for p in some)]
    ends.append(1.25 * max(max(p.measured, *p.predicted) for p in some))
    ax.plot(ends, ends, color="0.4", linewidth=1)
    ax.fill_between(ends, [e / 2 for e in ends], [e * 2 for e in ends], color="0.9", zorder=0)
    marks = "osD^v<>PX*hdp8"
    names = list(dict.fromkeys(p.task for p in some))
    for i, name in enumerate(names):
        mine = [p for p in some if p.task == name]
        low = [p.middle - min(p.predicted) for p in mine]
        high = [max(p.predicted) - p.middle for p in mine]
        colour = f"C{i % 10}"
        ax.errorbar(
            [p.measured for p in mine], [p.middle for p in mine], [low, high],
            fmt=marks[i % len(marks)], color=colour, markersize=6, linewidth=1, label=name,
        )  # fmt: skip
        for p in mine:
            if p.bound:
                ax.annotate(
                    "", (p.measured * 1.35, p.middle), (p.measured, p.middle),
                    arrowprops={"arrowstyle": "->", "color": colour},
                )  # fmt: skip
    ax.set(
        xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal",
        xlabel="measured n_eq / n_L", ylabel="predicted by pilots of 64 columns",
    )  # fmt: skip
    ax.legend(fontsize=7, ncols=2, frameon=False)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the CAMELS spectra")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--show", action="store_true", help="run no single-level curves")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.show:
        cells = curve_cells((n for n in TASKS if n != "linear-gaussian"), args.seeds)
        finished = {row.cell for row in results.read(CURVES)}
        left = [cell for cell in cells if cell not in finished]
        for i, outcome in enumerate(
            run_cells(left, jobs=args.jobs, folder=None, max_steps=None), 1
        ):
            results.append(CURVES, outcome, source=results.commit())
            print(f"[{i}/{len(left)}] {results.line(outcome)}", flush=True)
    some = points(args.data, args.seeds)
    show(some)
    if args.figure:
        figure(some).savefig(args.figure, dpi=150)


if __name__ == "__main__":
    main()
