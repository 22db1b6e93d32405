"""`mlsbi bench`: the paper's tasks, budgets x strategies x seeds, beside the figures of others.

It parses options, calls `mlsbi.benching` and `mlsbi.benching.results`, and prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from mlsbi._cli_parts import blamed_on, console

__all__ = ["bench"]

_Task = Annotated[
    str,
    typer.Argument(
        help="g-and-k-nle, g-and-k-npe, ou, toggle, linear-gaussian, camels-sigma8, camels-2; "
        "stress-noise, stress-anti, stress-decoupled, stress-blind, stress-noisy, stress-integers, "
        "stress-bimodal, stress-wide; or all.",
        metavar="TASK",
    ),
]
_Strategies = Annotated[
    list[str],
    typer.Option(
        help="Repeatable: single, multilevel, paper, transfer, default; multilevel-rescale, "
        "paper-none, multilevel-level, paper@2000, ... for variants."
    ),
]
_Budgets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(help="Repeatable: runs of each level, such as 1000,50; by default official."),
]
_SingleRuns = Annotated[
    str,
    typer.Option(help="Numbers of high-level runs to train single on besides: 100,300,800."),
]
_Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds.")]
_FirstSeed = Annotated[int, typer.Option(min=0, help="The first seed.")]
_Jobs = Annotated[int, typer.Option(min=1, help="Processes; they share the cores.")]
_Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(envvar="MLSBI_DATA", help="Folder of the CAMELS spectra."),
]
_Estimator = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="NAME, or NAME:MEMBERS such as nsf:1; by default the library's."),
]
_PaperEstimator = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="For the paper strategies; by default that of the others."),
]
_PaperEpochs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="For the paper strategies; by default the paper's, by task."),
]
_Results = Annotated[Path, typer.Option(help="Results; cells that are in it are not run again.")]
_Reference = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Figures to show beside; by default benchmarks/reference.json."),
]
_MaxSteps = Annotated[
    Optional[int],  # noqa: UP045  typer reads it at run time
    typer.Option(min=1, hidden=True, help="Cut every training short, to try a command out."),
]


def bench(
    task: _Task,
    *,
    strategy: _Strategies = ["single", "multilevel", "paper", "transfer"],  # noqa: B006  copied
    budget: _Budgets = None,
    single_runs: _SingleRuns = "",
    seeds: _Seeds = 3,
    first_seed: _FirstSeed = 0,
    jobs: _Jobs = 1,
    data: _Data = None,
    estimator: _Estimator = None,
    paper_estimator: _PaperEstimator = None,
    paper_epochs: _PaperEpochs = None,
    out: _Results = Path("results.csv"),
    reference: _Reference = None,
    max_steps: _MaxSteps = None,
) -> None:
    """Run the paper's tasks: budgets x strategies x seeds, with a table beside others' figures."""
    from mlsbi.benching import results
    from mlsbi.benching.cells import plan

    tasks = _tasks(task, data)
    _check_names(strategy, estimator, paper_estimator)
    runs = _runs(single_runs)
    cells = [
        cell
        for name, built in tasks.items()
        for cell in plan(
            name,
            built,
            strategies=strategy,
            seeds=range(first_seed, first_seed + seeds),
            budgets=_budgets(budget, len(built.budgets[0])),
            single_runs=runs,
            estimator=estimator,
            paper_estimator=paper_estimator,
            paper_epochs=paper_epochs,
        )
    ]
    failed = _run(cells, out=out, jobs=jobs, folder=data, max_steps=max_steps)
    results.show(console(), list(tasks), path=out, reference=reference)
    if failed:
        raise typer.Exit(1)


def _tasks(name: str, folder: Path | None) -> dict[str, Any]:
    """The tasks to run; with "all" and no folder, those that need none."""
    from mlsbi.benching.names import TASKS, make_task

    if name == "all":
        names = [n for n, entry in TASKS.items() if folder or not entry.needs_data]
        if folder is None:
            typer.echo("Without --data FOLDER the CAMELS tasks are left out.", err=True)
    else:
        names = [name]
    with blamed_on("--data" if name in TASKS or name == "all" else "TASK"):
        return {n: make_task(n, folder=folder) for n in names}


def _check_names(strategies: Sequence[str], *estimators: str | None) -> None:
    """Refuse unknown strategies and estimators before anything runs."""
    from mlsbi.benching.names import make_strategy, parse_estimator

    with blamed_on("--strategy"):
        for name in strategies:
            make_strategy(name)
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
    cells: Sequence[Any],
    *,
    out: Path,
    jobs: int,
    folder: Path | None,
    max_steps: int | None,
) -> int:
    """Run what is not done yet, write each result at once, and return how many failed."""
    from mlsbi.benching import results
    from mlsbi.benching.cells import run_cells

    with blamed_on("--out"):
        finished = {row.cell for row in results.read(out)}
    left = [cell for cell in cells if cell not in finished]
    typer.echo(f"{len(left)} of {len(cells)} cells to run, into {out}", err=True)
    source, failed = results.commit(), 0
    outcomes = run_cells(left, jobs=jobs, folder=folder, max_steps=max_steps)
    for number, outcome in enumerate(outcomes, start=1):
        results.append(out, outcome, source=source)
        failed += bool(outcome.error)
        typer.echo(f"[{number}/{len(left)}] {results.line(outcome)}", err=True)
    return failed
