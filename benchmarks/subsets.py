"""Which levels to use: the subset that a pilot recommends, against fits of all subsets.

For tasks with three levels: a pilot of 64 columns plans every subset of the levels for one budget;
each is simulated, fitted by the default strategy and scored. The order of the scores should be that
of the expected errors, and the recommended subset about the best.
Rows go to a CSV file as each fit ends; the same command goes on where it stopped.

Run: python benchmarks/subsets.py [--tasks toggle:603000,linear-gaussian:4000] [--first-seed 400]
     [--seeds 2] [--out benchmarks/results/subsets.csv] [--show]
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import mlsbi
from mlsbi.benching.names import TASKS, make_task

COLUMNS = ("task", "budget", "seed", "levels", "n", "expected", "recommended", "score", "seconds")


def run(name: str, budget: float, seed: int, path: Path, done: set[tuple[str, ...]]) -> None:
    """Fit every subset of a task's levels."""
    task = make_task(name, folder=None)
    choices = mlsbi.pilot(task.hierarchy, 64, seed=seed).choose_levels(budget, kind=task.kind)
    _, theta, x = task.data([1] * task.hierarchy.num_levels, seed)  # the test pairs alone matter
    fit_kind = mlsbi.fit_posterior if task.kind == "posterior" else mlsbi.fit_likelihood
    for choice in choices:
        levels = " ".join(map(str, choice.levels))
        if (name, f"{budget:g}", str(seed), levels) in done:
            continue
        begin = time.perf_counter()
        data = mlsbi.simulate(task.hierarchy.subset(choice.levels), choice.plan, seed=seed)
        fit = fit_kind(data, seed=seed)
        score = task.score(fit, theta, x, seed=seed)[TASKS[name].metric]
        row = (
            name, f"{budget:g}", seed, levels, " ".join(map(str, choice.plan)),
            f"{choice.plan.error:.6g}", int(choice is choices.best), f"{score:.6g}",
            f"{time.perf_counter() - begin:.1f}",
        )  # fmt: skip
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([COLUMNS, row] if new else [row])
        print(*row, flush=True)


def show(path: Path) -> None:
    """Mean score of each subset."""
    rows = defaultdict(list)
    for row in read(path):
        rows[row["task"], row["budget"], row["levels"]].append(row)
    table = Table(title="Subsets of the levels; lower is better")
    for name in (
        "task",
        "budget",
        "levels",
        "n",
        "expected error",
        "recommended",
        "score",
        "seeds",
    ):
        table.add_column(name)
    for (task, budget, levels), some in sorted(
        rows.items(), key=lambda item: (*item[0][:2], fmean(float(r["expected"]) for r in item[1]))
    ):
        table.add_row(
            task, budget, levels, some[0]["n"], f"{fmean(float(r['expected']) for r in some):.4g}",
            f"{sum(int(r['recommended']) for r in some)} of {len(some)}",
            f"{fmean(float(r['score']) for r in some):.4g}",
            " ".join(f"{float(r['score']):.3g}" for r in some),
        )  # fmt: skip
    Console(width=140).print(table)


def read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def parse_tasks(text: str) -> list[tuple[str, float]]:
    pairs = [part.split(":") for part in text.split(",")]
    return [(name, float(budget)) for name, budget in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = "toggle:603000,linear-gaussian:4000"
    parser.add_argument("--tasks", type=parse_tasks, default=parse_tasks(default))
    parser.add_argument("--first-seed", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/subsets.csv"))
    parser.add_argument("--show", action="store_true", help="only print the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.show:
        keys = ("task", "budget", "seed", "levels")
        done = {tuple(row[key] for key in keys) for row in read(args.out)}
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            for name, budget in args.tasks:
                run(name, budget, seed, args.out, done)
    show(args.out)


if __name__ == "__main__":
    main()
