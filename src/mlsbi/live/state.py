"""What a command is doing: its steps, its campaign, its trainings.

An `Activity` watches (`mlsbi._progress.watched`): it keeps what bars and campaigns report. A panel
draws it (`panel`) or a log tells it (`log`); `view` chooses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlsbi._progress import Update
from mlsbi.simulate._status_line import Report
from mlsbi.simulate._tally import Clock, Tally

__all__ = ["Activity", "Step", "Work"]


@dataclass
class Step:
    """A step of the command.

    Attributes:
        name: Such as "simulate".
        state: "to do", "now", "done", "kept" (from an earlier call), "failed" or "stopped".
        began: When it began.
        seconds: How long it took; None while it has not ended.
    """

    name: str
    state: str = "to do"
    began: float = 0.0
    seconds: float | None = None


@dataclass
class Work:
    """What a bar reports.

    Attributes:
        title: What is being done.
        total: Its parts; of a training the most steps that it may take.
        began: When it began.
        step: The step that it is a part of; empty where there is none.
        done: Parts that are done.
        text: What to show beside it.
        values: The figures that came with the reports, in turn.
        seconds: How long it took; None while it has not ended.
    """

    title: str
    total: int
    began: float
    step: str = ""
    done: int = 0
    text: str = ""
    values: list[float] = field(default_factory=list)
    seconds: float | None = None


class Activity:
    """Takes what is reported. A subclass may tell of it at once, in the methods named `on_...`.

    Attributes:
        title: Of the command and the study.
        steps: In turn.
        tallies: Campaigns of the last step that had any; their levels count on, as those of a
            pilot, which has a campaign a level.
        works: Bars.
        notes: What was said in this step.
        budget: What may be spent, in the unit of costs; None where nothing says so.
        clock: Tells the time in seconds.
        began: When it began.
    """

    def __init__(self, title: str, steps: Sequence[str], *, clock: Clock = time.monotonic) -> None:
        self.title, self.clock, self.began = title, clock, clock()
        self.steps = [Step(name) for name in steps]
        self.tallies: list[Tally] = []
        self.works: list[Work] = []
        self.notes: list[str] = []
        self.budget: float | None = None
        self._simulated: Step | None = None

    @property
    def now(self) -> Step | None:
        """The step that is being done."""
        return next((step for step in self.steps if step.state == "now"), None)

    @property
    def simulating(self) -> bool:
        """Whether the campaigns are those of the step that is being done."""
        return self._simulated is not None and self._simulated is self.now

    @contextmanager
    def step(self, name: str, *, kept: bool = False) -> Iterator[None]:
        """Do a step within the block; `kept`: it was done before, and is read."""
        step = self._step(name)
        step.state, step.began = "now", self.clock()
        self.notes = []
        self.on_step(step)
        state = "stopped"
        try:
            yield
            state = "kept" if kept else "done"
        except Exception:
            state = "failed"
            raise
        finally:
            step.state, step.seconds = state, self.clock() - step.began
            self.on_step(step)

    def _step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    @contextmanager
    def campaign(
        self, counts: Sequence[int], done: Sequence[int], costs: Sequence[float | None]
    ) -> Iterator[Report]:
        """Show a campaign while the block lasts."""
        tally = Tally(counts, done, costs, self.clock)
        step = self.now  # only the pilot of a plan has several campaigns; others read it first
        if self._simulated is not step or step is None or step.name != "plan":
            self._simulated, self.tallies = step, []
        self.tallies.append(tally)
        yield _Reported(self, tally)
        self.on_campaign(tally, ended=True)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Update]:
        """Show work while the block lasts."""
        work = Work(title, total, self.clock(), "" if self.now is None else self.now.name)
        self.works.append(work)

        def update(done: int, text: str, value: float | None = None) -> None:
            work.done, work.text = done, text
            if value is not None:
                work.values.append(value)
            self.on_work(work)

        try:
            yield update
        finally:
            work.seconds = self.clock() - work.began
            self.on_work(work)

    def note(self, text: str) -> None:
        """Show a line."""
        self.notes.append(text)
        self.on_note(text)

    def on_step(self, step: Step) -> None:
        """A step began, or ended."""

    def on_campaign(self, tally: Tally, *, ended: bool) -> None:
        """Rows arrived, or a campaign ended."""

    def on_work(self, work: Work) -> None:
        """Work went on, or ended."""

    def on_note(self, text: str) -> None:
        """Something was said."""


class _Reported:
    """Where a campaign reports to."""

    def __init__(self, activity: Activity, tally: Tally) -> None:
        self._activity, self._tally = activity, tally

    def update(self, level: int, finished: int, failed: int, seconds: float) -> None:
        self._tally.add(level, finished, failed, seconds)
        self._activity.on_campaign(self._tally, ended=False)
