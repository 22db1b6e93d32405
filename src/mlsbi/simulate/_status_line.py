"""Progress of a campaign: bars on a terminal or in a notebook, plain lines in a log file."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from mlsbi._progress import watching
from mlsbi._span import span
from mlsbi.simulate._tally import Clock, Tally

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Report", "campaign_progress"]

_FIRST, _EVERY = 10.0, 60.0  # seconds until the first line of a log, and between lines


class Report(Protocol):
    """Takes what happened."""

    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        """Add rows.

        Args:
            level: Their level.
            finished: How many of them have outputs.
            failed: How many have none.
            seconds: Time that their simulators took.
        """
        ...


@contextmanager
def campaign_progress(
    counts: Sequence[int],
    done: Sequence[int],
    costs: Sequence[float | None],
    *,
    enabled: bool,
    stream: TextIO | None = None,
    clock: Clock = time.monotonic,
) -> Iterator[Report]:
    """Show how far a campaign is.

    A view that watches (`mlsbi._progress.watched`) shows it in its own way. Else, on a terminal and
    in a notebook there is a bar a level, which vanishes at the end. Elsewhere,
    lines without control characters are written: after 10 seconds, then each minute, and at the
    end.

    Args:
        counts: Rows of each level.
        done: Rows that were there before; rates do not count them.
        costs: Cost of one run of each level, None where not known: then the time that simulators
            took is shown in place of the spend.
        enabled: Whether to show anything.
        stream: Where to write, standard error by default.
        clock: Tells the time in seconds.

    Yields:
        Where to report rows to.
    """
    view = watching()
    if enabled and view is not None:
        with view.campaign(counts, done, costs) as report:
            yield report
        return
    stream = sys.stderr if stream is None else stream
    if not enabled or stream is None or stream.closed:
        yield _Silent()
        return
    tally = Tally(counts, done, costs, clock)
    with (_bars if _shows_bars(stream) else _lines)(tally, stream) as report:
        yield report


class _Silent:
    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        """Nothing to do."""


class _Lines:
    """Writes lines when they are due; a stream that is gone does not stop the campaign."""

    def __init__(self, tally: Tally, stream: TextIO) -> None:
        self._tally, self._stream = tally, stream
        self._due = tally.start + _FIRST

    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        now = self._tally.add(level, finished, failed, seconds)
        if now >= self._due:
            self._due = now + _EVERY
            self.write(f"mlsbi: {self._tally.line()}")

    def write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._due = float("inf")


@contextmanager
def _lines(tally: Tally, stream: TextIO) -> Iterator[Report]:
    lines = _Lines(tally, stream)
    how = "stopped"
    try:
        yield lines
        how = "finished"
    finally:
        lines.write(f"mlsbi: {how} after {span(tally.clock() - tally.start)}: {tally.line()}")


class _Bars:
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        self._tally.add(level, finished, failed, seconds)


@contextmanager
def _bars(tally: Tally, stream: TextIO) -> Iterator[Report]:
    with _progress(tally, stream):
        yield _Bars(tally)


def _shows_bars(stream: TextIO) -> bool:
    """Whether there is a terminal, or a notebook that can show a bar; whatever FORCE_COLOR says."""
    from rich.console import Console

    console = Console(file=stream)
    if console.is_jupyter:
        return stream is sys.stderr and importlib.util.find_spec("ipywidgets") is not None
    return stream.isatty() and console.is_terminal and not console.is_dumb_terminal


def _progress(tally: Tally, stream: TextIO) -> AbstractContextManager[Progress]:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    class Live(Progress):
        """Asks the tally whenever it draws, so that reporting costs nothing."""

        def get_renderables(self) -> Iterator[RenderableType]:
            now = tally.clock()
            for level, own in enumerate(tally.levels[: len(self.task_ids)]):
                text = "  ".join(part for part in tally.parts(level, now) if part)
                self.update(TaskID(level), completed=own.through, text=text)
            yield self.make_tasks_table(self.tasks)

    # Prints of simulators go above the bars, but not from a file that stdout is sent to.
    live = Live(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=stream is sys.stderr and sys.stdout.isatty(),
        redirect_stderr=stream is sys.stderr,
    )
    for level, own in enumerate(tally.levels):
        live.add_task(f"level {level}", total=own.total, completed=own.through, text="")
    return live
