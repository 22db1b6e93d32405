"""Results as figures and tables want them: means over seeds, and what they are worth in runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

from mlsbi._compare import Match, runs_to_match
from mlsbi.benching.names import EQUAL, EXACT, Budget, library_estimator, metric_of
from mlsbi.benching.results import CURVE, Row, latest

__all__ = ["Group", "Values", "mean_and_error"]


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean and its standard error over seeds; NaN of none, no error of one."""
    own = list(values)
    if not own:
        return math.nan, math.nan
    finite = all(map(math.isfinite, own))
    error = stdev(own) / math.sqrt(len(own)) if len(own) > 1 and finite else 0.0
    return fmean(own), error


@dataclass
class Group:
    """The seeds of one strategy at one budget.

    Attributes:
        strategy: With its epochs.
        estimator: As in the cells.
        metrics: Name -> seed -> value; "seconds" among them.
    """

    strategy: str
    estimator: str
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Of a training of the paper; 0 of others."""
        return int(self.strategy.partition("@")[2].removesuffix(EQUAL) or 0)

    def values(self, metric: str) -> dict[int, float]:
        """Seed -> value."""
        return self.metrics.get(metric, {})

    def mean(self, metric: str) -> tuple[float, float]:
        """Mean and standard error."""
        return mean_and_error(self.values(metric).values())

    def curve(self) -> tuple[list[float], list[float]]:
        """Credibilities, and the mean empirical coverage of each."""
        points = sorted(
            (float(name.removeprefix(CURVE)), fmean(values.values()))
            for name, values in self.metrics.items()
            if name.startswith(CURVE)
        )
        return [level for level, _ in points], [share for _, share in points]


class Values:
    """All groups of a set of rows."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._groups: dict[tuple[str, Budget], dict[tuple[str, str], Group]] = {}
        for row in latest(rows):
            cell = row.cell
            groups = self._groups.setdefault((cell.task, cell.budget), {})
            group = groups.setdefault(
                (cell.strategy, cell.estimator), Group(cell.strategy, cell.estimator)
            )
            group.metrics.setdefault(row.metric, {})[cell.seed] = row.value
            group.metrics.setdefault("seconds", {})[cell.seed] = row.seconds

    def budgets(self, task: str) -> list[Budget]:
        """The budgets that run every level."""
        return sorted(budget for name, budget in self._groups if name == task and 0 not in budget)

    def group(
        self, task: str, budget: Budget, strategy: str, *, epochs: int | None = None
    ) -> Group | None:
        """The group of a strategy, whatever its epochs: that of most of them, and most seeds.

        Args:
            task: The task.
            budget: Runs of each level.
            strategy: Without epochs.
            epochs: Only with so many.
        """
        found = [
            group
            for group in self._groups.get((task, budget), {}).values()
            if _stem(group.strategy) == strategy
            and epochs in (None, group.epochs)
            and group.values(metric_of(task))
        ]
        own = library_estimator()
        return max(
            found,
            key=lambda g: (g.epochs, len(g.values(metric_of(task))), g.estimator == own),
            default=None,
        )

    def exact(self, task: str) -> dict[int, float]:
        """The exact posterior's NLPD by seed."""
        for (name, budget), _ in self._groups.items():
            group = self.group(task, budget, EXACT) if name == task else None
            if group is not None:
                return group.values(metric_of(task))
        return {}

    def alone(self, task: str) -> dict[int, float]:
        """Runs of level L alone -> mean metric of "single" with the library's estimator."""
        curve: dict[int, list[float]] = {}
        for (name, budget), groups in self._groups.items():
            group = groups.get(("single", library_estimator()))
            if name == task and group is not None and budget[-1] > 0:
                own = group.values(metric_of(task)).values()
                curve.setdefault(budget[-1], []).extend(own)
        return {n: fmean(values) for n, values in curve.items() if values}

    def worth(self, task: str, group: Group) -> Match | None:
        """How many runs of level L alone a group's result is worth."""
        curve, (mean, _) = self.alone(task), group.mean(metric_of(task))
        return runs_to_match(curve, mean) if len(curve) > 1 and math.isfinite(mean) else None


def _stem(strategy: str) -> str:
    """A strategy's name without its epochs: "paper-high@500-equal" is "paper-high-equal"."""
    head, at, tail = strategy.partition("@")
    return head + (EQUAL if at and tail.endswith(EQUAL) else "")


def paired(own: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """Own less the other's values on the seeds that both have."""
    return [own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())]
