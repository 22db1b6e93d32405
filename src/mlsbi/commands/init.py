"""`mlsbi init`: a study that works at once, to be changed into one's own."""

from __future__ import annotations

from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from mlsbi.commands._options import FAILED, WRONG

__all__ = ["Source", "init", "template"]

_END = ".txt"  # of a template's name, lest tools take it for code of the package
_ALONE = "#executor = 4                    # processes; or"
_CLUSTER = 'executor = "cluster:start"       # or a number of processes, or'


class Source(StrEnum):
    """Where runs come from."""

    PYTHON = "python"
    COMMAND = "command"
    ARRAYS = "arrays"
    DASK = "dask"


_WHAT = {
    Source.PYTHON: "two simulators in Python",
    Source.COMMAND: "a program",
    Source.ARRAYS: "runs that are on disk",
    Source.DASK: "two simulators in Python, run by a Dask cluster",
}
_CHANGE = {
    Source.PYTHON: "put your simulators into model.py, your prior and observation into study.toml",
    Source.COMMAND: "put your program in the place of simulator",
    Source.ARRAYS: "put your files in the place of those that save_runs.py makes",
    Source.DASK: "say in cluster.py where your cluster is",
}


def template(source: Source) -> dict[str, str]:
    """The files of a template: name -> text."""
    folder = resources.files("mlsbi.commands") / "templates"
    files = _texts(folder / source.value)
    if source is Source.DASK:  # the study of Python simulators, but for who runs them
        own = _texts(folder / Source.PYTHON.value)
        own["study.toml"] = own["study.toml"].replace(_ALONE, _CLUSTER)
        files = own | files
    return files


def _texts(folder: resources.abc.Traversable) -> dict[str, str]:
    return {
        entry.name.removesuffix(_END): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(_END)
    }


_Folder = Annotated[Path, typer.Argument(help="Where to write it; made if need be.")]
_From = Annotated[
    Source,
    typer.Option("--from", help="What the runs come from.", show_choices=True),
]
_Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]


def init(folder: _Folder = Path(), *, source: _From = Source.PYTHON, force: _Force = False) -> None:
    """Write a study with all that it needs: it works at once, and its comments explain all keys."""
    files = template(source)
    there = [folder / name for name in files if (folder / name).exists()]
    if there and not force:
        shown = ", ".join(map(str, there))
        typer.echo(f"Error: {shown} is there; name another folder, or say --force.", err=True)
        raise typer.Exit(WRONG)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            place = folder / name
            place.write_text(text, encoding="utf-8")
            if text.startswith("#!"):
                place.chmod(0o755)
    except OSError as error:
        typer.echo(f"Error: {folder} cannot be written to: {error}", err=True)
        raise typer.Exit(FAILED) from error
    typer.echo(f"A study of {_WHAT[source]}: {', '.join(str(folder / name) for name in files)}")
    lines = [] if folder == Path() else [f"cd {folder}"]
    lines += ["python save_runs.py"] if source is Source.ARRAYS else []
    lines += ["mlsbi validate study.toml", "mlsbi run study.toml"]
    typer.echo(f"Next: {' && '.join(lines)}\n      then {_CHANGE[source]}")
