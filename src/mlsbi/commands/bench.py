"""`mlsbi bench`: the paper's tasks, budgets x strategies x seeds, beside the figures of others.

It parses options, calls `mlsbi.benching`, and prints. Exit codes: 0 done, 1 a cell failed, 2 an
option is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlsbi._span import span
from mlsbi.commands import _bench_options as options
from mlsbi.commands._parts import blamed_on, console

if TYPE_CHECKING:
    from mlsbi.benching.cells import Cell

__all__ = ["bench"]


def bench(
    task: options.Tasks = None,
    *,
    everything: options.All = False,
    quick: options.Quick = False,
    show: options.Show = False,
    strategy: options.Strategies = None,
    budget: options.Budgets = None,
    single_runs: options.SingleRuns = "",
    seeds: options.Seeds = None,
    first_seed: options.FirstSeed = None,
    jobs: options.Jobs = None,
    data: options.Data = None,
    estimator: options.Estimator = None,
    paper_estimator: options.PaperEstimator = None,
    paper_epochs: options.PaperEpochs = None,
    out: options.Results = Path("results.csv"),
    figures: options.Figures = None,
    page: options.Page = None,
    reference: options.Reference = None,
    max_steps: options.MaxSteps = None,
) -> None:
    """Run the paper's tasks: budgets x strategies x seeds, with a table beside others' figures.

    mlsbi bench --all reproduces the paper's experiments in hours, mlsbi bench --all --quick in
    minutes. What is done is kept: the same command goes on where it stopped.
    """
    from mlsbi.benching.table import show as show_tables

    names = list(task or ())
    _check_names(strategy or (), estimator, paper_estimator)
    if everything or quick:
        given = (budget, single_runs, estimator, paper_estimator, paper_epochs)
        names, cells = _reproduction(
            names, strategy or (), seeds, first_seed, data, quick=quick, given=given
        )
    else:
        built = _tasks(names, data)
        names = list(built)
        cells = _grid(
            built,
            strategies=strategy or ["single", "multilevel", "paper", "transfer"],
            seeds=range(first_seed or 0, (first_seed or 0) + (seeds or 3)),
            budget=budget,
            single_runs=_runs(single_runs),
            estimator=estimator,
            paper_estimator=paper_estimator,
            paper_epochs=paper_epochs,
        )
    jobs = jobs or (2 if quick else 1)
    run = partial(_run, jobs=jobs, folder=data, max_steps=max_steps, sort=everything or quick)
    failed = 0 if show else run(cells, out)
    show_tables(console(), names, path=out, reference=reference)
    _draw(out, figures, page, reference)
    if failed:
        raise typer.Exit(1)


def _reproduction(
    names: list[str],
    strategies: Sequence[str],
    seeds: int | None,
    first_seed: int | None,
    folder: Path | None,
    *,
    quick: bool,
    given: Sequence[Any],
) -> tuple[list[str], list[Cell]]:
    """The tasks and cells of --all or --quick."""
    from mlsbi.benching.paper import FIRST_SEED, OTHERS, PAPER_TASKS, SEEDS, Wanted, paper_cells
    from mlsbi.benching.paper import quick_cells as few

    if any(given):
        raise typer.BadParameter(
            "runs the paper's budgets, estimators and epochs: leave --budget, --single-runs, "
            "--estimator, --paper-estimator and --paper-epochs out.",
            param_hint="--quick" if quick else "--all",
        )
    known = PAPER_TASKS if quick else (*PAPER_TASKS, *OTHERS)
    unknown = [name for name in names if name not in known and name != "all"]
    if unknown:
        raise typer.BadParameter(
            f"{'--quick' if quick else '--all'} has {', '.join(known)}; got {unknown[0]}.",
            param_hint="TASK",
        )
    wanted = Wanted(
        tasks=tuple(n for n in known if not names or n in names or "all" in names),
        strategies=tuple(strategies),
        seeds=(FIRST_SEED if first_seed is None else first_seed, seeds or (1 if quick else SEEDS)),
    )
    chosen = wanted.without_data(folder)
    if chosen != wanted.tasks:
        typer.echo("Without --data FOLDER the CAMELS tasks are left out.", err=True)
    return list(chosen), (few if quick else paper_cells)(wanted, folder)


def _grid(
    built: dict[str, Any], *, budget: list[str] | None, single_runs: list[int], **others: Any
) -> list[Cell]:
    """Tasks x budgets x strategies x seeds, as asked for."""
    from mlsbi.benching.cells import plan

    return [
        cell
        for name, task in built.items()
        for cell in plan(
            name,
            task,
            budgets=_budgets(budget, len(task.budgets[0])),
            single_runs=single_runs,
            **others,
        )
    ]


def _tasks(names: list[str], folder: Path | None) -> dict[str, Any]:
    """The tasks to run; with "all" and no folder, those that need none."""
    from mlsbi.benching.names import TASKS, make_task

    if not names:
        raise typer.BadParameter("name a task, or use --all or --quick.", param_hint="TASK")
    if "all" in names:
        names = [n for n, entry in TASKS.items() if folder or not entry.needs_data]
        if folder is None:
            typer.echo("Without --data FOLDER the CAMELS tasks are left out.", err=True)
    known = all(name in TASKS for name in names)
    with blamed_on("--data" if known else "TASK"):
        return {n: make_task(n, folder=folder) for n in names}


def _check_names(strategies: Sequence[str], *estimators: str | None) -> None:
    """Refuse unknown strategies and estimators before anything runs."""
    from mlsbi.benching.names import check_strategy, parse_estimator

    with blamed_on("--strategy"):
        for name in strategies:
            check_strategy(name)
    for option, value in zip(("--estimator", "--paper-estimator"), estimators, strict=True):
        with blamed_on(option):
            if value is not None:
                parse_estimator(value)


def _runs(text: str) -> list[int]:
    from mlsbi.benching.names import parse_runs

    with blamed_on("--single-runs"):
        return parse_runs(text)


def _budgets(texts: list[str] | None, levels: int) -> list[tuple[int, ...]] | None:
    from mlsbi.benching.names import parse_budget

    if not texts:
        return None
    with blamed_on("--budget"):
        return [parse_budget(text, levels=levels) for text in texts]


def _run(
    cells: Sequence[Cell],
    out: Path,
    *,
    jobs: int,
    folder: Path | None,
    max_steps: int | None,
    sort: bool,
) -> int:
    """Run what is not done yet, write each result at once, and return how many failed.

    With `sort` the quickest come first, of the paper's tasks; else in order, so that all stages
    are fair comparisons.
    """
    from mlsbi.benching import results
    from mlsbi.benching.estimates import Remaining, estimates
    from mlsbi.benching.paper import OTHERS, unfinished
    from mlsbi.benching.run import run_cells

    with blamed_on("--out"):
        rows = results.read(out)
    expected = estimates(rows)
    left = unfinished(cells, rows)
    if sort:
        left.sort(key=lambda cell: (cell.task in OTHERS, expected(cell)))
    whole = Remaining(map(expected, left), jobs=jobs)
    typer.echo(
        f"{len(left)} of {len(cells)} cells to run, into {out}: about {span(whole.left)} on "
        f"{jobs} idle core{'s' * (jobs > 1)}",
        err=True,
    )
    source, failed, start = results.commit(), 0, time.monotonic()
    outcomes = run_cells(left, jobs=jobs, folder=folder, max_steps=max_steps)
    for number, outcome in enumerate(outcomes, start=1):
        results.append(out, outcome, source=source)
        failed += bool(outcome.error)
        remaining = whole.after(expected(outcome.cell), elapsed=time.monotonic() - start)
        ahead = f" ({span(remaining)} left)" if number < len(left) else ""
        typer.echo(f"[{number}/{len(left)}] {results.line(outcome)}{ahead}", err=True)
    if out.suffix == ".parquet" and left:
        results.write_parquet(out)
    return failed


def _draw(out: Path, figures: Path | None, page: Path | None, reference: Path | None) -> None:
    """The paper's figures and tables from the results, and a page's tables renewed."""
    if figures is None and page is None:
        return
    from mlsbi.benching import results
    from mlsbi.benching.page import renew
    from mlsbi.benching.report import write_figures

    rows, others = results.latest(results.read(out)), results.read_reference(reference)
    if figures is not None:
        for path in write_figures(rows, others, figures, tables=page is None):
            typer.echo(f"Written: {path}", err=True)
    if page is not None:
        with blamed_on("--page"):
            renew(page, rows, others)
        typer.echo(f"Written: {page}", err=True)
