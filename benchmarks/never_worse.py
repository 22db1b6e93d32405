"""Never worse: on hierarchies made to break it, the default against single-level methods.

On each of `mlsbi.tasks.STRESS` and each budget, over seeds: the NLPD of the high-level runs alone
("single"), of the emulator of them ("emulator"), and of the default strategy, and how far the
default is above the better of the two (the better by its mean). Rows go to a CSV file as each cell
ends, so that the same command goes on where it stopped.

Run: python benchmarks/never_worse.py [--strategies single,emulator,default] [--first-seed 200]
     [--seeds 5] [--tasks noise,wide] [--jobs 2] [--out benchmarks/results/never_worse.csv]
Ends with 1 where a cell failed, or a strategy is worse by more than --tolerance.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

from mlsbi.benching import results
from mlsbi.benching.cells import Cell, plan
from mlsbi.benching.names import Budget, make_strategy, make_task, parse_budget
from mlsbi.benching.run import run_cells
from mlsbi.tasks import STRESS, stress

SINGLE_LEVEL = ("single", "emulator")
METRIC = "nlpd_mean"


@dataclass
class Scores:
    """What one strategy reached on one hierarchy and budget.

    Attributes:
        nlpd: Mean NLPD on the test pairs, by seed.
        coverage: Signed coverage error, by seed; negative is over-confident.
        status: How often each status came.
    """

    nlpd: dict[int, float] = field(default_factory=dict)
    coverage: dict[int, float] = field(default_factory=dict)
    status: Counter[str] = field(default_factory=Counter)


Found = dict[tuple[str, Budget], dict[str, Scores]]


def planned(args: argparse.Namespace) -> list[Cell]:
    """All cells, seed by seed, so that every prefix is a fair comparison."""
    cells = []
    for name in args.tasks:
        task = f"stress-{name}"
        cells += plan(
            task,
            make_task(task),
            strategies=args.strategies,
            seeds=args.seeds,
            budgets=args.budgets,
            estimator=args.estimator,
        )
    return sorted(cells, key=lambda cell: cell.seed)


def gathered(rows: Sequence[results.Row], cells: Sequence[Cell]) -> Found:
    """The scores of the cells asked for, by hierarchy and budget, then strategy."""
    wanted = set(cells)
    found: Found = {}
    for row in rows:
        cell = row.cell
        if cell not in wanted:
            continue
        scores = found.setdefault((cell.task, cell.budget), {}).setdefault(cell.strategy, Scores())
        if row.metric == METRIC:
            scores.nlpd[cell.seed] = row.value
        elif row.metric == "coverage_bias":
            scores.coverage[cell.seed] = row.value
        elif row.metric.startswith("status_") and row.metric != "status_ok":
            scores.status[row.metric.removeprefix("status_")] += 1
    return found


def best_single_level(scores: dict[str, Scores]) -> str | None:
    """The single-level method of the lowest mean NLPD; None where none has run."""
    means = {s: fmean(scores[s].nlpd.values()) for s in SINGLE_LEVEL if s in scores}
    return min(means, key=means.__getitem__, default=None)


def excess(scores: dict[str, Scores], strategy: str) -> list[float]:
    """NLPD less that of the better single-level method, on the seeds that both have."""
    best = best_single_level(scores)
    if best is None or strategy in SINGLE_LEVEL:
        return []
    mine, theirs = scores[strategy].nlpd, scores[best].nlpd
    return [mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())]


def mean_and_error(values: Sequence[float], *, sign: str = "") -> str:
    """Mean over seeds with its standard error; "" of none."""
    n = len(values)
    if n == 0:
        return ""
    mean = fmean(values)
    if n == 1:
        return f"{mean:{sign}.3f}"
    # By hand: statistics.stdev refuses the infinity that a density of zero gives.
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return f"{mean:{sign}.3f} ± {error:.3f}"


def exact(task: str, seeds: Sequence[int]) -> str:
    """NLPD of the exact posterior on the same test pairs."""
    built = make_task(task)
    if built.reference_posterior is None:
        return ""
    few = (1,) * len(built.budgets[0])  # the test pairs do not depend on it
    values = [
        -float(built.reference_posterior(*built.data(few, seed)[1:]).mean()) for seed in seeds
    ]
    return mean_and_error(values)


def shown(task: str, found: Found, seeds: Sequence[int], tolerance: float) -> Table:
    """One hierarchy's table."""
    title = f"{task}: NLPD (lower is better); exact posterior {exact(task, seeds)}"
    made = Table(title=title, title_justify="left")
    for heading in ("runs", "strategy"):
        made.add_column(heading)
    for heading in ("seeds", "NLPD ± se", "less best of S and E", "coverage bias", "status"):
        made.add_column(heading, justify="right")
    for (name, budget), scores in sorted(found.items()):
        label = ",".join(map(str, budget))
        for strategy, own in scores.items() if name == task else ():
            above = excess(scores, strategy)
            verdict = mean_and_error(above, sign="+")
            verdict += " WORSE" if is_worse(above, tolerance) else ""
            counts = ", ".join(f"{status} {n}" for status, n in own.status.most_common())
            nlpd, coverage = list(own.nlpd.values()), list(own.coverage.values())
            figures = (mean_and_error(nlpd), verdict, mean_and_error(coverage, sign="+"), counts)
            made.add_row(label, strategy, str(len(nlpd)), *figures)
            label = ""
        if name == task:
            made.add_section()
    return made


def is_worse(above: Sequence[float], tolerance: float) -> bool:
    # The negation makes a mean that is not a number count as worse.
    return bool(above) and not fmean(above) <= tolerance


def run(cells: Sequence[Cell], args: argparse.Namespace) -> int:
    """Run what is not in the file yet; the number of cells that failed."""
    finished = {row.cell for row in results.read(args.out)}
    left, source, failed = [c for c in cells if c not in finished], results.commit(), 0
    print(f"{len(left)} of {len(cells)} cells to run, into {args.out}", flush=True)
    outcomes = run_cells(left, jobs=args.jobs, max_steps=args.max_steps)
    for number, outcome in enumerate(outcomes, start=1):
        results.append(args.out, outcome, source=source)
        failed += bool(outcome.error)
        print(f"[{number}/{len(left)}] {results.line(outcome)}", flush=True)
    return failed


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", type=words, default=[*SINGLE_LEVEL, "default"])
    parser.add_argument("--tasks", type=words, default=list(STRESS), help=", ".join(STRESS))
    parser.add_argument("--budget", action="append", help="repeatable, such as 1000,20")
    parser.add_argument("--estimator", help="such as mdn or nsf:1; by default the library's")
    parser.add_argument("--first-seed", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--jobs", type=int, default=2, help="processes; they share the cores")
    parser.add_argument("--tolerance", type=float, default=0.1, help="nats")
    parser.add_argument("--max-steps", type=int, help="cuts trainings short, to try it out")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "never_worse.csv"
    )
    args = parser.parse_args(argv)
    args.seeds = list(range(args.first_seed, args.first_seed + args.seeds))
    try:
        args.budgets = [parse_budget(text, levels=2) for text in args.budget or ()] or None
        for name in args.strategies:
            make_strategy(name)
        for name in args.tasks:
            stress(name)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(argv)
    torch.set_num_threads(1)  # for --jobs 1; small networks gain nothing from more
    cells = planned(args)
    failed = run(cells, args)
    found = gathered(results.read(args.out), cells)
    console = Console(width=140)
    for name in args.tasks:
        console.print(shown(f"stress-{name}", found, args.seeds, args.tolerance))
    worse = [
        f"{task} {budget} {strategy}"
        for (task, budget), scores in found.items()
        for strategy in scores
        if is_worse(excess(scores, strategy), args.tolerance)
    ]
    print(f"Worse by more than {args.tolerance} nats: {'; '.join(worse) or 'none'}")
    return int(bool(failed or worse))


if __name__ == "__main__":
    raise SystemExit(main())
