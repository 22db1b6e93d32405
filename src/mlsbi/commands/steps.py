"""`mlsbi simulate`, `fit`, `check`, `report` and `run`: the steps of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mlsbi._json import to_json
from mlsbi.commands._options import FAILED, Again, AsJson, Jobs, Output, Quiet, StudyFile
from mlsbi.commands._session import opened
from mlsbi.commands._steps import Done, do
from mlsbi.commands._words import (
    about_check,
    about_fit,
    about_runs,
    check_code,
    ending,
    here,
    runs_line,
)

if TYPE_CHECKING:
    from mlsbi.study import Study

__all__ = ["check", "fit", "report", "run", "simulate"]

_FILE = Path("study.toml")


def simulate(
    study: StudyFile = _FILE,
    *,
    output: Output = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the runs that the plan wants, or read those on disk. A second call makes none.

    Ctrl-C, kill or a lost machine cost only what was under way: the same command goes on.
    """
    with opened(study, output=output, as_json=as_json, jobs=jobs) as loaded:
        done = do(loaded, "simulate", quiet=quiet)
    data = done.results["simulate"]
    if as_json:
        _document(loaded, done, about_runs(data) | {"path": str(done.path("simulate"))})
    else:
        typer.echo(runs_line(data))
        typer.echo(
            ending(
                [done.path("simulate")],
                [f"mlsbi fit {study}", *_python(study, output, "data = study.simulate()")],
            )
        )


def fit(
    study: StudyFile = _FILE,
    *,
    output: Output = None,
    jobs: Jobs = None,
    again: Again = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn the posterior, or the likelihood, from the runs; what comes before is done first."""
    with opened(study, output=output, as_json=as_json, jobs=jobs) as loaded:
        done = do(loaded, "fit", again=again, quiet=quiet)
    made = done.results["fit"]
    if as_json:
        _document(loaded, done, about_fit(made, loaded))
    else:
        typer.echo(runs_line(done.results["simulate"]))
        typer.echo(f"Fit: {loaded.kind} by {type(made.strategy).__name__}; {made.status.value}")
        place = done.path("fit")
        typer.echo(
            ending(
                [place],
                [f"mlsbi check {study}", f'in Python: fit = mlsbi.load_fit("{here(place)}")'],
            )
        )
    raise typer.Exit(0 if made.status.ok else FAILED)


def check(
    study: StudyFile = _FILE,
    *,
    output: Output = None,
    jobs: Jobs = None,
    again: Again = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check whether the fit can be believed, on runs that it has not seen.

    Ends with 3 where it is over-confident or biased.
    """
    with opened(study, output=output, as_json=as_json, jobs=jobs) as loaded:
        done = do(loaded, "check", again=again, quiet=quiet)
    found = done.results["check"]
    code = check_code(found)
    if as_json:
        _document(loaded, done, about_check(found, loaded))
    else:
        typer.echo(str(found))
        mend = ["do what the warnings above say, then this command again"] if code else []
        typer.echo("\n" + ending([done.path("check")], [*mend, f"mlsbi report {study}"]))
    raise typer.Exit(code)


def report(
    study: StudyFile = _FILE,
    *,
    output: Output = None,
    jobs: Jobs = None,
    again: Again = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the report, one HTML file; what comes before is done first."""
    with opened(study, output=output, as_json=as_json, jobs=jobs) as loaded:
        done = do(loaded, "report", again=again, quiet=quiet)
    if as_json:
        _document(loaded, done, {"path": str(done.path("report"))})
    else:
        typer.echo(ending([done.path("report")], _after_report(study, loaded)))


def run(
    study: StudyFile = _FILE,
    *,
    output: Output = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do all of it: plan, simulate, fit, check, report. Each step goes on from what is there.

    Ends with 3 where the check finds the fit over-confident or biased.
    """
    from mlsbi.study import StudyResult

    with opened(study, output=output, as_json=as_json, jobs=jobs) as loaded:
        done = do(loaded, "report", quiet=quiet)
    own = done.results
    result = StudyResult(own.get("plan"), own["simulate"], own["fit"], own["check"], own["report"])
    code = check_code(result.check)
    if as_json:
        _document(
            loaded,
            done,
            {
                "plan": None if result.plan is None else result.plan.to_dict(),
                "runs": about_runs(result.data),
                "fit": about_fit(result.fit, loaded),
                "check": about_check(result.check, loaded),
                "report": str(result.report),
            },
        )
    else:
        typer.echo(str(result))
        mend = [f"mlsbi check {study}   says what is wrong, and what to do"] if code else []
        typer.echo(ending([], [*mend, *_after_report(study, loaded)]))
    raise typer.Exit(code)


def _after_report(path: Path, study: Study) -> list[str]:
    """What one may do when all is done."""
    lines = [f"open {here(study.output / 'report.html')} in a browser"]
    if study.file.observation is None:
        return [*lines, "write what was seen into [observation], then this command again"]
    return [*lines, f"mlsbi sample {path} -n 10000 --out samples.csv"]


def _python(path: Path, output: Path | None, call: str) -> list[str]:
    folder = "" if output is None else f', output="{output}"'
    return [f'in Python: study = mlsbi.Study.load("{path}"{folder}); {call}']


def _document(study: Study, done: Done, record: dict[str, Any]) -> None:
    """Print one JSON document: which study, how far it is, and what came of the command."""
    head = {
        "study": study.name,
        "file": str(study.path),
        "output": str(study.output),
        "kept": list(done.kept),
        "steps": [step.to_dict() for step in done.steps],
    }
    typer.echo(to_json(head | record))
