"""Whether the observation is one that the simulators can produce."""

from __future__ import annotations

from typing import Any

from mlsbi.reporting.markup import Markup, Section, code_block, join, tag
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
    if not findings:
        text = "Nothing speaks against it: it lies where the simulators' outputs lie."
        return Section("observation", "The observation", tag("p", text))
    items = tag("ul", *[finding_item(f) for f in findings], class_="findings")
    return Section("observation", "The observation", join([items]))


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
