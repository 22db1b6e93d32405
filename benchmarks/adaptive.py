"""Does planning pay? Adaptive runs against one plan, an equal split, and level L alone.

At equal cost, for each task, budget and seed, pilots included: `mlsbi.infer` in three rounds;
the same in one round, planned from the pilot; half of the cost for each level without a pilot; and
level L alone. All are fitted by the default strategy (which is single-level NPE or NLE where there
is one level) and scored on fresh runs of level L. Lower is better.

Run: python benchmarks/adaptive.py [ou:2000,g-and-k-npe:2000] [--first-seed 400] [--seeds 3]
     [--out benchmarks/results/adaptive.csv] [--show]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from _rows import append, read
from rich.console import Console
from rich.table import Table

import mlsbi
from mlsbi.benching.names import TASKS, make_task
from mlsbi.tasks import Task

COLUMNS = ("task", "budget", "seed", "way", "n", "spent", "score")


def adaptive(task: Task, budget: float, seed: int, *, rounds: int) -> tuple[Any, Any, float]:
    """Fit, rows and spend of an adaptive run."""
    found = mlsbi.infer(
        task.hierarchy, budget=budget, seed=seed, kind=task.kind, rounds=rounds, folds=0
    )
    return found.fit, found.data.n, found.spent


def fixed(task: Task, n: list[int], levels: list[int], seed: int) -> tuple[Any, Any, float]:
    """The same of numbers of rows chosen without a pilot."""
    hierarchy = task.hierarchy.subset(levels)
    data = mlsbi.simulate(hierarchy, n, seed=seed)
    fit_kind = mlsbi.fit_posterior if task.kind == "posterior" else mlsbi.fit_likelihood
    return fit_kind(data, seed=seed), data.n, data.cost or 0.0


def ways(task: Task, budget: float, seed: int) -> dict[str, Callable[[], tuple[Any, Any, float]]]:
    """What is compared."""
    costs = task.hierarchy.costs
    top = len(costs) - 1
    rows = [c + (costs[i - 1] if i else 0.0) for i, c in enumerate(costs)]
    equal = [int(budget / len(costs) / k) for k in rows]
    return {
        "three rounds": lambda: adaptive(task, budget, seed, rounds=3),
        "one round": lambda: adaptive(task, budget, seed, rounds=1),
        "equal split": lambda: fixed(task, equal, list(range(top + 1)), seed),
        "level L alone": lambda: fixed(task, [int(budget / costs[-1])], [top], seed),
    }


def show(path: Path) -> None:
    """Mean over seeds, with a standard error."""
    found = defaultdict(list)
    for row in read(path):
        found[row["task"], row["budget"], row["way"]].append(row)
    table = Table(title="At equal cost; lower is better")
    for name in ("task", "budget", "way", "rows (first seed)", "spent", "score", "+-"):
        table.add_column(name)
    for (task, budget, way), some in found.items():
        scores = [float(row["score"]) for row in some]
        error = stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
        table.add_row(
            task, budget, way, some[0]["n"], some[0]["spent"], f"{fmean(scores):.3f}",
            f"{error:.3f}",
        )  # fmt: skip
    Console(width=120).print(table)


def parse(text: str) -> list[tuple[str, float]]:
    return [(name, float(budget)) for name, budget in (p.split(":") for p in text.split(","))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="?", type=parse, default=parse("ou:2000,g-and-k-npe:2000"))
    parser.add_argument("--first-seed", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adaptive.csv"))
    parser.add_argument("--show", action="store_true", help="only print the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = {(r["task"], r["budget"], r["seed"], r["way"]) for r in read(args.out)}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name, budget in [] if args.show else args.tasks:
            task = make_task(name, folder=None)
            _, theta, x = task.data([1] * len(task.hierarchy.costs), seed)  # the test pairs matter
            for way, run in ways(task, budget, seed).items():
                if (name, f"{budget:g}", str(seed), way) in done:
                    continue
                fit, n, spent = run()
                score = task.score(fit, theta, x, seed=seed)[TASKS[name].metric]
                row = (
                    name, f"{budget:g}", seed, way, " ".join(map(str, n)), f"{spent:g}",
                    f"{score:.5f}",
                )  # fmt: skip
                append(args.out, COLUMNS, [row])
                print(*row, flush=True)
    show(args.out)


if __name__ == "__main__":
    main()
