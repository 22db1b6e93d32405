"""`watch`: show what a command does, in one panel on a terminal, else in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlsbi._progress import watched
from mlsbi.live.state import Activity
from mlsbi.simulate._tally import Clock

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["draw", "watch"]

_FRAMES = 5  # a second


@contextmanager
def watch(
    title: str, steps: Sequence[str], *, quiet: bool = False, clock: Clock = time.monotonic
) -> Iterator[Activity]:
    """Show on standard error what is done within the block.

    Args:
        title: Of the command and the study.
        steps: Names of the steps, in turn.
        quiet: Show nothing.
        clock: Tells the time in seconds.

    Yields:
        The activity: its `step(name)` wraps each step.
    """
    from mlsbi.live.log import Log

    if quiet:
        activity = Activity(title, steps, clock=clock)
        with watched(activity):
            yield activity
    elif _is_terminal():
        activity = Activity(title, steps, clock=clock)
        with _drawn(activity), watched(activity):
            yield activity
    else:
        log = Log(title, steps, stream=sys.stderr, clock=clock)
        with watched(log):
            yield log


def _is_terminal() -> bool:
    """Whether standard error is a terminal that can be drawn on, whatever FORCE_COLOR says."""
    from rich.console import Console

    try:
        own = os.isatty(2) and sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # no file, or closed
        return False
    return own and not Console(stderr=True).is_dumb_terminal


@contextmanager
def _drawn(activity: Activity) -> Iterator[None]:
    from rich.text import Text

    from mlsbi.live.output import captured, own_terminal

    with own_terminal() as terminal:
        console = _console_on(terminal.fileno(), terminal)

        def show(line: str) -> None:
            console.print(Text.from_ansi(line))  # above the panel

        with draw(activity, console), captured(show):
            yield


@contextmanager
def draw(activity: Activity, console: Console) -> Iterator[None]:
    """Draw an activity on a console while the block lasts; the last picture stays."""
    from rich.live import Live

    from mlsbi.live.panel import LivePanel

    panel = LivePanel(activity)
    with Live(
        panel,
        console=console,
        refresh_per_second=_FRAMES,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def _console_on(number: int, stream: object) -> Console:
    """A console that asks this terminal for its size: the standard streams lead elsewhere now."""
    from rich.console import Console, ConsoleDimensions

    class Own(Console):
        @property
        def size(self) -> ConsoleDimensions:
            if "COLUMNS" in os.environ:
                return super().size
            try:
                found = os.get_terminal_size(number)
            except (OSError, ValueError):
                return super().size
            return ConsoleDimensions(found.columns or 80, found.lines or 25)

        @size.setter
        def size(self, new_size: tuple[int, int]) -> None:
            self._width, self._height = new_size

    return Own(file=stream)  # type: ignore[arg-type]
