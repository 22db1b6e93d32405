"""Cross-fitted figures against the truth: do the bands of `mlsbi.check(fit, data)` hold it?

In each replication, data of n_L runs of level L and a fit of the default strategy; a check by
cross-fitting; and the truth, from 2000 fresh runs of level L: of the fit itself, and the mean over
the fits of the folds, which have seen fewer runs. Shown is how often bands hold the truth (they
claim 95 %), and how wide they are. Trainings are short (`--max-steps 300`): the bands do not know
that, and there are 50 replications a task. Rows go to a CSV file as each replication ends.

Run: python benchmarks/check_bands.py [--tasks ou,g-and-k-npe] [--runs 20,50,100] [--first-seed 600]
     [--seeds 50] [--part 0/1] [--out benchmarks/results/check_bands.csv] [--show]
`--seeds` are replications a task; they take turns through `--runs`. `--part 0/2` and `--part 1/2`
share the replications between two processes, each with a file of its own.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from _rows import append, read
from rich.console import Console
from rich.table import Table
from torch import Tensor

import mlsbi
from mlsbi import Training
from mlsbi.benching.names import make_task
from mlsbi.metrics import expected_coverage

COLUMNS = ("task", "runs", "seed", "figure", "value", "low", "high", "truth", "truth_of_folds")
FRESH, LEVELS = 2000, (0.25, 0.5, 0.75, 0.9)
LOW_RUNS = 1000


def fresh_runs(task: Any, seed: int) -> tuple[Tensor, Tensor]:
    """Runs of level L that no fit has seen."""
    top = task.hierarchy.subset([len(task.hierarchy.levels) - 1])
    runs = mlsbi.simulate(top, (FRESH,), seed=seed + 1_000_000)
    return runs.theta(0), runs.x(0)


class Kept:
    """Remembers every fit that the check makes on its way."""

    def __init__(self) -> None:
        self.fits: list[Any] = []
        self.usual = mlsbi.fit.fit_posterior

    def __enter__(self) -> Kept:
        from mlsbi.checking import refit

        def keeping(*args: Any, **options: Any) -> Any:
            self.fits.append(self.usual(*args, **options))
            return self.fits[-1]

        self.module, self.before = refit, refit.fit_posterior
        refit.fit_posterior = keeping
        return self

    def __exit__(self, *_: object) -> None:
        self.module.fit_posterior = self.before


def truth(fit: Any, theta: Tensor, x: Tensor, *, seed: int) -> dict[str, float]:
    """NLPD and coverage of one fit on fresh runs."""
    found = {"nlpd": -float(fit.log_prob(theta, x).double().mean())}
    ranks = expected_coverage(fit, theta, x, num_samples=50, seed=seed).ranks
    return found | {f"coverage {c}": float((ranks <= c).double().mean()) for c in LEVELS}


def replication(name: str, runs: int, seed: int, *, max_steps: int) -> list[tuple[Any, ...]]:
    """Every figure of one check, its band, and the truth."""
    task = make_task(name)
    data, _, _ = task.data((LOW_RUNS, runs), seed)
    training = Training(max_steps=max_steps)
    fit = mlsbi.fit_posterior(data, seed=seed, training=training)
    with Kept() as kept:
        check = mlsbi.check(fit, data, seed=seed, against=False)
    theta, x = fresh_runs(task, seed)
    own = truth(fit, theta, x, seed=seed)
    of_folds = [truth(f, theta, x, seed=seed) for f in kept.fits]
    mean = {figure: fmean(t[figure] for t in of_folds) for figure in own}
    rows = [("nlpd", check.nlpd_band.value, check.nlpd_band.low, check.nlpd_band.high)]
    curve = check.coverage
    for c in LEVELS:
        at = int((curve.levels - c).abs().argmin())
        rows.append(
            (f"coverage {c}", float(curve.empirical[at]), float(check.coverage_low[at]),
             float(check.coverage_high[at]))
        )  # fmt: skip
    made = [(*row, own[row[0]], mean[row[0]]) for row in rows]
    return [*made, *two_level(check, own, mean)]


def two_level(check: Any, own: dict[str, float], mean: dict[str, float]) -> list[tuple[Any, ...]]:
    """The multilevel estimate of coverage, with two standard errors, where there is one."""
    found = check.two_level
    if found is None:
        return []
    curve, rows = found.coverage, []
    for c in LEVELS:
        at = int((curve.levels - c).abs().argmin())
        value, error = float(curve.empirical[at]), float(found.standard_error[at])
        kind = "two levels, used" if found.used else "two levels, not used"
        rows.append(
            (f"{kind} {c}", value, value - 1.96 * error, value + 1.96 * error,
             own[f"coverage {c}"], mean[f"coverage {c}"])
        )  # fmt: skip
    return rows


def show(path: Path) -> None:
    """How often bands hold the truth, by task, figure and number of runs."""
    found = defaultdict(list)
    for row in read(path):
        figure = row["figure"] if row["figure"] == "nlpd" else row["figure"].rsplit(" ", 1)[0]
        for runs in (row["runs"], "all"):
            found[row["task"], figure, runs].append(row)
    table = Table(title="How often a 95 % band holds the truth, and its mean half width")
    for heading in ("task", "figure", "runs", "bands", "the fit's", "its folds'", "half width",
                    "error (rms)", "bias"):  # fmt: skip
        table.add_column(heading)
    for (task, figure, runs), rows in sorted(found.items()):
        own, of_folds = (fmean(inside(row, c) for row in rows) for c in COLUMNS[-2:])
        half = fmean((float(row["high"]) - float(row["low"])) / 2 for row in rows)
        errors = [float(row["value"]) - float(row["truth"]) for row in rows]
        rms = fmean(e * e for e in errors) ** 0.5
        table.add_row(task, figure, runs, str(len(rows)), f"{own:.0%}", f"{of_folds:.0%}",
                      f"{half:.3f}", f"{rms:.3f}", f"{fmean(errors):+.3f}")  # fmt: skip
    Console(width=120).print(table)


def inside(row: dict[str, str], column: str) -> bool:
    return float(row["low"]) <= float(row[column]) <= float(row["high"])


def planned(args: argparse.Namespace) -> list[tuple[str, int, int]]:
    """Task, runs and seed of every replication of this part."""
    runs = [int(r) for r in args.runs.split(",")]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    cells = [(t, runs[s % len(runs)], s) for s in seeds for t in args.tasks.split(",")]
    part, of = (int(number) for number in args.part.split("/"))
    return cells[part::of]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", default="ou,g-and-k-npe")
    parser.add_argument("--runs", default="20,50,100")
    parser.add_argument("--first-seed", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--max-steps", type=int, default=300)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/check_bands.csv"))
    parser.add_argument("--show", action="store_true", help="only print the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = {(row["task"], int(row["runs"]), int(row["seed"])) for row in read(args.out)}
    for name, runs, seed in [] if args.show else planned(args):
        if (name, runs, seed) in done:
            continue
        rows = replication(name, runs, seed, max_steps=args.max_steps)
        append(args.out, COLUMNS, ((name, runs, seed, *row) for row in rows))
        print(name, runs, seed, f"{sum(r[2] <= r[5] <= r[3] for r in rows[:5])} of 5 bands hold",
              flush=True)  # fmt: skip
    show(args.out)


if __name__ == "__main__":
    main()
