"""`mlsbi status`: how far a study is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from mlsbi._json import to_json
from mlsbi._span import span
from mlsbi._table import Table
from mlsbi.commands._options import AsJson, Output, StudyFile
from mlsbi.commands._session import opened
from mlsbi.commands._words import ending, here

__all__ = ["status"]


def status(
    study: StudyFile = Path("study.toml"), *, output: Output = None, as_json: AsJson = False
) -> None:
    """Say which steps are done, which are stale as something changed, and which are to do.

    Nothing is run or written.
    """
    with opened(study, output=output, as_json=as_json) as loaded:
        steps = loaded.steps()
    left = [step.name for step in steps if step.state in {"stale", "to do"}]
    following = f"mlsbi run {study}" if left else f"mlsbi sample {study} -n 10000 --out samples.csv"
    if as_json:
        record: dict[str, Any] = {
            "study": loaded.name,
            "file": str(loaded.path),
            "output": str(loaded.output),
        }
        record |= {"steps": [step.to_dict() for step in steps], "next": following}
        typer.echo(to_json(record))
        return
    rows = [
        {
            "step": step.name,
            "state": step.state,
            "took": "" if step.seconds is None else span(step.seconds),
            "": step.why or here(step.path),
        }
        for step in steps
    ]
    typer.echo(str(Table(f"{loaded.name}: {here(loaded.path)}", tuple(rows))))
    also = [f"or one step at a time: mlsbi {left[0]} {study}"] if left and len(left) > 1 else []
    typer.echo("\n" + ending([], [following, *(line.replace("pilot", "plan") for line in also)]))
