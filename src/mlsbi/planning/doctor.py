"""The coupling doctor: is it worth it, are the pairs coupled, and if not, what is wrong.

Multilevel methods gain by levels that agree at the same theta and the same noise u (Giles 2015,
Multilevel Monte Carlo methods, doi:10.1017/S096249291500001X). Nothing fails when they do not: a
seed used in another order gives a fit that is merely worse than a single level's. So the doctor
looks at a pilot's columns, before anything is spent.

The verdict, by the first rule that holds:

1. NOT_COUPLED: a fault "not-reproducible" or "other-order".
2. NO_GAIN: there is one level; or a fault "identical", "no-information" or "constant"; or the
   predicted gain is below 1.1; or none is predicted and a lower level costs as much as the finest.
3. UNCLEAR: no gain in cost is predicted, and a pair could not be compared: "shapes-differ",
   "unclear-coupling", or too few columns.
4. HELPS.

Other findings stand beside the verdict, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from mlsbi._checks import check_positive, check_type
from mlsbi.planning._faults import (
    find_constant,
    find_cost_order,
    find_failures,
    find_few_rows,
    find_fidelity_order,
    find_identical,
    find_shapes,
    find_uninformed,
)
from mlsbi.planning._finding import SEVERITIES, Case, Finding
from mlsbi.planning._noise_faults import find_ignored_noise, find_own_noise, find_uncoupled

if TYPE_CHECKING:
    from mlsbi.planning.columns import Columns
    from mlsbi.planning.explained import PairGain

__all__ = ["Diagnosis", "Finding", "Verdict", "diagnose"]

_WORTH = 1.1  # a predicted gain below this is none
_FAULTS: tuple[Callable[[Case], list[Finding]], ...] = (
    find_own_noise,
    find_uncoupled,
    find_uninformed,
    find_identical,
    find_shapes,
    find_constant,
    find_cost_order,
    find_fidelity_order,
    find_failures,
    find_ignored_noise,
    find_few_rows,
)
_UNCOUPLED = {"not-reproducible", "other-order"}
_USELESS = {"identical", "no-information", "constant"}
_NOT_COMPARED = {"shapes-differ", "unclear-coupling"}


class Verdict(Enum):
    """What the doctor says of a hierarchy as it is; the value is the sentence."""

    HELPS = "multilevel will help"
    NO_GAIN = "multilevel will not help: use level L alone, or mend what is named below"
    NOT_COUPLED = "your pairs are not coupled: mend what is named below before you spend anything"
    UNCLEAR = "this pilot cannot tell whether multilevel will help"


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        verdict: See `Verdict`.
        factor: How many single-level runs a run of level L is worth with the others' help, as
            predicted; None where nobody did.
        cost_factor: The same of what is spent: the gain.
        findings: The worst first.
    """

    verdict: Verdict
    factor: float | None
    cost_factor: float | None
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no fault."""
        return all(finding.severity != "fault" for finding in self.findings)

    def codes(self, severity: str | None = None) -> tuple[str, ...]:
        """Codes of all findings, or of those of one severity."""
        return tuple(f.code for f in self.findings if severity in (None, f.severity))

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis in JSON types."""
        return {
            "verdict": self.verdict.name,
            "factor": self.factor,
            "cost_factor": self.cost_factor,
            "findings": [dict(vars(finding)) for finding in self.findings],
        }

    def __str__(self) -> str:
        """The verdict, then each finding with its remedy."""
        return "\n".join([self._headline(), *(f"- {finding}" for finding in self.findings)])

    def _headline(self) -> str:
        line = self.verdict.value
        if self.verdict is Verdict.HELPS:  # with pairs that are sick no prediction counts
            line += self._expected() + ("" if self.healthy else ", but see the faults")
        return f"Verdict: {line}."

    def _expected(self) -> str:
        parts = []
        if self.cost_factor is not None:
            parts.append(f"about {self.cost_factor:.2g} at the same cost")
        if self.factor is not None:
            parts.append(f"about {self.factor:.2g} at the same number of runs of level L")
        return f" (expected factor of a posterior fit: {', '.join(parts)})" if parts else ""


def diagnose(
    columns: Columns,
    costs: Sequence[float],
    *,
    gains: Sequence[PairGain] = (),
    factor: float | None = None,
    cost_factor: float | None = None,
) -> Diagnosis:
    """Judge a hierarchy by a pilot.

    64 columns, 14 twins among them, are enough for most; with 8 or so few things can be told.

    Args:
        columns: Every level run on the same theta and noise.
        costs: Cost of one run of each level, in one unit.
        gains: What the coarser level of a pair tells beyond theta, by held-out fits, where known.
        factor: Predicted number of single-level runs that a run of level L is worth.
        cost_factor: Predicted gain at the same cost.

    Returns:
        The diagnosis.

    Raises:
        TypeError: If a cost or a factor is not a number.
        ValueError: If one is not positive, or there is not one cost a level.
    """
    check_type(costs, (list, tuple), name="costs", remedy="Pass one number a level.")
    if len(costs) != len(columns.x):
        raise ValueError(
            f"costs must have one entry a level, {len(columns.x)}; got {len(costs)}. Pass the cost "
            "of one run of each level, coarsest first."
        )
    checked = [check_positive(cost, name=f"costs[{i}]") for i, cost in enumerate(costs)]
    for name, value in (("factor", factor), ("cost_factor", cost_factor)):
        if value is not None:
            check_positive(value, name=name, strict=False)
    case = Case.of(columns, checked, gains)
    if case.top == 0:
        found = [*find_own_noise(case), *find_failures(case), *find_constant(case)]
        found = [f for f in found if f.code != "not-reproducible"] + [_one_level()]
    else:
        found = [finding for find in _FAULTS for finding in find(case)]
    found += _small_gain(case, factor, cost_factor)
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(_judge(case, found, factor, cost_factor), factor, cost_factor, tuple(found))


def _one_level() -> Finding:
    return Finding("one-level", 0, "note", "there is one level: nothing to couple it with.")


def _small_gain(case: Case, factor: float | None, cost_factor: float | None) -> list[Finding]:
    gain = min(value for value in (factor, cost_factor, float("inf")) if value is not None)
    if gain >= _WORTH:
        return []
    return [
        Finding(
            "small-gain",
            case.top,
            "note",
            f"the levels below {case.top} are predicted to gain next to nothing (factor "
            f"{gain:.2g}): they cost too much for what they tell of level {case.top}.",
            "Use level L alone (strategy=mlsbi.Emulator(), with many runs mlsbi.SingleLevel()), or "
            "bring a level that is much cheaper, or follows level L more closely.",
        )
    ]


def _judge(
    case: Case, found: Sequence[Finding], factor: float | None, cost_factor: float | None
) -> Verdict:
    faults = {finding.code for finding in found if finding.severity == "fault"}
    if faults & _UNCOUPLED:
        return Verdict.NOT_COUPLED
    predicted = [gain for gain in (factor, cost_factor) if gain is not None]
    if case.top == 0 or faults & _USELESS or any(gain < _WORTH for gain in predicted):
        return Verdict.NO_GAIN
    if cost_factor is not None:
        return Verdict.HELPS
    if max(case.costs[:-1]) >= case.costs[-1]:
        return Verdict.NO_GAIN
    hidden = None in case.views or {finding.code for finding in found} & _NOT_COMPARED
    return Verdict.UNCLEAR if hidden else Verdict.HELPS
