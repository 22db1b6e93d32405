"""Options that commands share, and exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = [
    "EPILOG",
    "FAILED",
    "FAULT",
    "STOPPED",
    "WRONG",
    "Again",
    "AsJson",
    "Jobs",
    "Output",
    "Quiet",
    "StudyFile",
]

FAILED, WRONG, FAULT, STOPPED = 1, 2, 3, 130  # exit codes; 0 is success
EPILOG = (
    "Exit codes: 0 done; 1 a run or a step failed; 2 the study or an option is wrong; 3 done, but "
    "a fault was found; 130 stopped by Ctrl-C, and the same command goes on."
)


def _studies(incomplete: str) -> Iterator[str]:
    """Files that a shell may offer: TOML, and folders on the way to it."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else ".")).expanduser()
    if not place.is_dir():
        return
    for entry in sorted(place.iterdir()):
        if entry.name.startswith(start) and not entry.name.startswith("."):
            shown = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir():
                yield f"{shown}/"
            elif entry.suffix == ".toml":
                yield shown


def _folder(value: Path | None) -> Path | None:
    if value is not None and value.exists() and not value.is_dir():
        raise typer.BadParameter(f"{value} is a file; name a folder.")
    return value


StudyFile = Annotated[
    Path,
    typer.Argument(help="The study's file, TOML.", metavar="[STUDY]", autocompletion=_studies),
]
Output = Annotated[
    Optional[Path],  # noqa: UP045  typer reads it at run time
    typer.Option(
        "--output",
        "--out",
        help="Output folder; by default the file's. What is in it counts.",
        callback=_folder,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; all else goes to stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Jobs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--jobs", "-j", min=1, help="Processes that run simulators; by default the file's executor."
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Do this step anew, though its result is there.")
]
