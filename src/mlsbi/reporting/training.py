"""How the training went: what each level brought, and the curves of the losses."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from mlsbi.history import History
from mlsbi.reporting.markup import Markup, Section, join, number, table, tag
from mlsbi.reporting.pictures import figure
from mlsbi.reporting.subject import Subject
from mlsbi.results import Fit

__all__ = ["training_section"]

_HEADS = {
    "level": "level",
    "n": "runs",
    "loss": "loss",
    "diff": "difference to the coarse run",
    "diff_var": "its variance",
    "corr": "correlation",
    "var_share": "share of the variance",
    "cost_share": "share of the cost",
    "check": "sum check",
}
_PERCENT = {"var_share", "cost_share"}


def training_section(subject: Subject) -> Section | None:
    """The multilevel table and the curves; None where the fit has neither."""
    parts = [*_multilevel(subject), *_curves(subject.fit)]
    return Section("training", "The training", join(parts)) if parts else None


def _multilevel(subject: Subject) -> list[Markup]:
    losses = subject.fit.multilevel
    if losses is None:
        text = "This fit has no multilevel table: it was saved by a version that made none."
        return [tag("p", text, class_="note")]
    made = losses.table()
    columns = [c for c in _HEADS if any(v is not None for v in made.column(c))]
    rows = [[_cell(c, row.get(c)) for c in columns] for row in made]
    lead = (
        "The trained density's loss at the runs of each level, taken apart as multilevel Monte "
        "Carlo does: level 0's, and what each level adds over the coarse run of the same pair."
    )
    caption = "Multilevel table of the fit"
    notes = [f"Loss: −log q, in {losses.unit}.", *[_sentence(n) for n in made.notes if _told(n)]]
    table_ = table([_HEADS[c] for c in columns], rows, caption=caption, notes=notes)
    return [tag("p", lead), table_]


def _told(note: str) -> bool:
    """Whether a note of the table is of what is shown here."""
    return not note.startswith(("loss: ", "cosine: "))


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:].replace("+-", "±").replace(" -", " −") + "."


def _cell(column: str, value: object) -> object:
    if column in _PERCENT and isinstance(value, float) and math.isfinite(value):
        return f"{value:.0%}" if value >= 0.005 or value == 0 else "< 1%"
    return str(value) if column == "level" else value


def _curves(fit: Fit) -> list[Markup]:
    history = fit.history
    if not any(name.endswith("_loss") for name in history.columns):
        return []

    def draw() -> Figure:
        from mlsbi.plots import history_plot

        return history_plot(fit)

    caption = (
        "Losses of the training: on the runs that it learned from, and on those held out. The "
        "weights with the lowest held-out loss are kept; what runs away after that is cut off. "
        "Thin lines mark where a stage begins."
    )
    return [figure(draw, name="history-plot", alt=_alt(history), caption=caption)]


def _alt(history: History) -> str:
    said = []
    for name in history.columns:
        values = [v for v in history[name] if math.isfinite(v)]
        if name.endswith("_loss") and values:
            words = name.removesuffix("_loss").replace("_", " ")
            said.append(
                f"the {words} loss goes from {number(values[0])} to {number(values[-1])} nats, "
                f"{number(min(values))} at its lowest"
            )
    return f"Training curves over {len(history)} evaluations: " + "; ".join(said) + "."
