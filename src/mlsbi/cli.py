"""The command line: it parses arguments, calls `mlsbi.demo`, and prints.

`mlsbi bench` is in `cli_bench`, `mlsbi plan` in `cli_plan`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import typer

from mlsbi import cli_bench, cli_plan
from mlsbi._cli_parts import blamed_on, console

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


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for small networks: more gain nothing, and wait for each other on a busy machine.

    Only a command does this; the library leaves torch's settings alone.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """Run the whole job, small: simulate, fit, check, report. About a minute, no data needed."""
    from mlsbi.demo import camels_problem, ou_problem, run_demo

    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; name a folder.", param_hint="--out")
    with blamed_on("--data"):
        problem = ou_problem() if data is None else camels_problem(data)
    with _one_thread():
        run_demo(
            problem,
            out=out,
            seed=seed,
            console=console(),
            progress=sys.stderr.isatty(),
            max_steps=max_steps,
        )


app.command("bench")(cli_bench.bench)
app.command("plan")(cli_plan.plan)
