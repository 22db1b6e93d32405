"""The command line: it parses arguments, calls `mlsbi.demo` or `mlsbi.bench`, and prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

__all__ = ["app"]

app = typer.Typer(
    help="Multilevel simulation-based inference: posteriors of an expensive simulator from cheap "
    "runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_MaxSteps = Annotated[
    Optional[int],  # noqa: UP045  typer reads it at run time
    typer.Option(min=1, hidden=True, help="Cut every training short, to try a command out."),
]


def _console() -> Console:
    """A console that does not fold tables to 80 columns where output goes to a file."""
    return Console() if sys.stdout.isatty() else Console(width=120)


@contextmanager
def _blamed_on(option: str) -> Iterator[None]:
    """Turn the library's ValueError into a message that names an option, with exit code 2."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _version(value: bool) -> None:  # noqa: FBT001  typer's signature
    if value:
        from mlsbi import __version__

        typer.echo(f"mlsbi {__version__}")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Multilevel simulation-based inference."""
    del version


@app.command()
def demo(
    *,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the CAMELS spectra: run on them instead."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for plots and the fit.")] = Path("mlsbi-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything.")] = 0,
    max_steps: _MaxSteps = None,
) -> None:
    """Run the whole job, small: simulate, fit, check, plot. About a minute, no data needed."""
    from mlsbi.demo import camels_problem, ou_problem, run_demo

    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; name a folder.", param_hint="--out")
    with _blamed_on("--data"):
        problem = ou_problem() if data is None else camels_problem(data)
    run_demo(
        problem,
        out=out,
        seed=seed,
        console=_console(),
        progress=sys.stderr.isatty(),
        max_steps=max_steps,
    )


@app.command()
def bench(
    task: Annotated[
        str,
        typer.Argument(
            help="g-and-k-nle, g-and-k-npe, ou, toggle, camels-sigma8, camels-2, or all.",
            metavar="TASK",
        ),
    ],
    *,
    strategy: Annotated[
        list[str],
        typer.Option(
            help="Repeatable: single, multilevel, paper, transfer, default; multilevel-rescale, "
            "paper-none, multilevel-level, paper@2000, ... for variants."
        ),
    ] = ["single", "multilevel", "paper", "transfer"],  # noqa: B006  typer copies it
    budget: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Repeatable: runs of each level, such as 1000,50; by default official."),
    ] = None,
    single_runs: Annotated[
        str,
        typer.Option(help="Numbers of high-level runs to train single on besides: 100,300,800."),
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; they share the cores.")] = 1,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(envvar="MLSBI_DATA", help="Folder of the CAMELS spectra."),
    ] = None,
    estimator: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="NAME, or NAME:MEMBERS such as nsf:1; by default the library's."),
    ] = None,
    paper_estimator: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="For the paper strategies; by default that of the others."),
    ] = None,
    paper_epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="For the paper strategies; by default the paper's, by task."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Results; cells that are in it are not run again.")
    ] = Path("results.csv"),
    reference: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Figures to show beside; by default benchmarks/reference.json."),
    ] = None,
    max_steps: _MaxSteps = None,
) -> None:
    """Run the paper's tasks: budgets x strategies x seeds, with a table beside others' figures."""
    from mlsbi import bench_results as results
    from mlsbi._bench_names import TASKS, make_strategy, parse_estimator, parse_runs
    from mlsbi.bench import plan

    tasks = _tasks(task, data)
    with _blamed_on("--strategy"):
        for name in strategy:
            make_strategy(name)
    for option, value in (("--estimator", estimator), ("--paper-estimator", paper_estimator)):
        with _blamed_on(option):
            parse_estimator(value or "mdn")
    with _blamed_on("--single-runs"):
        runs = parse_runs(single_runs)
    cells = []
    for name, built in tasks.items():
        cells += plan(
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
    with _blamed_on("--out"):
        done = results.read(out)
    failed = _run(cells, done, out=out, jobs=jobs, folder=data, max_steps=max_steps)
    figures = results.read_reference(reference)
    console, rows = _console(), results.read(out)
    for name in (n for n in TASKS if n in tasks):
        console.print(results.table(name, rows, figures.get(name, ())))
    console.print(f"Rows: {out}")
    if failed:
        raise typer.Exit(1)


def _tasks(name: str, folder: Path | None) -> dict[str, Any]:
    """The tasks to run; with "all" and no folder, those that need none."""
    from mlsbi._bench_names import TASKS, make_task

    if name == "all":
        names = [n for n, entry in TASKS.items() if folder or not entry.needs_data]
        if folder is None:
            typer.echo("Without --data FOLDER the CAMELS tasks are left out.", err=True)
    else:
        names = [name]
    with _blamed_on("--data" if name in TASKS or name == "all" else "TASK"):
        return {n: make_task(n, folder=folder) for n in names}


def _budgets(texts: list[str] | None, levels: int) -> list[tuple[int, ...]] | None:
    from mlsbi._bench_names import parse_budget

    if not texts:
        return None
    with _blamed_on("--budget"):
        return [parse_budget(text, levels=levels) for text in texts]


def _run(
    cells: Sequence[Any],
    done: Sequence[Any],
    *,
    out: Path,
    jobs: int,
    folder: Path | None,
    max_steps: int | None,
) -> int:
    """Run what is not done yet, write each result at once, and return how many failed."""
    from mlsbi import bench_results as results
    from mlsbi.bench import run_cells

    finished = {row.cell for row in done}
    left = [cell for cell in cells if cell not in finished]
    typer.echo(f"{len(left)} of {len(cells)} cells to run, into {out}", err=True)
    source, failed = results.commit(), 0
    outcomes = run_cells(left, jobs=jobs, folder=folder, max_steps=max_steps)
    for number, outcome in enumerate(outcomes, start=1):
        results.append(out, outcome, source=source)
        failed += bool(outcome.error)
        typer.echo(f"[{number}/{len(left)}] {results.line(outcome)}", err=True)
    return failed
