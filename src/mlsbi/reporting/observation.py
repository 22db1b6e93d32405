"""Whether the observation is one that the simulators can produce."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from mlsbi._table import Table
from mlsbi.reporting.markup import Markup, Section, fixed, join, rich, table, tag
from mlsbi.reporting.pictures import figure
from mlsbi.reporting.subject import Subject
from mlsbi.reporting.words import sentence

__all__ = ["finding_item", "observation_section"]

_MANY = 12  # outputs of which there is no table


def observation_section(subject: Subject, found: Any) -> Section | None:
    """What was found of the observation; None without one.

    Args:
        subject: What the report is about.
        found: What `check_observation` returned; None if it was not asked.
    """
    if subject.x_o is None:
        return None
    if found is None:
        text = "Of many observations none is looked at by itself: see mlsbi.check_observation."
        return Section("observation", "The observation", tag("p", text))
    findings = list(found.findings)
    if findings:
        above = tag("a", "at the top of this page", href="#warnings")
        parts = [tag("p", "What is odd about it stands ", above, ".")]
    else:
        text = "Nothing speaks against it: it lies where the simulators' outputs lie."
        parts = [tag("p", text)]
    parts += [tag("p", sentence(text), class_="note") for text in found.basis]
    parts += [*_predictive(subject, found), *_outputs(subject, found.outputs)]
    return Section("observation", "The observation", join(parts))


def _outputs(subject: Subject, rows: Table) -> list[Markup]:
    """Each output of the observation among those of the runs, where they are few."""
    if not 0 < len(rows) <= _MANY:
        return []
    columns = rows.columns
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    if subject.outputs and len(subject.outputs) == len(rows):
        cells = [[name, *row[1:]] for name, row in zip(subject.outputs, cells, strict=True)]
    notes = list(rows.notes)
    return [table(columns, cells, caption=rows.title, words=rows.word_columns, notes=notes)]


def _cell(column: str, value: object) -> object:
    """Distances with two decimals; values as they are."""
    away = column in {"sd away", "given others"}
    return fixed(value) if away and isinstance(value, float) else value


def _predictive(subject: Subject, found: Any) -> list[Markup]:
    """The posterior predictive with the observation in it, if there is one."""
    made = found.predictive
    if made is None:
        return []
    names = subject.outputs if subject.outputs and len(subject.outputs) == len(made.place) else None

    def draw() -> Figure:
        from mlsbi.plots import predictive_plot

        return predictive_plot(made, outputs=names)

    caption = (
        f"Posterior predictive check against {made.source}: bands of 50 % and 90 % for each "
        "output, and the observation as points."
    )
    inside = int(((made.place > 0.05) & (made.place < 0.95)).sum())
    alt = (
        f"Posterior predictive bands of {len(made.place)} outputs; the observation lies inside the "
        f"90 % band of {inside} of them."
    )
    few = (
        ""
        if made.enough
        else (f" Only {made.effective:.2g} runs stand near the posterior, too few to judge by.")
    )
    return [figure(draw, name="predictive-plot", alt=alt, caption=caption + few)]


def finding_item(finding: Any) -> Markup:
    """A warning or a note, as an item of a list."""
    kind = "Warning" if finding.severity == "warning" else "Note"
    return tag(
        "li",
        tag("strong", kind, class_="kind"),
        tag("p", rich(sentence(finding.text))),
        tag("p", rich(sentence(finding.remedy)), class_="remedy") if finding.remedy else None,
        class_=finding.severity,
    )
