"""What a command does, as lines with the time of day: for files, pipes and plain terminals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TextIO

from mlsbi._span import span
from mlsbi.live.state import Activity, Step, Work
from mlsbi.live.words import part, steps_done
from mlsbi.simulate._tally import Clock, Tally

__all__ = ["Log"]

_FIRST, _EVERY = 10.0, 60.0  # seconds until the first line of something, and between lines


class Log(Activity):
    """Writes a line when a step begins and when it ends, and now and then between.

    A command of one step is itself that step: no line says that it begins, nor that it ended well
    at once. A stream that is gone does not stop the work.
    """

    def __init__(
        self,
        title: str,
        steps: Sequence[str],
        *,
        stream: TextIO,
        clock: Clock = time.monotonic,
        day: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:
        super().__init__(title, steps, clock=clock)
        self._stream, self._day = stream, day
        self._due = self.began + _FIRST

    def on_step(self, step: Step) -> None:
        """A line at the beginning and at the end."""
        self._due = self.clock() + _FIRST
        alone = len(self.steps) == 1
        if alone and (step.state == "now" or (step.state == "done" and not self._long(step))):
            return
        if step.state == "now":
            self._write(f"{step.name}: begins")
        elif step.state == "kept":
            self._write(f"{step.name}: kept, as it was done before")
        else:
            self._write(f"{step.name}: {step.state} after {span(step.seconds or 0.0)}")

    def on_campaign(self, tally: Tally, *, ended: bool) -> None:
        """A line when one is due, and at the end of a campaign that took its time."""
        if self._is_due() or (ended and self.clock() - tally.start > _FIRST):
            self._tell(tally.line(self._first_level(tally)))

    def on_work(self, work: Work) -> None:
        """A line when one is due, and at the end of each training."""
        training = work.title.startswith("training")
        if not self._is_due() and not (training and work.seconds is not None):
            return
        seconds = work.seconds if work.seconds is not None else self.clock() - work.began
        parts = [part(work), steps_done(work), work.text, span(seconds)]
        self._tell(" ".join([f"{parts[0]}:", ", ".join(p for p in parts[1:] if p)]))

    def on_note(self, text: str) -> None:
        """The line."""
        self._write(text)

    def _long(self, step: Step) -> bool:
        return step.seconds is not None and step.seconds > _FIRST

    def _first_level(self, tally: Tally) -> int:
        """The number of a campaign's first level: a pilot has a campaign a level."""
        before = self.tallies[: self.tallies.index(tally)]
        return sum(len(other.levels) for other in before)

    def _is_due(self) -> bool:
        return self.clock() >= self._due

    def _tell(self, text: str) -> None:
        self._due = self.clock() + _EVERY
        step = self.now
        self._write(text if step is None else f"{step.name}: {text}")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(f"{self._day()} {text}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._due = float("inf")
