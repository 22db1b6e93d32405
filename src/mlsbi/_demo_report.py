"""What the demo prints and draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from torch import Tensor

from mlsbi._compare import Match
from mlsbi.checking.result import Check
from mlsbi.data import MultilevelData
from mlsbi.metrics import Coverage
from mlsbi.plots import coverage_plot, pairplot
from mlsbi.reporting.markup import plain

__all__ = ["Line", "checked", "comparison", "levels_table", "next_steps", "save_plots", "saving"]


@dataclass(frozen=True)
class Line:
    """One row of the comparison.

    Attributes:
        name: Of the fit.
        n: Runs of each of its levels.
        nlpd: Negative log density of held-out high-level runs, nats.
        coverage: Mean absolute coverage error; None where there is none.
        cost: Of the runs, in units of the levels' costs; None if not known.
    """

    name: str
    n: tuple[int, ...]
    nlpd: float
    coverage: float | None = None
    cost: float | None = None


def levels_table(descriptions: Sequence[str], data: MultilevelData) -> Table:
    """The levels, their costs and runs."""
    table = Table(box=None, pad_edge=False)
    table.add_column("level", justify="right")
    table.add_column("")
    table.add_column("cost a run", justify="right")
    table.add_column("runs", justify="right")
    for level, text in enumerate(descriptions):
        cost = "" if data.costs is None else f"{data.costs[level]:g}"
        runs = f"{data.n[level]} pairs with level {level - 1}" if level else str(data.n[level])
        table.add_row(str(level), text, cost, runs)
    return table


def comparison(
    lines: Sequence[Line],
    curve: Mapping[int, float],
    *,
    tests: int,
    costs: Sequence[float] | None,
) -> Table:
    """Fits side by side, then high-level runs alone in growing numbers."""
    title = f"On {tests} held-out high-level runs; NLPD: nats, lower is better"
    table = Table(title=title, title_justify="left")
    table.add_column("fit")
    for heading in ("runs", "cost", "NLPD", "coverage error"):
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(
            line.name,
            " + ".join(map(str, line.n)),
            "" if line.cost is None else f"{line.cost:g}",
            f"{line.nlpd:.2f}",
            "" if line.coverage is None else f"{line.coverage:.3f}",
        )
    table.add_section()
    for n, loss in list(curve.items())[1:]:
        cost = "" if costs is None else f"{n * costs[-1]:g}"
        table.add_row("high level alone", str(n), cost, f"{loss:.2f}", "", style="dim")
    return table


def saving(match: Match, data: MultilevelData) -> str:
    """How much the low level saved, in words; no saving is said as plainly."""
    n = data.n[-1]
    if match.relation == "at most" or match.runs <= n:
        return f"No saving here: the same {n} high-level runs alone do as well."
    more = "more than " if match.relation == "more than" else ""
    text = (
        f"As good as [bold]{match} high-level runs alone[/bold]: saves a factor "
        f"{more}{match.runs / n:.1f} in high-level runs"
    )
    if data.costs is None or data.cost is None:
        return f"{text}. (The data do not say what a run costs.)"
    alone = match.runs * data.costs[-1]
    spent = f"{data.cost:.0f} against {more}{alone:.0f}"
    if alone > data.cost:
        return f"{text}, and {more}{alone / data.cost:.1f} in cost ({spent})."
    if more:
        return f"{text}; in cost it is open whether it saves ({spent})."
    return f"{text}, but nothing in cost ({spent}): for that, level 0 has to be cheaper."


def checked(found: Check) -> str:
    """The verdicts of a check, a line each."""
    lines = [f"Checked on {found.n} held-out runs:"]
    lines += [f"  {plain(verdict.name)}: {verdict.text}" for verdict in found.verdicts]
    return "\n".join(lines)


def save_plots(
    out: Path,
    *,
    draws: Mapping[str, Tensor],
    truth: Tensor,
    labels: Sequence[str],
    coverages: Mapping[str, Coverage],
) -> dict[str, Path]:
    """Write the posterior at one observation and the coverage curves; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    files = {"posterior": out / "posterior.png", "coverage": out / "coverage.png"}
    pairplot(draws, labels=labels, truth=truth).savefig(files["posterior"], dpi=150)
    coverage_plot(coverages).savefig(files["coverage"], dpi=150)
    return files


def next_steps(files: Mapping[str, Path], bench: str) -> str:
    """Where things are, and what to do now."""
    notes = {
        "posterior": "at one held-out observation; truth marked",
        "coverage": "how often credible regions hold the truth",
        "fit": f'mlsbi.load_fit("{files["fit"]}")',
        "report": "all of it on a page: open it in a browser",
    }
    width = max(len(str(path)) for path in files.values())
    lines = [f"  {str(path):<{width}}  {notes[name]}" for name, path in files.items()]
    lines += [
        "",
        "This was one seed, and figures vary; over several seeds, beside other strategies:",
        f"  {bench}",
        "For your own simulators: mlsbi init, which writes a study that works at once.",
    ]
    return "\n".join(["", *lines])
