"""Expected coverage of the default strategy, on each of the paper's tasks and budgets, over seeds.

Of a posterior fit it is the coverage of q(theta | x) on the task's test pairs. Of a likelihood fit
it is that of q(x | theta) on fresh runs of the highest level: the share of runs that lie in the
smallest region of a given probability. The error of a fit is the mean absolute deviation of its
curve from the diagonal; that of the mean curve, over seeds, shows what is no chance of one data
set. Rows go to a CSV file as each cell ends, so that the same command goes on where it stopped.

Run: python benchmarks/coverage.py --data FOLDER [--strategies default,single] [--seeds 10]
     [--first-seed 800] [--tasks ou,g-and-k-npe] [--budget 1000,10] [--jobs 2] [--out FILE]
Ends with 1 where a cell failed, or the default strategy misses its target.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from never_worse import mean_and_error, words
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mlsbi._random import derive_seed, make_generator
from mlsbi.benching import results
from mlsbi.benching.cells import Cell, Outcome, plan
from mlsbi.benching.names import Budget, make_strategy, make_task, parse_budget
from mlsbi.benching.results import CURVE
from mlsbi.benching.run import curve_of, run_cell, scored
from mlsbi.metrics import expected_coverage
from mlsbi.tasks import Task

TASKS = ("ou", "g-and-k-npe", "camels-sigma8", "camels-2", "g-and-k-nle", "toggle")
_FAR = 1e30
_FRESH = 2000  # runs of the highest level that a likelihood fit is checked on
_FEW, _TARGETS = 50, (0.06, 0.03)  # with fewer runs of level L than that, and with as many


@dataclass(frozen=True)
class LikelihoodAsPosterior:
    """q(x | theta) where `expected_coverage` looks for q(theta | x): the two swap places.

    Attributes:
        fit: A likelihood fit.
    """

    fit: Any

    def sample_batched(self, n: int, *, x: Tensor, seed: int) -> Tensor:
        """Draws of x at each theta, `(n, b, D)`; the argument that is called x is theta."""
        draws: Tensor = self.fit.sample_batched(n, theta=x, seed=seed)
        return draws.flatten(2).clamp(-_FAR, _FAR)  # one that overflowed is far away

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        """Log density of x, here called theta, at theta, here called x."""
        value: Tensor = self.fit.log_prob(x, theta.reshape(-1, *self.fit.event_shape))
        return value.nan_to_num(nan=-torch.inf)


def likelihood_score(
    task: Task, fit: Any, theta: Tensor, x: Tensor, *, seed: int
) -> dict[str, float]:
    """The task's own score, and the coverage of q(x | theta) on fresh runs."""
    if task.hierarchy is None:
        raise ValueError(f"{task.name} has no simulators to make fresh runs with.")
    generator = make_generator(derive_seed(seed, "coverage", "fresh"), "runs")
    given, u = task.hierarchy.draw(_FRESH, generator)
    runs = task.hierarchy.levels[-1].run(given, u).flatten(1)
    swapped = LikelihoodAsPosterior(fit)
    found = expected_coverage(swapped, runs, given, seed=derive_seed(seed, "coverage"))
    return {**task.score(fit, theta, x, seed=seed), **found.to_dict(), **curve_of(found)}


def score(task: Task, fit: Any, theta: Tensor, x: Tensor, *, seed: int) -> dict[str, float]:
    """The metrics of a fit; of the curve, the empirical coverage of each credibility."""
    if task.kind == "likelihood":
        return likelihood_score(task, fit, theta, x, seed=seed)
    return scored(task, fit, theta, x, seed=seed)


def guarded(cell: Cell, *, folder: Path | None, max_steps: int | None) -> Outcome:
    """Run a cell; an error becomes part of the outcome, so that the others go on."""
    try:
        return run_cell(cell, folder=folder, max_steps=max_steps, score=score)
    except Exception as error:
        return Outcome(cell, {}, 0.0, f"{type(error).__name__}: {error}")


def run(cells: Sequence[Cell], args: argparse.Namespace) -> int:
    """Run what is not in the file yet; the number of cells that failed."""
    finished = {row.cell for row in results.read(args.out)}
    left, source, failed = [c for c in cells if c not in finished], results.commit(), 0
    print(f"{len(left)} of {len(cells)} cells to run, into {args.out}", flush=True)
    work = partial(guarded, folder=args.data, max_steps=args.max_steps)
    with ProcessPoolExecutor(
        args.jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(work, cell) for cell in left]
        for number, future in enumerate(as_completed(futures), start=1):
            outcome = future.result()
            results.append(args.out, outcome, source=source)
            failed += bool(outcome.error)
            print(f"[{number}/{len(left)}] {results.line(outcome)}", flush=True)
    return failed


def planned(args: argparse.Namespace) -> list[Cell]:
    """All cells, seed by seed, so that every prefix is a fair comparison."""
    cells = []
    for name in args.tasks:
        task = make_task(name, folder=args.data)
        levels = len(task.budgets[0])
        budgets = [b for b in args.budgets if len(b) == levels] or task.budgets
        cells += plan(
            name,
            task,
            strategies=args.strategies,
            seeds=args.seeds,
            budgets=budgets,
            paper_estimator=args.paper_estimator,
        )
    return sorted(cells, key=lambda cell: cell.seed)


Found = dict[tuple[str, Budget, str], dict[str, list[float]]]


def gathered(rows: Sequence[results.Row], cells: Sequence[Cell]) -> Found:
    """The metrics of the cells asked for, by task, budget and strategy, in the order of seeds."""
    wanted, found = set(cells), Found()
    for row in sorted(rows, key=lambda row: row.cell.seed):
        if row.cell in wanted:
            key = (row.cell.task, row.cell.budget, row.cell.strategy)
            found.setdefault(key, {}).setdefault(row.metric, []).append(row.value)
    return found


def target(budget: Budget) -> float:
    """The largest coverage error that the default strategy may have, a mean over seeds."""
    return _TARGETS[budget[-1] >= _FEW]


def shown(found: Found) -> Table:
    """A row for each task, budget and strategy."""
    made = Table(title="Expected coverage, mean ± standard error over seeds", title_justify="left")
    for heading in ("task", "runs", "strategy"):
        made.add_column(heading)
    for heading in ("seeds", "error", "target", "bias", "error of the mean curve", "score"):
        made.add_column(heading, justify="right")
    for (task, budget, strategy), metrics in found.items():
        error = metrics.get("coverage_error", [])
        score = next((n for n in ("nlpd_mean", "kld_mean", "mmd_squared_mean") if n in metrics), "")
        made.add_row(
            task,
            ",".join(map(str, budget)),
            strategy,
            str(len(error)),
            mean_and_error(error),
            f"{target(budget):.2f}",
            mean_and_error(metrics.get("coverage_bias", []), sign="+"),
            f"{mean_curve_error(metrics):.3f}",
            mean_and_error(metrics.get(score, [])),
        )
    return made


def mean_curve_error(metrics: dict[str, list[float]]) -> float:
    """Mean absolute deviation of the mean curve over seeds; NaN without curves."""
    away = [
        abs(fmean(values) - float(name.removeprefix(CURVE)))
        for name, values in metrics.items()
        if name.startswith(CURVE)
    ]
    return fmean(away) if away else math.nan


def missed(found: Found) -> list[str]:
    """Where the default strategy's error is above the target."""
    return [
        f"{task} {','.join(map(str, budget))}"
        for (task, budget, strategy), metrics in found.items()
        if strategy == "default" and not fmean(metrics["coverage_error"]) <= target(budget)
    ]


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the CAMELS spectra")
    parser.add_argument("--strategies", type=words, default=["default"])
    parser.add_argument("--tasks", type=words, default=list(TASKS), help=", ".join(TASKS))
    parser.add_argument("--budget", action="append", help="repeatable; by default the paper's")
    parser.add_argument("--paper-estimator", help="of the strategies named paper..., such as nsf:1")
    parser.add_argument("--first-seed", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one core each")
    parser.add_argument("--max-steps", type=int, help="cuts trainings short, to try it out")
    out = Path(__file__).parent / "results" / "coverage.csv"
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args(argv)
    args.seeds = list(range(args.first_seed, args.first_seed + args.seeds))
    try:
        args.budgets = [parse_budget(text) for text in args.budget or ()]
        for name in args.strategies:
            make_strategy(name)
        for name in args.tasks:
            make_task(name, folder=args.data)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cells, show the table, and say where the target is missed."""
    args = parsed(argv)
    cells = planned(args)
    failed = run(cells, args)
    found = gathered(results.read(args.out), cells)
    Console(width=140).print(shown(found))
    above = missed(found)
    print(f"Above the target: {'; '.join(above) or 'none'}")
    return int(bool(failed or above))


if __name__ == "__main__":
    raise SystemExit(main())
