"""Faults of levels and of their order: shapes, failures, costs, fidelity, what a level tells."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlsbi.estimators.transforms import Standardise, robust_location_scale
from mlsbi.planning._finding import FEWEST, Case, Finding, names, percent
from mlsbi.planning._level_sums import twin_groups
from mlsbi.planning._noise_faults import tells_nothing

__all__ = [
    "find_constant",
    "find_cost_order",
    "find_failures",
    "find_few_rows",
    "find_fidelity_order",
    "find_identical",
    "find_shapes",
    "find_uninformed",
]

_FEW_FAIL, _MANY_FAIL = 0.05, 0.2
_MEASURED = 1.2  # measured costs closer than this factor are about the same
_ROUNDING, _ULP = 1e-5, 1.2e-7  # of the sd, and of a float32
_CLEARLY = 3.0  # standard errors
_CLOSER = 0.8  # of the mean square distance
_TOP_ROWS, _TOP_SHARE = 0.05, 0.8


def find_shapes(case: Case) -> list[Finding]:
    """Pairs whose x differ in shape."""
    found = []
    for level in range(1, case.top + 1):
        low, high = (tuple(case.columns.x[k].shape[1:]) for k in (level - 1, level))
        if low != high:
            found.append(
                Finding(
                    "shapes-differ",
                    level,
                    "fault",
                    f"x of level {level - 1} has shape {low}, of level {level} {high}: the two "
                    "cannot be compared, and were not.",
                    "Let both levels return the same summaries, or x on the same grid: "
                    "interpolate, average or pick the coarser level's points.",
                )
            )
    return found


def find_failures(case: Case) -> list[Finding]:
    """Levels many of whose runs fail."""
    found = []
    for level, ok in enumerate(case.columns.ok):
        share = 1 - float(ok.double().mean())
        if share <= _FEW_FAIL and int(ok.sum()) >= FEWEST:
            continue
        left = "" if int(ok.sum()) >= FEWEST else " What is left is too little to judge it."
        found.append(
            Finding(
                "many-failures",
                level,
                "fault" if share > _MANY_FAIL else "warning",
                f"{percent(share)} of the {len(ok)} runs of level {level} gave no finite x. They "
                "are left out, and the posterior is that of runs that succeed." + left,
                "See why: pilot.columns.failures[0].reproduce(hierarchy). Correct the simulator, "
                "narrow the prior to where it works, or return an x that says that it failed.",
            )
        )
    return found


def find_constant(case: Case) -> list[Finding]:
    """Outputs that never vary at one level, but do at another; levels that never vary."""
    found = []
    still = {k: ~v.varies for k, v in enumerate(case.views) if v is not None}
    for level, same in still.items():
        others = [still[k] for k in still if k != level and case.alike(k, level)]
        only_here = same & ~torch.stack(others).all(0) if others else same
        if not bool(same.any()):
            continue
        numbers = same.nonzero().flatten().tolist()
        whole = bool(same.all())
        severity = "fault" if whole else "warning" if bool(only_here.any()) else "note"
        which = "all outputs" if whole else f"output(s) {names(numbers)} (flattened)"
        found.append(
            Finding(
                "constant",
                level,
                severity,
                f"{which} of level {level} have the same value in every run, or vary by less than "
                "1e-12 or a millionth of their size.",
                "Look whether the simulator fills them. Outputs that are constant at every level "
                "may be left out; rescale those that are only small.",
            )
        )
    return found


def find_cost_order(case: Case) -> list[Finding]:
    """Levels that cost no less than the level above them."""
    measured = all(
        given is not None and math.isclose(cost, given, rel_tol=1e-6)
        for cost, given in zip(case.costs, case.columns.seconds, strict=True)
    )
    unit, margin = (" s", _MEASURED) if measured else ("", 1.0)
    found = []
    for level in range(1, case.top + 1):
        low, high = case.costs[level - 1 : level + 1]
        if low * margin < high:
            continue
        same = measured and low < margin * high
        found.append(
            Finding(
                "wrong-order-cost",
                level,
                "warning" if same else "fault",
                f"a run of level {level - 1} costs {low:.3g}{unit}, one of level {level} "
                f"{high:.3g}{unit}: the level below "
                + ("is not clearly cheaper." if same else "is not cheaper."),
                "Levels run from the cheapest, 0, to the most faithful. If costs were given in "
                f"the wrong order, swap them; else drop level {level - 1}: "
                "hierarchy.subset([...]). Batches hide the true cost of fast simulators: state it "
                "with Level(..., cost=...).",
            )
        )
    return found


def find_fidelity_order(case: Case) -> list[Finding]:
    """Levels that are farther from the finest one than the level below them is."""
    found = []
    for level in range(1, case.top):
        trio = (level - 1, level, case.top)
        if not (case.alike(*trio) and case.sees(*trio)):
            continue
        below, own = _distances(case, *trio)
        mean, error = _mean_over_thetas(below - own, case, trio)
        if mean < -_CLEARLY * error and float(below.mean()) < _CLOSER * float(own.mean()):
            found.append(
                Finding(
                    "wrong-order-fidelity",
                    level,
                    "fault",
                    f"level {level - 1} is closer to level {case.top} than level {level} is: the "
                    f"mean square distance is {float(below.mean()):.3g} against "
                    f"{float(own.mean()):.3g} (in units of an output's spread; the difference is "
                    f"{abs(mean) / max(error, 1e-300):.0f} standard errors).",
                    "Put the levels in the order of their fidelity. If the closer one is cheaper, "
                    f"too, drop level {level}: hierarchy.subset([...]).",
                )
            )
    return found


def _distances(case: Case, low: int, middle: int, top: int) -> tuple[Tensor, Tensor]:
    """Mean square distances from the top level, of columns in which all three are ok."""
    rows = case.columns.ok[[low, middle, top]].all(0)
    x = [case.columns.x[k][rows].flatten(1) for k in (low, middle, top)]
    units = Standardise.fit(torch.cat(x))
    z = [units(part).double() for part in x]
    return (z[0] - z[2]).square().mean(1), (z[1] - z[2]).square().mean(1)


def _mean_over_thetas(value: Tensor, case: Case, levels: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard error over different thetas; twins count as one."""
    rows = case.columns.ok[list(levels)].all(0).nonzero().flatten()
    group = twin_groups(case.columns.twins, rows)
    count = torch.bincount(group).double()
    means = torch.zeros(len(count), dtype=value.dtype).index_add(0, group, value) / count
    return float(means.mean()), float(means.std() / len(means) ** 0.5)


def find_identical(case: Case) -> list[Finding]:
    """Pairs whose two levels give the same x."""
    found = []
    for level in case.pairs:
        _, low, high = case.columns.pairs(level)
        low, high = low.flatten(1).double(), high.flatten(1).double()
        allowed = _ROUNDING * high.std(0) + _ULP * high.abs()
        if bool(case.view(level).varies.any()) and bool(((high - low).abs() <= allowed).all()):
            dear = level if case.costs[level] >= case.costs[level - 1] else level - 1
            found.append(
                Finding(
                    "identical",
                    level,
                    "fault",
                    f"levels {level - 1} and {level} gave the same x in all {len(low)} columns, up "
                    "to rounding.",
                    f"Drop level {dear}, the dearer one: hierarchy.subset([...]); or see whether "
                    "both were given the same settings by mistake.",
                )
            )
    return found


def find_uninformed(case: Case) -> list[Finding]:
    """Levels below L that tell nothing of theta nor of the level above."""
    found = []
    for level in range(case.top):
        if case.views[level] is None or not tells_nothing(case, level):
            continue
        found.append(
            Finding(
                "no-information",
                level,
                "fault",
                f"level {level} shows no dependence on theta, nor on level {level + 1}: what it "
                "adds is noise.",
                f"See whether level {level} uses theta, and in the same order as the others. If "
                "that is all that it can tell, drop it: hierarchy.subset([...]).",
            )
        )
    return found


def find_few_rows(case: Case) -> list[Finding]:
    """Pairs whose difference is large in a few rows only."""
    found = []
    for level in case.pairs:
        _, low, high = case.columns.pairs(level)
        _, scale = robust_location_scale(high)
        difference = ((high - low).double() / scale).flatten(1)
        size = (difference - difference.mean(0)).square().sum(1).sort(descending=True).values
        top = math.ceil(_TOP_ROWS * len(size))
        share = float(size[:top].sum() / size.sum().clamp(min=1e-300))
        if share > _TOP_SHARE and float(size.mean()) > 1e-6:
            found.append(
                Finding(
                    "few-rows-dominate",
                    level,
                    "warning",
                    f"{percent(share)} of the variance of x_{level} - x_{level - 1} comes from "
                    f"{top} of {len(size)} columns: figures of this pilot rest on them, and other "
                    "columns would give others.",
                    "Look at those runs. Run a larger pilot, and prefer summaries that are robust "
                    "(medians, logs) if they are as they should be.",
                )
            )
    return found
