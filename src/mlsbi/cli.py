"""The command line: it puts the commands together, and has those that need no study.

`mlsbi.commands` has the commands that work on a study, `cli_bench` has `mlsbi bench`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mlsbi import cli_bench
from mlsbi._cli_parts import blamed_on, console
from mlsbi.commands._options import EPILOG, AsJson
from mlsbi.commands._session import few_threads
from mlsbi.commands.init import init
from mlsbi.commands.plan import plan
from mlsbi.commands.sample import sample
from mlsbi.commands.status import status
from mlsbi.commands.steps import check, fit, report, run, simulate
from mlsbi.commands.validate import validate

__all__ = ["app"]

app = typer.Typer(
    help="Multilevel simulation-based inference: posteriors of an expensive simulator from cheap "
    "runs.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

_MaxSteps = Annotated[
    Optional[int],  # noqa: UP045  typer reads it at run time
    typer.Option(min=1, hidden=True, help="Cut every training short, to try a command out."),
]
_Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Print the versions that results depend upon (with --json: too)."
    ),
]


@app.callback(invoke_without_command=True)
def main(*, version: _Version = False, as_json: AsJson = False) -> None:
    """Multilevel simulation-based inference."""
    if version:
        _print_versions(as_json=as_json)
        raise typer.Exit


def _print_versions(*, as_json: bool) -> None:
    from mlsbi._json import to_json
    from mlsbi._versions import versions

    found = versions()
    width = max(map(len, found))
    lines = [f"{name:<{width}}  {version}" for name, version in found.items()]
    typer.echo(to_json(found) if as_json else "\n".join(lines))


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


# In the order of a study's life, which is that of the help, too.
_START, _STEPS, _MORE = "Start", "A study, step by step", "More"
for _command, _panel in (
    (demo, _START),
    (init, _START),
    (validate, _STEPS),
    (plan, _STEPS),
    (simulate, _STEPS),
    (fit, _STEPS),
    (check, _STEPS),
    (report, _STEPS),
    (run, _STEPS),
    (status, _STEPS),
    (sample, _STEPS),
    (cli_bench.bench, _MORE),
):
    app.command(_command.__name__, epilog=EPILOG, rich_help_panel=_panel)(_command)
