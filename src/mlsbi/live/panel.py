"""What a command does, as one panel: steps, levels, trainings, checks."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mlsbi._span import span
from mlsbi.live.state import Activity, Step, Work
from mlsbi.live.words import part, sparkline, steps_done
from mlsbi.simulate._tally import LevelCounts, rate_text

__all__ = ["LivePanel"]

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_SPINNER = "-\\|/"
_MARKS = {"done": "✔", "kept": "✔", "to do": "·", "failed": "✘", "stopped": "✘"}
_PLAIN_MARKS = {"done": "+", "kept": "+", "to do": ".", "failed": "x", "stopped": "x"}
_STYLES = {"done": "green", "kept": "green", "to do": "dim", "failed": "red", "stopped": "yellow"}
_SPARE = 3  # columns to the right, where a terminal shows ^C without folding a line
_GAP = "   "  # between steps
_SHOWN = 5  # works; older ones are left out, so that the panel fits a small terminal
_WIDE, _WIDER = 70, 92  # columns from which bars, and then rates, are shown
_TIME = 9  # columns for a time and a space before it
_TWINKLE = 8.0  # frames a second


class LivePanel:
    """Asks the activity whenever it is drawn, so that reporting costs nothing."""

    def __init__(self, activity: Activity) -> None:
        """Draw what this activity does."""
        self._activity = activity

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """The panel, as wide as the terminal and at most 100 columns."""
        own, width = self._activity, min(options.max_width - _SPARE, 100)
        now = own.clock()
        draw = _Drawing(own, now, width - 4, blocks=not options.ascii_only)
        yield Panel(
            Group(*draw.parts()),
            title=Text(own.title, style="bold"),
            title_align="left",
            subtitle=Text(span(now - own.began), style="dim"),
            subtitle_align="right",
            width=width,
            border_style="dim",
        )


class _Drawing:
    """One picture of an activity."""

    def __init__(self, activity: Activity, now: float, width: int, *, blocks: bool) -> None:
        self._own, self._now, self._width, self._blocks = activity, now, width, blocks

    def parts(self) -> Iterator[RenderableType]:
        """From top to bottom."""
        yield from self._steps()
        own = self._own
        if any(tally.levels for tally in own.tallies):
            yield Text()
            yield self._levels([level for tally in own.tallies for level in tally.levels])
            yield from self._spend()
        if own.works:
            yield Text()
            shown = own.works[-_SHOWN:]
            trainings = [work for work in shown if work.title.startswith("training")]
            others = [work for work in shown if work not in trainings]
            yield from (self._table(works) for works in (trainings, others) if works)
        if own.notes and own.now is not None:
            yield Text(own.notes[-1], style="dim")

    def _steps(self) -> Iterator[Text]:
        """All steps, in as many lines as they take; a step does not fold."""
        line = Text()
        for step in map(self._step, self._own.steps):
            if line and line.cell_len + len(_GAP) + step.cell_len > self._width:
                yield line
                line = Text()
            line = Text.assemble(line, _GAP, step) if line else step
        yield line

    def _step(self, step: Step) -> Text:
        if step.state == "now":
            frames = _SPINNER if self._blocks else _PLAIN_SPINNER
            frame = frames[int(self._now * _TWINKLE) % len(frames)]
            took = span(self._now - step.began)
            return Text.assemble((f"{frame} {step.name}", "bold cyan"), (f" {took}", "dim"))
        mark = (_MARKS if self._blocks else _PLAIN_MARKS)[step.state]
        style = _STYLES[step.state]
        told = {"kept": " kept", "stopped": " stopped", "failed": " failed"}.get(step.state)
        took = told or (f" {span(step.seconds)}" if step.seconds is not None else "")
        name = Text.assemble((f"{mark} ", style), (step.name, "dim" if style == "dim" else ""))
        return name.append(took, style="dim")

    def _levels(self, levels: list[LevelCounts]) -> Table:
        bars, rates = self._width >= _WIDE - 4, self._width >= _WIDER - 4
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("level", justify="right")
        table.add_column("rows", justify="right")
        if bars:
            table.add_column("")
        table.add_column("failed", justify="right")
        if rates:
            table.add_column("rate", justify="right")
        costs = all(level.cost is not None for level in levels)
        table.add_column("spent" if costs else "run time", justify="right")
        table.add_column("left", justify="right")
        for number, level in enumerate(levels):
            going = self._own.simulating and level.through < level.total
            rate = level.rate(self._now) if going else None
            left = "" if not rate else span((level.total - level.through) / rate)
            bar = ProgressBar(level.total, level.through, width=min(24, self._width - 46))
            failed = Text(str(level.failed), style="yellow") if level.failed else Text("")
            spent = f"{level.through * level.cost:,.6g}" if level.cost else ""
            table.add_row(
                str(number),
                f"{level.through:,}/{level.total:,}",
                *([bar] if bars else []),
                failed,
                *([rate_text(rate) if rate else ""] if rates else []),
                spent if costs else (span(level.seconds) if level.seconds else ""),
                left,
            )
        return table

    def _spend(self) -> Iterator[Text]:
        """What was spent, of what is planned and of the budget."""
        levels = [level for tally in self._own.tallies for level in tally.levels]
        known = [(level.cost, level) for level in levels if level.cost is not None]
        if len(known) < len(levels):
            return
        spent = sum(cost * level.through for cost, level in known)
        whole = sum(cost * level.total for cost, level in known)
        text = f"spent {spent:,.6g} of {whole:,.6g}"
        budget = self._own.budget
        if budget:
            text += f" ({spent / budget:.0%} of the budget of {budget:,.6g})"
        yield Text(text, style="dim")

    def _table(self, shown: list[Work]) -> Table:
        """A line each; what room is left over goes to the courses, and names give way first."""
        names = [part(work) for work in shown]
        figures = [(steps_done(work), work.text) for work in shown]
        room = self._width - sum(max(map(len, cells)) + 2 for cells in zip(*figures, strict=True))
        room -= _TIME
        if max(map(len, names)) + 2 > room:
            names = [name.removeprefix("training: ") for name in names]
        longest = max(min(max(map(len, names)), room - 2), 8)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, max_width=longest)
        for _ in range(3):
            table.add_column(no_wrap=True)
        for name, work in zip(names, shown, strict=True):
            table.add_row(*self._work(name, work, room - longest - 2))
        return table

    def _work(self, title: str, work: Work, room: int) -> tuple[RenderableType, ...]:
        over = work.seconds is not None
        took = span(work.seconds if work.seconds is not None else self._now - work.began)
        name = Text(title, style="dim" if over else "")
        if work.title.startswith("training"):
            held = Text(work.text, style="dim" if over else "")
            course = sparkline(work.values, min(room, 24), blocks=self._blocks)
            last = Text.assemble((f"{course} " if course else "", "cyan"), took)
            return name, Text(steps_done(work)), held, last
        bar = ProgressBar(max(work.total, 1), work.done, width=max(min(room, 24), 6))
        left = ""
        if 0 < work.done < work.total and not over:
            left = f"{span((self._now - work.began) / work.done * (work.total - work.done))} left"
        return name, Text(steps_done(work)), bar, Text(left or took)
