"""Is the recommended split of a budget the best one? Splits at equal cost, against each other.

For each task, budget and seed: a pilot of 64 columns recommends a split for each strategy, and that
is fitted and scored beside a grid of splits that cost the same (shares of the cost for the highest
level; with three levels, for each level). The pilot's own runs are not counted, nor used.
Rows go to a CSV file as each cell ends, so that the same command goes on where it stopped.

Run: python benchmarks/splits.py ou:600,2000,6000 g-and-k-npe:600,2000,6000 [--first-seed 400]
     [--seeds 3] [--strategies default,multilevel] [--jobs 2] [--out benchmarks/results/splits.csv]
     [--parts shares,paper,recommended] [--method auto] [--show]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch
from rich.console import Console
from rich.table import Table

import mlsbi
from mlsbi.benching import results
from mlsbi.benching.cells import Cell, plan
from mlsbi.benching.names import TASKS, Budget, make_strategy, make_task
from mlsbi.benching.run import run_cells

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
SHARES_OF_THREE = (
    (0.6, 0.2, 0.2), (0.33, 0.33, 0.34), (0.2, 0.2, 0.6), (0.1, 0.1, 0.8), (0.2, 0.6, 0.2),
    (0.05, 0.05, 0.9),
)  # fmt: skip
PAPER = {"toggle": ((10000, 500, 100), (9260, 200, 300), (1077, 1077, 1077))}
"""Splits that the paper tried, at a cost of 603,000."""

LEAST = 5  # runs of a level


def grid(task: str, costs: Sequence[float], budget: float, parts: Sequence[str]) -> list[Budget]:
    """Splits that cost the budget, whole runs."""
    rows = [cost + (costs[i - 1] if i else 0.0) for i, cost in enumerate(costs)]
    shares = [(1 - s, s) for s in SHARES] if len(costs) == 2 else list(SHARES_OF_THREE)
    found = [tuple(int(s * budget / row) for s, row in zip(of, rows, strict=True)) for of in shares]
    found = [n for n in found if min(n) >= LEAST] if "shares" in parts else []
    return found + (list(PAPER.get(task, ())) if "paper" in parts else [])


def recommended(task: str, budget: float, seed: int, strategy: str, *, method: str) -> Budget:
    """What a pilot recommends."""
    built = make_task(task, folder=None)
    if built.hierarchy is None:
        raise SystemExit(f"{task} has no simulators to run a pilot of")
    pilot = mlsbi.pilot(built.hierarchy, 64, seed=seed)
    return tuple(
        pilot.allocate(
            budget, strategy=make_strategy(strategy), method=method, kind=built.kind, seed=seed
        )
    )


def cells_of(
    args: argparse.Namespace, chosen: dict[tuple[str, float, int, str], Budget]
) -> Iterator[Cell]:
    """Seed by seed, so that every prefix is a fair comparison."""
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for task, budgets in args.tasks:
            built = make_task(task, folder=None)
            for budget in budgets:
                splits = grid(task, built.costs, budget, args.parts)
                for strategy in args.strategies:
                    some = list(splits)
                    if "recommended" in args.parts:
                        key = (task, budget, seed, strategy)
                        chosen[key] = recommended(*key, method=args.method)
                        some.append(chosen[key])
                    yield from plan(task, built, strategies=[strategy], seeds=[seed], budgets=some)


def parse_task(text: str) -> tuple[str, list[float]]:
    name, _, budgets = text.partition(":")
    if name not in TASKS or not budgets:
        raise argparse.ArgumentTypeError(f"{text!r} is not TASK:BUDGET,BUDGET,...")
    return name, [float(b) for b in budgets.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="+", type=parse_task, metavar="TASK:BUDGET,...")
    parser.add_argument("--first-seed", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--strategies", type=lambda s: s.split(","), default=["default", "multilevel"]
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/splits.csv"))
    parser.add_argument("--show", action="store_true", help="only print the table")
    parser.add_argument(
        "--parts", type=lambda s: s.split(","), default=["shares", "paper", "recommended"],
        help="of the cells: shares, paper, recommended",
    )  # fmt: skip
    parser.add_argument("--method", default="auto", help="of finding the needs of the levels")
    args = parser.parse_args()
    torch.set_num_threads(1)
    chosen: dict[tuple[str, float, int, str], Budget] = {}
    cells = list(dict.fromkeys(cells_of(args, chosen)))
    if not args.show:
        finished = {row.cell for row in results.read(args.out)}
        left = [cell for cell in cells if cell not in finished]
        print(f"{len(left)} of {len(cells)} cells to run", flush=True)
        for i, outcome in enumerate(
            run_cells(left, jobs=args.jobs, folder=None, max_steps=None), 1
        ):
            results.append(args.out, outcome, source=results.commit())
            print(f"[{i}/{len(left)}] {results.line(outcome)}", flush=True)
    show(args, chosen)


def show(args: argparse.Namespace, chosen: dict[tuple[str, float, int, str], Budget]) -> None:
    """Mean over seeds of each split, and how far the recommended one is above the best."""
    table = Table(title="Splits at equal cost; lower is better")
    for name in ("task", "budget", "strategy", "split: mean", "recommended", "less best", "+-"):
        table.add_column(name)
    scores = read_scores(args.out)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for task, budgets in args.tasks:
        costs = make_task(task, folder=None).costs
        for budget in budgets:
            for strategy in args.strategies:
                means = {
                    n: fmean(scores.get((task, strategy, n, seed), math.nan) for seed in seeds)
                    for n in grid(task, costs, budget, args.parts)
                }
                means = {n: mean for n, mean in means.items() if not math.isnan(mean)}
                best = min(means, key=means.__getitem__) if means else None
                gaps, picked = [], []
                for seed in seeds:
                    n = chosen.get((task, budget, seed, strategy))
                    value = scores.get((task, strategy, n, seed)) if n else None
                    if value is not None:
                        picked.append(f"{'/'.join(map(str, n))} {value:.3f}")
                        if best is not None:
                            gaps.append(value - scores[task, strategy, best, seed])
                table.add_row(
                    task, f"{budget:g}", strategy,
                    "  ".join(f"{'/'.join(map(str, n))} {m:.3f}" for n, m in means.items()),
                    "  ".join(picked),
                    f"{fmean(gaps):+.3f}" if gaps else "-",
                    f"{stdev(gaps) / len(gaps) ** 0.5:.3f}" if len(gaps) > 1 else "-",
                )  # fmt: skip
    Console(width=200).print(table)


def read_scores(path: Path) -> dict[tuple[str, str, Budget, int], float]:
    """Each task's metric, by task, strategy, split and seed."""
    return {
        (row.cell.task, row.cell.strategy, row.cell.budget, row.cell.seed): row.value
        for row in results.read(path)
        if row.metric == TASKS[row.cell.task].metric
    }


if __name__ == "__main__":
    main()
