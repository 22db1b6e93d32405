"""`mlsbi plan STUDY`: run the pilot, and say what to run next.

It parses options, calls `Study`, and prints what `_study_advice` makes of the pilot. Exit codes:
0 done; 1 a simulator failed, or the pilot could not go on; 2 the study or an option is wrong; 3
done, and the doctor found a fault that should be mended before anything is spent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer

if TYPE_CHECKING:
    from mlsbi._study_advice import Advice, Wishes
    from mlsbi.study import Study

__all__ = ["FAILED", "FAULT", "WRONG", "plan"]

FAILED, WRONG, FAULT = 1, 2, 3  # exit codes; 0 is success

_Study = Annotated[Path, typer.Argument(help="The study's file, TOML.", metavar="STUDY")]
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
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
_Out = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Output folder; by default the file's. A pilot that is in it goes on."),
]


def plan(
    study: _Study,
    *,
    n: _Runs = None,
    budget: _Budget = None,
    error: _Error = None,
    deadline: _Deadline = None,
    cores: _Cores = None,
    as_json: _Json = False,
    out: _Out = None,
) -> None:
    """Run a small pilot, judge the levels, and plan how many runs of each to make.

    Nothing but the pilot is run; it is kept in the output folder, and a second call runs nothing.

    Exit codes: 0 done, 1 a simulator failed, 2 the study or an option is wrong, 3 a fault found.
    """
    from mlsbi._study_advice import Wishes

    for option, value in (("--budget", budget), ("--error", error), ("--deadline", deadline)):
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{value} is no positive number.", param_hint=option)
    if budget is not None and error is not None:
        raise typer.BadParameter("give --budget or --error, not both.", param_hint="--error")
    if out is not None and out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; name a folder.", param_hint="--out")
    wishes = Wishes(n=n, budget=budget, error=error, deadline=deadline, cores=cores)
    with _only_the_document() if as_json else nullcontext():
        loaded = _load(study, out)
        advice = _advise(loaded, wishes)
    wrong = advice.problem is not None and not advice.faults
    if not as_json:
        typer.echo(str(advice))
    elif not wrong:
        typer.echo(advice.to_json())
    if wrong:
        typer.echo(f"Error: {advice.problem}", err=True)
        raise typer.Exit(WRONG)
    advice.write()
    typer.echo(f"\nWritten: {advice.path}", err=True)
    raise typer.Exit(FAULT if advice.faults else 0)


def _load(path: Path, out: Path | None) -> Study:
    from mlsbi.study import Study

    try:
        return Study.load(path, output=out)
    except ValueError as error:
        _end(error, WRONG)


def _advise(study: Study, wishes: Wishes) -> Advice:
    from mlsbi._study_advice import advise

    try:
        return advise(study, wishes, progress=sys.stderr.isatty())
    except (TypeError, ValueError) as error:
        _end(error, WRONG)
    except RuntimeError as error:
        _end(error, FAILED)


def _end(error: Exception, code: int) -> NoReturn:
    """Say an error of the library, which is written for users, without a traceback."""
    typer.echo(f"Error: {error}", err=True)
    raise typer.Exit(code) from error


@contextmanager
def _only_the_document() -> Iterator[None]:
    """What simulators print meanwhile, in this process or in workers, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
