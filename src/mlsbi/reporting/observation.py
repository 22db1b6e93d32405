"""Whether the observation is one that the simulators can produce."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from mlsbi.reporting.markup import Markup, Section, code_block, join, tag
from mlsbi.reporting.pictures import figure
from mlsbi.reporting.subject import Subject

__all__ = ["finding_item", "observation_section"]


def observation_section(subject: Subject, found: Any) -> Section | None:
    """What was found of the observation; None without one.

    Args:
        subject: What the report is about.
        found: What `check_observation` returned; None if it was not asked.
    """
    if subject.x_o is None:
        return None
    if found is None:
        body: Markup = tag(
            "div",
            tag("p", "The observation was not looked at. To have it looked at:"),
            code_block("mlsbi.check_observation(fit, x_o, data=data)"),
            class_="missing",
        )
        return Section("observation", "The observation", body)
    findings = list(found.findings)
    if findings:
        parts = [tag("ul", *[finding_item(f) for f in findings], class_="findings")]
    else:
        text = "Nothing speaks against it: it lies where the simulators' outputs lie."
        parts = [tag("p", text)]
    return Section("observation", "The observation", join([*parts, *_predictive(subject, found)]))


def _predictive(subject: Subject, found: Any) -> list[Markup]:
    """The posterior predictive with the observation in it, if there is one."""
    made = getattr(found, "predictive", None)
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
        tag("p", finding.text),
        tag("p", finding.remedy, class_="remedy") if finding.remedy else None,
        class_=finding.severity,
    )
