"""A check as a page of text that reads well on a terminal, warnings first."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from mlsbi._table import Cell, Table
from mlsbi.checking.bands import Band
from mlsbi.checking.crossfitting import duration
from mlsbi.checking.finding import Finding

if TYPE_CHECKING:
    from mlsbi.checking.result import Check

__all__ = ["page"]

_WIDTH = 96
_NAME = 16  # characters of a line's name


def page(check: Check) -> str:
    """The page."""
    blocks = [_title(check), _findings(check), _verdicts(check), _lines(check)]
    if check.observation is not None:
        blocks.append(str(check.observation))
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
    return "\n".join([head, "=" * len(head), f"{how}; took {duration(check.seconds)}"])


def _findings(check: Check) -> str:
    """Warnings, then notes; those of the observation stand with it."""
    return "\n".join(_finding(finding) for finding in check.findings)


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
            "": verdict.name,
            "verdict": verdict.state.value,
            "width x": _band(verdict.scale),
            "shift (sd)": _band(verdict.shift),
            "p": f"{verdict.p_value:.2g}",
        }
        for verdict in check.verdicts
    ]
    notes = [_wrapped(f"{v.name}: {v.text}", indent="  ") for v in _worth_saying(check)]
    legend = "width x: what the posterior's width should be multiplied by; shift: where its centre"
    return str(Table("", tuple(rows), (*notes, _wrapped(f"({legend} should move, in its sd)"))))


def _worth_saying(check: Check) -> list:  # type: ignore[type-arg]
    """The joint verdict, and alarms."""
    return [v for i, v in enumerate(check.verdicts) if i == 0 or v.state.alarm]


def _band(band: Band) -> str:
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
    error = (12 * check.n) ** -0.5  # of the mean of uniform ranks
    lines.append(
        (
            "Coverage",
            f"regions hold the truth {abs(curve.bias):.1%} too {_often(curve.bias)} on average "
            f"(+- {error:.1%} by chance); mean absolute deviation {curve.error:.3f}",
        )
    )
    if check.two_level is not None:
        lines.append(("", _two_level(check)))
    if check.comparison is not None:
        lines.append(("Comparison", check.comparison.text))
    tests = ", ".join(f"{row['of']} {row['ranks']} {row['p']:.2g}" for row in check.tests)
    lines.append(("p of ranks", tests))
    return "\n".join(
        _wrapped(text, first=name.ljust(_NAME), indent=" " * _NAME) for name, text in lines
    )


def _often(bias: float) -> str:
    return "often" if bias > 0 else "seldom"


def _two_level(check: Check) -> str:
    found = check.two_level
    if found is None:
        return ""
    return found.reason
