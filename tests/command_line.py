"""The command line, called from tests."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from mlsbi.cli import app


def run(*arguments, env=None):
    """Exit code, and all output with the panel's frame and folds taken out."""
    result = CliRunner().invoke(
        app, list(map(str, arguments)), env={"MLSBI_DATA": "", **(env or {})}
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, re.sub(r"[\s│╭╮╰╯─]+", " ", result.output)
