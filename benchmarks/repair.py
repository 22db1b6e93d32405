"""Repair: what `mlsbi.calibrate` makes of over-confident fits, on fresh test runs.

Each fit is cross-fitted and calibrated from its own runs, by each method, and scored before and
after on the task's test runs, which had no part in it: mean NLPD, and the coverage error of the
joint highest-density regions. "overtrained" is the high-level runs alone, all of them trained on
for a fixed number of steps. Rows go to a CSV file as each fit ends, so that the same command goes
on where it stopped. A calibrated fit's rows name the method behind the strategy, "transfer+score".

Run: python benchmarks/repair.py [--strategies transfer,overtrained,single] [--tasks ou,g-and-k-npe]
     [--budget 1000,30] [--first-seed 900] [--seeds 5] [--jobs 2] [--out FILE]
Ends with 1 where a fit failed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from never_worse import mean_and_error, words
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mlsbi import SingleLevel, Strategy, Training, calibrate, check, fit_posterior
from mlsbi._random import derive_seed
from mlsbi.benching import results
from mlsbi.benching.cells import Cell, Outcome
from mlsbi.benching.names import Budget, library_estimator, make_strategy, make_task, parse_budget
from mlsbi.metrics import expected_coverage, nlpd

METHODS: dict[str, dict[str, Any]] = {
    "score": {"method": "score"},
    "score-each": {"method": "score", "per_parameter": True},
    "score-narrow": {"method": "score", "narrow": True},
    "coverage": {"method": "coverage"},
    "conformal": {"method": "conformal", "credibility": 0.8},
}
_FEWEST_CONFORMAL = 10
_BUDGETS = ("1000,10", "1000,30", "1000,100")
_STEPS = 100  # of a training that nothing stops


def strategy_of(name: str) -> Strategy | None:
    """What `mlsbi bench` knows, and "overtrained"."""
    if name == "overtrained":
        return SingleLevel(training=Training(max_steps=_STEPS, validation_fraction=None))
    return make_strategy(name)


def scored(fit: Any, theta: Tensor, x: Tensor, *, seed: int) -> dict[str, float]:
    """The metrics of one fit."""
    found = expected_coverage(fit, theta, x, seed=derive_seed(seed, "coverage"))
    return {**nlpd(fit.log_prob(theta, x)).to_dict(), **found.to_dict()}


def repaired(cell: Cell) -> list[Outcome]:
    """Fit, cross-fit, calibrate by every method, and score."""
    task = make_task(cell.task)
    strategy = strategy_of(cell.strategy)
    data, theta, x = task.data(cell.budget, cell.seed)
    if isinstance(strategy, SingleLevel):
        data = data.top()
    began = time.perf_counter()
    fit = fit_posterior(data, strategy=strategy, seed=derive_seed(cell.seed, "bench", "fit"))
    seconds = time.perf_counter() - began
    status = {"status_ok": fit.status.ok}
    made = [Outcome(cell, scored(fit, theta, x, seed=cell.seed) | status, seconds)]
    judged = check(fit, data, against=None, seed=cell.seed)
    for name, options in METHODS.items():
        if name == "conformal" and judged.n < _FEWEST_CONFORMAL:
            continue
        try:
            wider = calibrate(fit, judged, **options)
        except ValueError as error:  # conformal: too many runs far off
            print(f"{cell} {name}: {error}", flush=True)
            continue
        record = wider.calibration
        if record is None:
            raise RuntimeError("a calibrated fit has no calibration")
        figures = {"factor": record.factor, "factor_found": record.evidence["found"]}
        labelled = replace(cell, strategy=f"{cell.strategy}+{name}")
        taken = time.perf_counter() - began
        made.append(Outcome(labelled, scored(wider, theta, x, seed=cell.seed) | figures, taken))
    return made


def guarded(cell: Cell) -> list[Outcome]:
    """An error becomes part of the outcome, so that the others go on."""
    try:
        return repaired(cell)
    except Exception as error:
        return [Outcome(cell, {}, 0.0, f"{type(error).__name__}: {error}")]


def run(cells: Sequence[Cell], args: argparse.Namespace) -> int:
    """Run what is not in the file yet; the number of fits that failed."""
    finished = {row.cell for row in results.read(args.out)}
    left, source, failed = [c for c in cells if c not in finished], results.commit(), 0
    print(f"{len(left)} of {len(cells)} fits to make, into {args.out}", flush=True)
    with ProcessPoolExecutor(
        args.jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        futures = [pool.submit(guarded, cell) for cell in left]
        for number, future in enumerate(as_completed(futures), start=1):
            for outcome in reversed(future.result()):  # the fit itself last: it marks the cell done
                results.append(args.out, outcome, source=source)
                failed += bool(outcome.error)
            print(f"[{number}/{len(left)}] {results.line(outcome)}", flush=True)
    return failed


Found = dict[tuple[str, Budget, str], dict[str, dict[int, float]]]


def gathered(rows: Sequence[results.Row]) -> Found:
    """Metrics by task, budget and label, then by seed."""
    found = Found()
    for row in rows:
        key = (row.cell.task, row.cell.budget, row.cell.strategy)
        found.setdefault(key, {}).setdefault(row.metric, {})[row.cell.seed] = row.value
    return found


def shown(found: Found, cells: Sequence[Cell]) -> Table:
    """A row for each fit as it was, and for each method."""
    title = "Calibrated from their own runs; mean ± standard error over seeds"
    made = Table(title=title, title_justify="left")
    for heading in ("task", "runs", "strategy"):
        made.add_column(heading)
    for heading in ("seeds", "factor", "NLPD less that before", "coverage error", "bias"):
        made.add_column(heading, justify="right")
    for task, budget, strategy in dict.fromkeys((c.task, c.budget, c.strategy) for c in cells):
        plain = found.get((task, budget, strategy), {})
        for label in (strategy, *(f"{strategy}+{method}" for method in METHODS)):
            own = found.get((task, budget, label), {})
            before, after = plain.get("nlpd_mean", {}), own.get("nlpd_mean", {})
            paired = [after[s] - before[s] for s in sorted(after) if s in before]
            if not paired:
                continue
            first = label == strategy
            nats = mean_and_error(list(after.values()))
            made.add_row(
                task if first else "",
                ",".join(map(str, budget)) if first else "",
                label,
                str(len(paired)),
                "" if first else f"{fmean(own['factor'].values()):.2f}",
                f"(NLPD {nats})" if first else mean_and_error(paired, sign="+"),
                mean_and_error(list(own["coverage_error"].values())),
                mean_and_error(list(own["coverage_bias"].values()), sign="+"),
            )
        made.add_section()
    return made


def planned(args: argparse.Namespace) -> list[Cell]:
    """All fits, seed by seed, so that every prefix is a fair comparison."""
    estimator = library_estimator()
    return [
        Cell(task, budget, strategy, estimator, seed)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for budget in args.budgets
        for task in args.tasks
        for strategy in args.strategies
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fits, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", type=words, default=["transfer", "overtrained", "single"])
    parser.add_argument("--tasks", type=words, default=["ou", "g-and-k-npe"])
    parser.add_argument("--budget", action="append", help="repeatable, such as 1000,20")
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one core each")
    out = Path(__file__).parent / "results" / "repair.csv"
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args(argv)
    try:
        args.budgets = [parse_budget(text, levels=2) for text in args.budget or _BUDGETS]
        for name in args.strategies:
            strategy_of(name)
    except ValueError as error:
        parser.error(str(error))
    cells = planned(args)
    failed = run(cells, args)
    Console(width=140).print(shown(gathered(results.read(args.out)), cells))
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
