"""What to know before an adaptive run, or its result, is trusted: in plain language."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mlsbi.data import MultilevelData
from mlsbi.history import Status
from mlsbi.planning._infer_call import AnyFit
from mlsbi.planning.doctor import Verdict
from mlsbi.planning.pilot import Pilot
from mlsbi.planning.plan import Plan
from mlsbi.strategies import Strategy

__all__ = ["logged", "of_pilot", "of_result"]

_EVEN = 0.995  # a factor below this is a loss, and not rounding
_LOGGER = logging.getLogger("mlsbi")


def logged(texts: Sequence[str]) -> tuple[str, ...]:
    """The same, said aloud."""
    for text in texts:
        _LOGGER.warning("%s", text)
    return tuple(texts)


def of_pilot(pilot: Pilot, strategy: Strategy | None) -> list[str]:
    """The doctor's verdict where it isn't a good one, and the faults; known before the rounds."""
    if pilot.hierarchy.num_levels == 1 or not (strategy is None or strategy.uses_low_levels):
        return []
    diagnosis = pilot.diagnosis
    found = [str(finding) for finding in diagnosis.findings if finding.severity == "fault"]
    if diagnosis.verdict is not Verdict.HELPS:
        found.insert(0, f"The pilot's verdict: {diagnosis.verdict.value}.")
    return found


def of_result(
    fit: AnyFit, data: MultilevelData, plan: Plan, *, spent: float, budget: float, measured: bool
) -> list[str]:
    """What the last plan, the runs and the fit call for."""
    found: list[str] = []
    if len(data.n) > 1 and plan.cost_factor < _EVEN:
        found.append(
            f"The last plan is expected to be worth {plan.single_n:,.0f} runs of level "
            f"{len(data.n) - 1} alone, which would cost {plan.cost_factor:.2f} times as much: the "
            "cheaper levels do not pay for themselves. Compare with mlsbi.SingleLevel()."
        )
    if any(data.dropped):
        failed = ", ".join(f"{n} at level {level}" for level, n in enumerate(data.dropped) if n)
        found.append(
            f"Runs that failed were left out: {failed}. If they fail more often in some part of "
            "the parameter space, the posterior is biased there; data.failures says why they did."
        )
    if fit.status in (Status.LOW_LEVEL_UNUSED, Status.MAX_STEPS) or not fit.status.ok:
        found.append(f"The fit {fit.status.value}.")
    if measured and spent > budget:
        found.append(
            f"Runs took longer than those that the plans were made from: {spent:,.6g} seconds "
            f"were spent of {budget:,.6g}. State the levels' costs for a budget that holds exactly."
        )
    return found
