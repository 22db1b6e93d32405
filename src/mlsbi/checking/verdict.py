"""Verdicts: can the widths and the centres of a fit be believed, and how sure is that?

Of each parameter, and of all together, two figures are estimated from the ranks of unseen runs
(`_evidence.py`): the factor by which widths would have to be multiplied, and the shift of centres.

- An *alarm* is raised if a figure is beyond a zone of indifference: a factor within 1/1.1 .. 1.1, a
  shift within 0.15 posterior sd (of d parameters together: 0.15 sqrt(d)). A factor of 1.1 moves the
  coverage curve of one parameter by 0.03 on average. p-values are against this zone, and Holm's
  (1979): the chance of any false alarm, over parameters, joint and both figures, is at most
  `1 - level`.
- *Calibrated* means that 90 % intervals lie inside a tolerance: a factor within 3/4 .. 4/3 and a
  shift within 0.5 posterior sd. A fit at the edge of that is called calibrated in 5 % of the cases.
  Of d parameters together, log(4/3) / sqrt(d), but no less than 15 %, and 0.5 sqrt(d): the same
  factor moves the joint coverage curve about sqrt(d) times as far.
- Else it is *not enough runs to tell*, with about how many more it takes.

What that comes to (`benchmarks/verdicts.py`): fits that are right, or at an edge of the zones of
indifference, raise an alarm in 0 to 4 % of the cases, with 20 to 500 runs and 1 to 7 parameters.
With 20 runs, widths that are half or twice as large as they should be are found in 89 % of the
cases for one parameter and in all for 3 or 7 alike; a shift of one parameter by 1 sd in 88, 82 and
73 % for 1, 3 and 7 parameters. From 50 runs on, these are found nearly always. A right fit's
parameters are called calibrated in 3, 70 and 98 % of the cases with 20, 50 and 100 runs.

What it does not see: a dependence between parameters that the posterior lacks leaves all these
figures right on average; the joint coverage curve shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np

from mlsbi._checks import check_count, check_fraction, check_type
from mlsbi.checking._evidence import Estimate, joint_scale, joint_shift, parameter
from mlsbi.checking._verdict_words import centres_text, figures_text, runs_text, widths_text
from mlsbi.checking.bands import Band
from mlsbi.checking.run_scores import RunScores

__all__ = ["State", "Verdict", "judge"]

_SPARE = 0.3  # standard errors beyond what decides: `more` runs are then enough 4 times in 5
_CLEAR = 0.5  # a shift of this many sd, posterior and true ones, is named before a width


class State(StrEnum):
    """What is said of a parameter, or of all together."""

    CALIBRATED = "calibrated"
    OVER = "over-confident"
    UNDER = "under-confident"
    BIASED = "biased"
    UNDECIDED = "not enough runs to tell"

    @property
    def alarm(self) -> bool:
        """Whether something is found to be wrong."""
        return self in {State.OVER, State.UNDER, State.BIASED}


@dataclass(frozen=True)
class Verdict:
    """What is said of one parameter, or of all together, and why.

    Attributes:
        name: The parameter's name, or "joint".
        state: The verdict.
        scale: Factor by which the posterior's width would have to be multiplied: 1 is right, above
            1 it is too narrow.
        shift: How far the posterior's centre would have to be moved, in posterior standard
            deviations; positive: it is too low. Of "joint", the length of the shift of all
            parameters together, which has no sign, in standard deviations of the truth around the
            centre; NaN if there are fewer than d + 3 runs.
        p_value: How easily chance alone would look as bad on a fit that is good enough, allowing
            for the number of parameters; an alarm is raised below `1 - level`.
        more: About how many more runs it takes to tell; None unless undecided.
        text: One sentence with the evidence.
    """

    name: str
    state: State
    scale: Band
    shift: Band
    p_value: float
    more: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name, as JSON types."""
        return {
            "name": self.name,
            "state": self.state.value,
            "scale": self.scale.to_dict(),
            "shift": self.shift.to_dict(),
            "p_value": self.p_value,
            "more": self.more,
            "text": self.text,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Verdict:
        """The verdict that `to_dict` wrote."""
        return Verdict(
            name=str(values["name"]),
            state=State(values["state"]),
            scale=Band.from_dict(values["scale"]),
            shift=Band.from_dict(values["shift"]),
            p_value=float(values["p_value"]),
            more=None if values["more"] is None else int(values["more"]),
            text=str(values["text"]),
        )


def judge(
    scores: RunScores, *, names: Sequence[str], level: float = 0.95, num_draws: int = 500
) -> tuple[Verdict, ...]:
    """Whether a fit is calibrated, by runs that it has not seen.

    Args:
        scores: Their scores.
        names: Names of the parameters.
        level: Confidence of the intervals, and of there being no false alarm.
        num_draws: Posterior draws a run that the scores were made with.

    Returns:
        The verdict on all parameters together, named "joint", then on each.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If there is one run only, a rank is NaN, or there is not one name a parameter.
    """
    check_type(scores, RunScores, name="scores", remedy="Pass what score_runs returns.")
    level = check_fraction(level, name="level")
    num_draws = check_count(num_draws, name="num_draws", minimum=20)
    ranks, hpd = scores.rank.numpy(), scores.hpd.numpy()
    n, dim = ranks.shape
    if n < 2:
        raise ValueError(f"scores must be of at least 2 runs; got {n}. Score more runs.")
    if bool(np.isnan(ranks).any()) or bool(np.isnan(hpd).any()):
        raise ValueError(
            "scores must hold no NaN; got some in its ranks. Look at the fit's status."
        )
    if isinstance(names, str) or len(names) != dim:
        raise ValueError(
            f"names must hold one name a parameter, {dim} of them; got {names!r}. Pass a list."
        )
    each = [parameter(ranks[:, j], num_draws=num_draws, level=level) for j in range(dim)]
    shift = joint_shift(ranks, each, level=level)
    together = joint_scale(hpd, dim, num_draws=num_draws, level=level)
    pairs: list[tuple[Estimate, Estimate | None]] = [(together, shift), *each]
    adjusted = _holm([1.0 if e is None else e.p_value for pair in pairs for e in pair])
    cases = [
        _Case(name, n, *pair, p_scale, p_shift, 1 - level, len(adjusted))
        for name, pair, p_scale, p_shift in zip(
            ("joint", *names), pairs, adjusted[::2], adjusted[1::2], strict=True
        )
    ]
    verdicts = [case.verdict() for case in cases[1:]]
    joint = cases[0]
    moved = joint.moved or any(v.state is State.BIASED for v in verdicts)
    if moved and joint.shift is not None:  # what is left of the width factor without the shift
        length = joint.shift.band.value
        left = joint_scale(hpd, dim, num_draws=num_draws, level=level, shift=length)
        p_scale = min(1.0, left.p_value * len(adjusted))
        joint = replace(joint, scale=left, p_scale=max(p_scale, joint.p_scale))
    return (_with_parameters(joint, verdicts), *verdicts)


def _holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down method."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, worst = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        worst = max(worst, min(1.0, p_values[i] * (len(p_values) - place)))
        adjusted[i] = worst
    return adjusted


@dataclass(frozen=True)
class _Case:
    """One line of evidence; p-values are adjusted, `tests` says for how many."""

    name: str
    n: int
    scale: Estimate
    shift: Estimate | None
    p_scale: float
    p_shift: float
    error: float
    tests: int

    @property
    def wrong(self) -> bool:
        """Whether widths are wrong."""
        return self.p_scale < self.error

    @property
    def moved(self) -> bool:
        """Whether centres are wrong."""
        return self.p_shift < self.error

    def state(self) -> State:
        """The verdict."""
        if self.moved and self.shift is not None:
            width = self.scale.band.value
            shift = abs(self.shift.band.value) * (width if self.name == "joint" else 1.0)
            if shift >= _CLEAR * max(1.0, width) or not self.wrong:
                return State.BIASED
        if self.wrong:
            return State.OVER if self.scale.band.value > 1 else State.UNDER
        fine = self.shift is not None and self.shift.fine and self.scale.fine
        return State.CALIBRATED if fine else State.UNDECIDED

    def verdict(self) -> Verdict:
        """The verdict, with the evidence in words."""
        scale, state = self.scale.band, self.state()
        shift = Band(math.nan, -math.inf, math.inf, scale.level, "too few runs")
        shift = shift if self.shift is None else self.shift.band
        p_value, more = min(self.p_scale, self.p_shift), None
        if state.alarm:
            found = [widths_text(scale)] * self.wrong
            found += [centres_text(shift, together=self.name == "joint")] * self.moved
            if state is State.BIASED:
                found.reverse()
            text = f": {'; '.join(found)} {runs_text(self.n, p_value)}"
        else:
            more = self.more() if state is State.UNDECIDED else None
            need = "" if more is None else f" (need about {more} more)"
            text = f"{need}: {figures_text(scale, shift)} ({self.n} runs)"
        return Verdict(self.name, state, scale, shift, p_value, more, state.value + text)

    def more(self) -> int:
        """About how many more runs it takes to come to another verdict.

        It is when an interval around today's estimate would be short enough, for an alarm of either
        figure or for both to be calibrated.
        """
        alarm = _normal_quantile(1 - self.error / (2 * self.tests)) + _SPARE
        sure = _normal_quantile(0.95) + _SPARE
        soonest, latest = math.inf, 0.0
        for estimate in (self.scale, self.shift):
            if estimate is None:
                continue
            distance, zone = estimate.distance, estimate.zone
            soonest = min(soonest, _needed(alarm * estimate.unit, distance - zone.indifferent))
            latest = max(latest, _needed(sure * estimate.unit, zone.tolerable - distance))
        return _rounded(max(min(soonest, latest) - self.n, self.n / 10, 5))


def _with_parameters(joint: _Case, verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on all together: no better than that on each."""
    found = joint.verdict()
    worst = min((v for v in verdicts if v.state.alarm), key=lambda v: v.p_value, default=None)
    if found.state.alarm or worst is None:
        return found
    figures = figures_text(found.scale, found.shift)
    text = f"{worst.state.value} in {worst.name}; all together: {figures} ({joint.n} runs)"
    return replace(found, state=worst.state, p_value=worst.p_value, more=None, text=text)


def _needed(reach: float, distance: float) -> float:
    """Runs until `reach / sqrt(n)` is no more than the distance."""
    return (reach / distance) ** 2 if distance > 0 else math.inf


def _rounded(number: float) -> int:
    """One digit that counts, two from 100 on; upwards."""
    step = 10 ** max(0, math.floor(math.log10(number)) - (1 if number >= 100 else 0))
    return math.ceil(number / step) * step


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)
