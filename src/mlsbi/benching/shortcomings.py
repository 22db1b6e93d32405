"""What falls short, from the results: no better, over-confident, beaten at equal cost."""

from __future__ import annotations

import math

from mlsbi.benching.names import TASKS, metric_of
from mlsbi.benching.paper import BUDGETS
from mlsbi.benching.tables import NAMES
from mlsbi.benching.values import Group, Values, mean_and_error, paired

__all__ = ["shortcomings"]

_SURE = 2.0  # standard errors
_TARGETS = (0.06, 0.03)  # coverage error with fewer than 50 runs of level L, and with as many
_RIVALS = ("multilevel", "transfer", "paper", "sbi", "single", "emulator")
_EQUAL = ("single-equal", "sbi-equal")


def shortcomings(values: Values) -> list[str]:
    """A sentence for each place where the default is not what one would wish."""
    found: list[str] = []
    for task, budgets in BUDGETS.items():
        for budget in budgets:
            own = values.group(task, budget, "default")
            if own is None:
                continue
            where = f"{task} {', '.join(map(str, budget))}"
            for rival in (*_RIVALS, *_EQUAL):
                other = values.group(task, budget, rival)
                said = None if other is None else _beaten(task, own, other, rival)
                if said:
                    found.append(f"{where}: {said}")
            coverage = _badly_covered(own, budget[-1])
            if coverage:
                found.append(f"{where}: {coverage}")
    return found


def _beaten(task: str, own: Group, other: Group, rival: str) -> str:
    metric = metric_of(task)
    above = paired(own.values(metric), other.values(metric))
    mean, error = mean_and_error(above)
    gain = "" if math.isnan(mean) else f"{mean:.3f} ± {error:.3f} {_unit(task)}"
    name = NAMES[rival]
    if len(above) > 1 and mean > _SURE * error:
        return f"{name} is better by {gain}."
    if len(above) > 1 and rival == "emulator" and -mean < _SURE * error:
        return f"the cheap levels add nothing that is sure to {name} ({gain})."
    return ""


def _unit(task: str) -> str:
    return {"nlpd_mean": "nats", "kld_median": "nats of KLD"}.get(TASKS[task].metric, "of MMD²")


def _badly_covered(own: Group, runs: int) -> str:
    error, _ = own.mean("coverage_error")
    target = _TARGETS[runs >= 50]
    if math.isnan(error) or error <= target:
        return ""
    bias, _ = own.mean("coverage_bias")
    kind = "over-confident" if bias < -target / 2 else "too wide" if bias > target / 2 else "uneven"
    return f"coverage error {error:.3f} (target {target}), {kind}."
