"""What commands share: the console, and errors that name the option."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

__all__ = ["blamed_on", "console"]


def console() -> Console:
    """A console that does not fold tables to 80 columns where output goes to a file."""
    return Console() if sys.stdout.isatty() else Console(width=120)


@contextmanager
def blamed_on(option: str) -> Iterator[None]:
    """Turn the library's ValueError into a message that names an option, with exit code 2."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
