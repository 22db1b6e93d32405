"""The command line: it puts the commands of `mlsbi.commands` together."""

from __future__ import annotations

from typing import Annotated

import typer

from mlsbi.commands._options import EPILOG, AsJson
from mlsbi.commands.bench import bench
from mlsbi.commands.demo import demo
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
    (bench, _MORE),
):
    app.command(_command.__name__, epilog=EPILOG, rich_help_panel=_panel)(_command)
