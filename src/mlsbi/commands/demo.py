"""`mlsbi demo`: the whole job on a small example."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mlsbi.commands._parts import blamed_on, console
from mlsbi.commands._session import few_threads

__all__ = ["demo"]

_MaxSteps = Annotated[
    Optional[int],  # noqa: UP045  typer reads it at run time
    typer.Option(min=1, hidden=True, help="Cut every training short, to try a command out."),
]


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
    """Run the whole job, small: simulate, fit, check, report. About a minute, no data needed."""
    from mlsbi.demo import camels_problem, ou_problem, run_demo

    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; name a folder.", param_hint="--out")
    with blamed_on("--data"):
        problem = ou_problem() if data is None else camels_problem(data)
    with few_threads():
        run_demo(
            problem,
            out=out,
            seed=seed,
            console=console(),
            progress=sys.stderr.isatty(),
            max_steps=max_steps,
        )
