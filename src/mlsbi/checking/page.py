"""A check as a page of text that reads well on a terminal, warnings first."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from mlsbi._span import span
from mlsbi._table import Cell, Table
from mlsbi.checking.bands import Band
from mlsbi.checking.finding import Finding, sorted_findings
from mlsbi.metrics import Coverage

if TYPE_CHECKING:
    from mlsbi.checking.result import Check
    from mlsbi.checking.two_level import TwoLevel

__all__ = ["page"]

_WIDTH = 96
_NAME = 16  # characters of a line's name


def page(check: Check) -> str:
    """The page."""
    blocks = [_title(check), _findings(check), _verdicts(check), _lines(check)]
    return "\n\n".join(block for block in blocks if block)


def _title(check: Check) -> str:
    runs = f"{check.n} runs of level {check.level}"
    how = f"{runs} that it has not seen"
    if check.folds is not None:
        how = f"{runs}, each judged by a fit without it ({check.folds} folds)"
    title = f"Check of the {check.kind} fit by {check.strategy}"
    head = f"{title}: {check.verdict.state.value}"
    if check.state is not check.verdict.state:
        head = f"{title}: {check.state.value}"
    return "\n".join([head, "=" * len(head), f"{how}; took {span(check.seconds)}"])


def _findings(check: Check) -> str:
    """Warnings, then notes, the observation's among them."""
    own = [] if check.observation is None else list(check.observation.findings)
    found = sorted_findings([*own, *check.findings])
    return "\n".join(_finding(finding) for finding in found)


def _finding(finding: Finding) -> str:
    mark = "WARNING" if finding.severity == "warning" else "Note"
    text = _wrapped(f"{mark} ({finding.code}): {finding.text}", indent="  ")
    if not finding.remedy:
        return text
    return text + "\n" + _wrapped(f"-> {finding.remedy}", first="  ", indent="     ")


def _wrapped(text: str, *, first: str = "", indent: str = "") -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdicts(check: Check) -> str:
    rows: list[dict[str, Cell]] = [
        {
            "parameter": verdict.name,
            "verdict": verdict.state.value,
            "width factor": _band(verdict.scale),
            "shift in sd": _band(verdict.shift),
            "p": f"{verdict.p_value:.1g}",
            "more runs": "" if verdict.more is None else f"{verdict.more:,}",
        }
        for verdict in check.verdicts
    ]
    legend = (
        "Width factor: what the posterior's width should be multiplied by; above 1 it is too "
        "narrow. Shift: where its centre should move. In brackets: "
        f"{check.verdict.scale.level:.0%} intervals."
    )
    said = [v for i, v in enumerate(check.verdicts) if i == 0 or v.state.alarm]
    lines = [_wrapped(f"{v.name}: {v.text}", indent="  ") for v in said]
    return "\n\n".join([str(Table("", tuple(rows), (_wrapped(legend),))), "\n".join(lines)])


def _band(band: Band) -> str:
    if math.isnan(band.value):
        return "-"
    return f"{band.value:.2f} ({band.low:.2f} to {band.high:.2f})"


def _lines(check: Check) -> str:
    score, curve = check.nlpd, check.coverage
    lines = [
        (
            "NLPD",
            f"{_band(check.nlpd_band)} nats a run; median {score.median:.2f}, "
            f"90 % quantile {score.q90:.2f}",
        )
    ]
    if check.log_likelihood is not None:
        own = check.log_likelihood
        lines.append(
            (
                "-log q(x|theta)",
                f"{own.mean:.2f} +- {own.standard_error:.2f} nats a run; median {own.median:.2f}",
            )
        )
    lines.append(("Coverage", _curve(curve, check.n)))
    if check.two_level is not None:
        lines.append(("", _two_level(check.two_level)))
    if check.predictive_coverage is not None:
        lines.append(
            ("Coverage of x", f"given theta: {_curve(check.predictive_coverage, check.n)}")
        )
    if check.comparison is not None:
        lines.append(("Comparison", check.comparison.text))
    if check.observation is not None:
        odd = "see above" if check.observation.findings else "like what the simulators produce"
        lines.append(("x_o", " ".join([f"{odd}.", *check.observation.basis])))
    if check.local is not None:
        name = "" if check.observation is not None else "x_o"
        text = f"local two-sample test of the posterior there: p = {check.local.p_value:.2g}"
        lines.append((name, text))
    tests = ", ".join(f"{row['of']} {row['ranks']} {row['p']:.2g}" for row in check.tests)
    lines.append(("p of ranks", tests))
    return "\n".join(
        _wrapped(text, first=name.ljust(_NAME), indent=" " * _NAME) for name, text in lines
    )


def _curve(curve: Coverage, n: int) -> str:
    """How far a coverage curve is off."""
    chance = (12 * n) ** -0.5  # standard error of the mean of n uniform ranks
    often = "often" if curve.bias > 0 else "seldom"
    return (
        f"regions hold the truth {abs(curve.bias):.1%} too {often} on average (+- {chance:.1%} by "
        f"chance); mean absolute deviation {curve.error:.3f}"
    )


def _two_level(found: TwoLevel) -> str:
    """Whether level L-1 helps, and what the curve is then."""
    if not found.used:
        return f"level L-1's help: {found.reason}"
    curve = found.coverage
    return (
        f"with level L-1's help {curve.bias:+.1%} on average, mean absolute deviation "
        f"{curve.error:.3f}: {found.reason}"
    )
