"""`mlsbi validate`: try a study out before anything is spent."""

from __future__ import annotations

from pathlib import Path

import typer

from mlsbi._json import to_json
from mlsbi.commands._options import WRONG, AsJson, Quiet, StudyFile
from mlsbi.commands._session import opened
from mlsbi.commands._words import ending
from mlsbi.live.view import watch

__all__ = ["validate"]


def validate(
    study: StudyFile = Path("study.toml"), *, as_json: AsJson = False, quiet: Quiet = False
) -> None:
    """Run each level a few times, and look at all that the file names. Nothing is written.

    Ends with 2 where something must be mended; the document of --json then says what.
    """
    with (
        opened(study, output=None, as_json=as_json) as loaded,
        watch(f"mlsbi validate: {loaded.name}", ["validate"], quiet=quiet) as view,
        view.step("validate"),
    ):
        found = loaded.validate(progress=True)
    if as_json:
        typer.echo(to_json({"study": loaded.name, "file": str(loaded.path)} | found.to_dict()))
    else:
        typer.echo(str(found))
        planned = loaded.file.source == "simulators" and loaded.file.simulate.n is None
        following = [f"mlsbi {'plan' if planned else 'run'} {study}"]
        if not found.ok:
            following = ["mend what is called a problem, then this command again"]
        typer.echo("\n" + ending([], following))
    raise typer.Exit(0 if found.ok else WRONG)
