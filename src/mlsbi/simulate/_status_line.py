"""Progress of a campaign: bars on a terminal or in a notebook, plain lines in a log file."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Report", "campaign_progress"]

_FIRST, _EVERY = 10.0, 60.0  # seconds until the first line of a log, and between lines
_WINDOW = 60.0  # seconds that a rate looks back, further where fewer samples than this came:
_SAMPLES = 20

Clock = Callable[[], float]


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

    On a terminal and in a notebook there is a bar a level, which vanishes at the end. Elsewhere,
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
    stream = sys.stderr if stream is None else stream
    if not enabled or stream is None or stream.closed:
        yield _Silent()
        return
    tally = _Tally(counts, done, costs, clock)
    with (_bars if _shows_bars(stream) else _lines)(tally, stream) as report:
        yield report


class _Silent:
    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        """Nothing to do."""


class _Level:
    """Counts of one level; its rate comes from `(time, rows)` samples of this call."""

    def __init__(self, total: int, done: int, cost: float | None) -> None:
        self.total, self.through, self.cost = total, done, cost
        self.failed, self.seconds = 0, 0.0
        self.samples: deque[tuple[float, int]] = deque()

    def add(self, finished: int, failed: int, seconds: float, *, start: float, now: float) -> None:
        if not self.samples:
            self.samples.append((start, self.through))
        self.through += finished + failed
        self.failed += failed
        self.seconds += seconds
        if len(self.samples) > 1 and now - self.samples[-2][0] < _WINDOW / _SAMPLES:
            self.samples.pop()  # close to the one before: keeps the number of samples small
        self.samples.append((now, self.through))
        while len(self.samples) > _SAMPLES and now - self.samples[1][0] > _WINDOW:
            self.samples.popleft()

    def rate(self, now: float) -> float | None:
        """Rows a second of late; falls when rows stay away for much longer than before."""
        if len(self.samples) < 2:
            return None
        (first, before), (last, after) = self.samples[0], self.samples[-1]
        usual = (last - first) / (len(self.samples) - 1)
        end = last if now - last <= max(_FIRST, 3 * usual) else now
        return (after - before) / (end - first) if end > first else None


class _Tally:
    """What is known of all levels."""

    def __init__(
        self,
        counts: Sequence[int],
        done: Sequence[int],
        costs: Sequence[float | None],
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.start = self._last = clock()
        self.levels = [
            _Level(total, before, _pair_cost(costs, level))
            for level, (total, before) in enumerate(zip(counts, done, strict=True))
        ]

    def add(self, level: int, finished: int, failed: int, seconds: float) -> float:
        """Take rows in; returns the time. A level's first rows began when others ended, or so."""
        now = self.clock()
        self.levels[level].add(finished, failed, seconds, start=self._last, now=now)
        self._last = now
        return now

    def parts(self, level: int, now: float) -> tuple[str, str, str, str]:
        """Rate, remaining time, spend and failures; empty where there is nothing to say."""
        own = self.levels[level]
        rate, left = own.rate(now), own.total - own.through
        spend = f"{_span(own.seconds)} of run time" if own.seconds else ""
        if own.cost is not None:
            spend = f"cost {own.through * own.cost:.6g}"
        return (
            _rate(rate) if rate else "",
            f"{_span(left / rate)} left" if rate and left > 0 else "",
            spend,
            f"{own.failed} failed" if own.failed else "",
        )

    def line(self) -> str:
        now = self.clock()
        texts = []
        for level, own in enumerate(self.levels):
            details = ", ".join(part for part in self.parts(level, now) if part)
            text = f"level {level} {own.through}/{own.total}"
            texts.append(f"{text} ({details})" if details else text)
        return ", ".join(texts)


def _pair_cost(costs: Sequence[float | None], level: int) -> float | None:
    """Cost of a row: its own simulator's, and that of the level below."""
    known = [cost for cost in costs[max(level - 1, 0) : level + 1] if cost is not None]
    return sum(known) if len(known) == min(level, 1) + 1 else None


def _rate(rate: float) -> str:
    units = {"s": 1, "min": 60, "h": 3600}
    unit = next((name for name, length in units.items() if rate * length >= 0.1), "h")
    number = rate * units[unit]
    return f"{number:.1f} rows/{unit}" if number < 1000 else f"{number:.0f} rows/{unit}"


def _span(seconds: float) -> str:
    for unit, length, limit in (("s", 1, 120), ("min", 60, 3600), ("h", 3600, 172800)):
        if seconds < limit:
            number = seconds / length
            return f"{number:.0f} {unit}" if unit != "h" and number >= 1 else f"{number:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


class _Lines:
    """Writes lines when they are due; a stream that is gone does not stop the campaign."""

    def __init__(self, tally: _Tally, stream: TextIO) -> None:
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
def _lines(tally: _Tally, stream: TextIO) -> Iterator[Report]:
    lines = _Lines(tally, stream)
    how = "stopped"
    try:
        yield lines
        how = "finished"
    finally:
        lines.write(f"mlsbi: {how} after {_span(tally.clock() - tally.start)}: {tally.line()}")


class _Bars:
    def __init__(self, tally: _Tally) -> None:
        self._tally = tally

    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        self._tally.add(level, finished, failed, seconds)


@contextmanager
def _bars(tally: _Tally, stream: TextIO) -> Iterator[Report]:
    with _progress(tally, stream):
        yield _Bars(tally)


def _shows_bars(stream: TextIO) -> bool:
    """Whether there is a terminal, or a notebook that can show a bar; whatever FORCE_COLOR says."""
    from rich.console import Console

    console = Console(file=stream)
    if console.is_jupyter:
        return stream is sys.stderr and importlib.util.find_spec("ipywidgets") is not None
    return stream.isatty() and console.is_terminal and not console.is_dumb_terminal


def _progress(tally: _Tally, stream: TextIO) -> AbstractContextManager[Progress]:
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
