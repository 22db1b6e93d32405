"""The top of the page: a verdict in a word, key figures, and all warnings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlsbi.checking.finding import sorted_findings
from mlsbi.checking.verdict import State
from mlsbi.reporting.markup import Markup, Section, fixed, join, number, rich, tag
from mlsbi.reporting.observation import finding_item
from mlsbi.reporting.subject import Subject
from mlsbi.reporting.trust import band, evidence
from mlsbi.reporting.words import listed

__all__ = ["summary_section", "warnings_section"]

# The worse first: what a reader has to know when verdicts differ.
_ORDER = (State.OVER, State.BIASED, State.UNDER, State.UNDECIDED, State.CALIBRATED)
_MARKS = {
    State.OVER: "▲",
    State.UNDER: "▼",
    State.BIASED: "◆",
    State.UNDECIDED: "?",
    State.CALIBRATED: "✓",
}


class _Headline(NamedTuple):
    mark: str
    kind: str
    title: Markup
    text: Markup


def summary_section(subject: Subject, findings: Sequence[Any]) -> Section:
    """The verdict and the figures that matter most."""
    said = _headline(subject, findings)
    head = tag(
        "p", tag("span", said.mark, class_="mark", aria_hidden="true"), " ", said.title,
        class_="verdict",
    )  # fmt: skip
    card = tag("div", head, tag("p", said.text), _figures(subject), class_=f"card {said.kind}")
    return Section("summary", "Summary", card)


def warnings_section(findings: Sequence[Any]) -> Section | None:
    """Every warning and note; None where there is none."""
    if not findings:
        return None
    title = "Warnings" if any(f.severity == "warning" for f in findings) else "Notes"
    items = tag("ul", *map(finding_item, sorted_findings(findings)), class_="findings")
    return Section("warnings", title, items)


def _headline(subject: Subject, findings: Sequence[Any]) -> _Headline:
    fit, check = subject.fit, subject.check
    if not fit.status.ok:
        text = rich("The training gave up; what follows should not be used as it is.")
        return _Headline("▲", "alarm", rich("Verdict: the training failed"), text)
    if check is None or not check.verdicts:
        said = "Whether the widths of this fit can be believed has not been looked at."
        text = rich(said + _warned(findings))
        return _Headline("○", "unknown", rich("Verdict: not checked"), text)
    return _of_check(check, findings)


def _of_check(check: Any, findings: Sequence[Any]) -> _Headline:
    worst = min((v.state for v in check.verdicts), key=_ORDER.index)
    of = [v for v in check.verdicts if v.state is worst]
    names = [("all parameters together" if v.name == "joint" else v.name) for v in of]
    everyone = len(of) == len(check.verdicts)
    title = ["Verdict: ", worst.value, *([] if everyone else [" in ", listed(names)])]
    told = of[-1] if len(check.labels) == 1 else max(of, key=lambda v: v.more or 0)
    text = [rich(_sentence(told))]
    warned = _warned(findings)
    text.append(rich(warned))
    kinds = {State.CALIBRATED: "fine", State.UNDECIDED: "unknown"}
    if warned and worst is State.CALIBRATED:
        return _Headline("!", "alarm", join(title), join(text))
    return _Headline(_MARKS[worst], kinds.get(worst, "alarm"), join(title), join(text))


def _warned(findings: Sequence[Any]) -> str:
    warnings = sum(f.severity == "warning" for f in findings)
    if not warnings:
        return ""
    count = "is a warning" if warnings == 1 else f"are {warnings} warnings"
    return f" There {count} below."


def _sentence(verdict: Any) -> str:
    who = "All parameters together" if verdict.name == "joint" else str(verdict.name)
    if verdict.state is not State.UNDECIDED:
        return f"{who}: {evidence(verdict).rstrip('.')}."
    more = "" if verdict.more is None else f"; about {number(verdict.more)} more runs would tell"
    return f"{who}: width factor {band(verdict.scale)}, shift {band(verdict.shift)} sd{more}."


def _figures(subject: Subject) -> Markup:
    """Key figures, each with a name and a gloss."""
    pairs = [_runs(subject), *_checked(subject.check)]
    boxes = [
        tag("div", tag("dt", name), tag("dd", tag("span", value, class_="big"), " ",
            tag("span", gloss, class_="gloss")))
        for name, value, gloss in pairs
    ]  # fmt: skip
    return tag("dl", *boxes, class_="figures")


def _runs(subject: Subject) -> tuple[str, str, str]:
    fit = subject.fit
    runs = " + ".join(number(n) for n in fit.n)
    cost = "" if fit.cost is None else f"cost {number(fit.cost)}"
    return ("Runs, coarse to fine", runs, cost)


def _checked(check: Any) -> list[tuple[str, str, str]]:
    if check is None:
        return []
    score, ends = check.nlpd, check.nlpd_band
    runs = len(check.scores.log_prob)
    found = [
        ("Judged on", number(runs), "runs that were not seen"),
        ("NLPD", fixed(score.mean), f"nats ({fixed(ends.low)} to {fixed(ends.high)})"),
        ("Coverage error", fixed(check.coverage.error), "0 is calibrated"),
    ]
    if check.comparison is not None:
        gain = check.comparison.gain
        gloss = f"nats a run ({fixed(gain.low)} to {fixed(gain.high)})"
        name = re.split(r" \(| on ", check.comparison.name)[0]  # without where it was fitted
        found.append((f"Gain over {name}", fixed(gain.value), gloss))
    return found
