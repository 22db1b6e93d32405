"""The study in words, and the runs of each level."""

from __future__ import annotations

import torch
from torch import Tensor

from mlsbi._facts import row_sums
from mlsbi.data import MultilevelData
from mlsbi.reporting.markup import (
    Markup,
    Section,
    code_block,
    join,
    number,
    rich,
    table,
    tag,
    trimmed,
)
from mlsbi.reporting.subject import Subject
from mlsbi.reporting.words import duration, study_in_words

__all__ = ["study_section"]

_MANY = 12  # outputs of which the ranges still make a table


def study_section(subject: Subject, description: str | None) -> Section:
    """What was asked, and what it was learned from."""
    own = [tag("p", rich(part)) for part in (description or "").split("\n\n") if part.strip()]
    parts: list[object] = [*own, *study_in_words(subject)]
    if subject.data is None:
        parts.append(_missing())
    else:
        parts += [_levels_table(subject, subject.data), *_ranges(subject, subject.data)]
    return Section("study", "The study", join(parts))


def _missing() -> Markup:
    return tag(
        "div",
        tag("p", "What runs there were, level by level, is not shown: the report was made without "
            "the data. To have it:"),
        code_block('mlsbi.report(fit, "report.html", data=data, ...)'),
        class_="missing",
    )  # fmt: skip


def _levels_table(subject: Subject, data: MultilevelData) -> Markup:
    heads = ["level", *(["what it is"] if subject.levels else []), "runs"]
    costs, seconds = data.costs, data.seconds
    spent = None if costs is None else row_sums(costs)
    total = data.cost
    heads += ["cost of a run", "share of the cost"] if costs is not None else []
    heads += ["time of a run"] if seconds is not None and any(seconds) else []
    heads += ["left out", "numbers in x"]
    rows: list[list[object]] = []
    for level, n in enumerate(data.n):
        row: list[object] = [str(level), *([subject.levels[level]] if subject.levels else [])]
        row.append(f"{number(n)} pair{'' if n == 1 else 's'}" if level else number(n))
        if costs is not None and spent is not None and total is not None:
            row += [trimmed(costs[level]), f"{n * spent[level] / total:.0%}"]
        if seconds is not None and any(seconds):
            took = seconds[level]
            row.append("–" if took is None else duration(took))
        row += [data.dropped[level], " × ".join(map(str, data.event_shape(level)))]
        rows.append(row)
    notes = []
    if data.num_levels > 1:
        notes.append("A pair is one run of its level and one of the level below; its cost is both.")
    words = (0, 1) if subject.levels else (0,)
    return table(heads, rows, caption="Runs of each level", words=words, notes=notes)


def _ranges(subject: Subject, data: MultilevelData) -> list[Markup]:
    """Smallest and largest value of each parameter and output, level by level."""
    levels = range(data.num_levels)
    low, high = data.prior.low.tolist(), data.prior.high.tolist()
    thetas = [_ends(data.theta(level)) for level in levels]
    of_levels = [f"level {level}" for level in levels]
    rows = [
        [name, _interval(low[i], high[i]), *[_interval(*ends[i]) for ends in thetas]]
        for i, name in enumerate(subject.labels)
    ]
    heads = ["parameter", "support of the prior", *of_levels]
    caption = "Where the parameters of the runs lie: smallest to largest"
    found = [table(heads, rows, caption=caption)]
    caption = "Where the outputs of the runs lie: smallest to largest"
    found.append(table(["output", *of_levels], _outputs(subject, data), caption=caption))
    return found


def _outputs(subject: Subject, data: MultilevelData) -> list[list[object]]:
    ends = [_ends(data.x(level)) for level in range(data.num_levels)]
    sizes = {len(e) for e in ends}
    if len(sizes) > 1 or max(sizes) > _MANY:
        whole = [(min(e[0] for e in own), max(e[1] for e in own)) for own in ends]
        return [["all", *[_interval(*pair) for pair in whole]]]
    names = subject.outputs or tuple(f"x[{i}]" for i in range(max(sizes)))
    return [[name, *[_interval(*own[i]) for own in ends]] for i, name in enumerate(names)]


def _ends(rows: Tensor) -> list[tuple[float, float]]:
    flat = rows.reshape(len(rows), -1).double()
    low, high = torch.aminmax(flat, dim=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _interval(low: float, high: float) -> str:
    return f"{trimmed(low)} to {trimmed(high)}"
