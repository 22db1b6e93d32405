"""`mlsbi plan`: run the pilot, and say what to run next.

It parses options, calls `Study`, and prints what `studies/advice.py` makes of the pilot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mlsbi.commands._options import FAULT, WRONG, AsJson, Jobs, Output, Quiet, StudyFile
from mlsbi.commands._session import opened
from mlsbi.commands._words import ending
from mlsbi.live.view import watch

if TYPE_CHECKING:
    from mlsbi.studies.advice import Advice

__all__ = ["plan"]

_Runs = Annotated[
    Optional[int],  # noqa: UP045  typer reads it at run time
    typer.Option("--n", min=8, help="Runs of every level in the pilot; by default the file's."),
]
_Budget = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="What may be spent, in the unit of cost; by default the file's."),
]
_Error = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Reach this error at the least cost, in place of a budget."),
]
_Deadline = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Seconds that the runs may take, on --cores workers."),
]
_Cores = Annotated[Optional[int], typer.Option(min=1, help="Workers.")]  # noqa: UP045


def plan(
    study: StudyFile = Path("study.toml"),
    *,
    n: _Runs = None,
    budget: _Budget = None,
    error: _Error = None,
    deadline: _Deadline = None,
    cores: _Cores = None,
    output: Output = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a small pilot, judge the levels, and plan how many runs of each to make.

    Nothing but the pilot is run; it is kept in the output folder, and a second call runs nothing.
    Ends with 3 where the doctor finds a fault that should be mended before anything is spent.
    """
    from mlsbi.studies.advice import Wishes, advise

    for option, value in (("--budget", budget), ("--error", error), ("--deadline", deadline)):
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{value} is no positive number.", param_hint=option)
    if budget is not None and error is not None:
        raise typer.BadParameter("give --budget or --error, not both.", param_hint="--error")
    wishes = Wishes(n=n, budget=budget, error=error, deadline=deadline, cores=cores)
    with (
        opened(study, output=output, as_json=as_json, jobs=jobs) as loaded,
        watch(f"mlsbi plan: {loaded.name}", ["plan"], quiet=quiet) as view,
        view.step("plan"),
    ):
        advice = advise(loaded, wishes, progress=True)
    _tell(advice, study, as_json=as_json, given=wishes != Wishes())


def _tell(advice: Advice, path: Path, *, as_json: bool, given: bool) -> None:
    """Print the advice, keep it, and leave with its exit code."""
    wrong = advice.problem is not None and not advice.faults
    if not as_json:
        typer.echo(str(advice))
    elif not wrong:
        typer.echo(advice.to_json())
    if wrong:
        typer.echo(f"Error: {advice.problem}", err=True)
        raise typer.Exit(WRONG)
    advice.write()
    following = []
    if advice.plan is not None and not advice.faults:
        where = "; it goes by the file: write there what you gave here" if given else ""
        following = [f"mlsbi run {path}{where}"]
    typer.echo("\n" + ending([advice.path], following), err=True)
    raise typer.Exit(FAULT if advice.faults else 0)
