"""`pilot`: a small run of every level on the same draws, from which the campaign is planned."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlsbi._checks import check_type
from mlsbi._table import Table
from mlsbi.data import MultilevelData
from mlsbi.hierarchy import Hierarchy
from mlsbi.planning._column_draws import rows_of
from mlsbi.planning._pilot_costs import cost_notes, expected_factors, measured_costs
from mlsbi.planning.columns import Columns, run_columns
from mlsbi.planning.level_table import LevelStatistics, level_statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlsbi.planning.doctor import Diagnosis
    from mlsbi.planning.explained import PairGain
    from mlsbi.planning.needs import Needs
    from mlsbi.planning.plan import Plan

__all__ = ["Pilot", "pilot"]


@dataclass(frozen=True, eq=False, repr=False)
class Pilot:
    """What a pilot found; `print(pilot)` shows the multilevel table and the diagnosis.

    Attributes:
        hierarchy: The levels.
        columns: Every level run on the same theta and noise.
        seed: The pilot's seed.
        costs: Cost of one run of each level: as the levels state it or, where any of them does not,
            the measured seconds of all.
        cost_unit: `"given"` or `"seconds"`.
        left_out: What the runs of levels cost that were left out since.
    """

    hierarchy: Hierarchy
    columns: Columns
    seed: int
    costs: tuple[float, ...]
    cost_unit: str
    left_out: float = 0.0

    @property
    def cost(self) -> float:
        """What its runs cost, those of copies, failed ones and levels left out since included."""
        return rows_of(len(self.columns)).count * math.fsum(self.costs) + self.left_out

    @cached_property
    def data(self) -> MultilevelData:
        """The pilot as runs and coupled pairs: counts towards a campaign, and can be fitted.

        Raises:
            ValueError: If a level has no ok pair.
        """
        return self.columns.data(self.hierarchy, self.costs)

    @cached_property
    def statistics(self) -> LevelStatistics:
        """The figures of the multilevel table."""
        return level_statistics(self.columns, self.costs)

    @cached_property
    def gains(self) -> tuple[PairGain, ...]:
        """What each level's runs tell of the level above, of the pairs where that is known."""
        from mlsbi.planning.explained import explain_pair

        prior = self.hierarchy.prior
        found = [
            explain_pair(*self.columns.pairs(level), prior=prior, level=level, coarse=level - 1)
            for level in range(1, self.hierarchy.num_levels)
        ]
        return tuple(gain for gain in found if gain is not None)

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Whether several levels will help, and what is wrong with them."""
        from mlsbi.planning.doctor import diagnose

        factor, cost_factor = self._factors()
        return diagnose(
            self.columns, self.costs, gains=self.gains, factor=factor, cost_factor=cost_factor
        )

    def _factors(self) -> tuple[float | None, float | None]:
        try:
            return expected_factors(self.needs(), self.costs)
        except ValueError:  # of levels that cannot be fitted; the diagnosis says why
            return None, None

    def needs(
        self,
        strategy: Any = None,
        *,
        method: str = "auto",
        kind: str = "posterior",
        seed: int = 0,
    ) -> Needs:
        """What each level adds to the error of a fit; see `mlsbi.planning.needs.pilot_needs`."""
        from mlsbi.planning.needs import pilot_needs

        return pilot_needs(self, strategy, method=method, kind=kind, seed=seed)

    def allocate(
        self,
        budget: float | None = None,
        *,
        error: float | None = None,
        strategy: Any = None,
        method: str = "auto",
        kind: str = "posterior",
        minimum: int | Sequence[int] | None = None,
        existing: MultilevelData | Sequence[int] | None = None,
        deadline: float | None = None,
        cores: int = 1,
        seed: int = 0,
    ) -> Plan:
        """How many runs of each level to make: `mlsbi.simulate(hierarchy, plan, seed=...)`.

        Args:
            budget: What may be spent, in the unit of `costs`.
            error: Instead of a budget: the error to reach, for the least cost.
            strategy: How levels will be combined; None for the library's default.
            method: What the needs of the levels are found by: `"bound"` (E|x_l - x_(l-1)|^2, as
                in theorem 2 of the paper), `"loss"` (a network is trained on the pilot, and the
                variance of its loss's differences taken), `"steps"` (what the steps between levels
                take to learn); `"auto"`: the loss for strategies that telescope, else the steps.
            kind: `"posterior"` or `"likelihood"`: what will be fitted.
            minimum: The least number of rows, of all levels or of each.
            existing: Runs that exist already and count, or their numbers.
            deadline: Seconds until everything must be done.
            cores: How many runs are made at the same time.
            seed: Of what is trained to find the needs, if anything is.

        Returns:
            The plan, a sequence of whole numbers.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If one is out of range, or cannot be met.
        """
        from mlsbi.planning.plan import make_plan

        known = [s for s in self.columns.seconds if s is not None]
        return make_plan(
            self.needs(strategy, method=method, kind=kind, seed=seed),
            self.costs,
            budget=budget,
            error=error,
            minimum=minimum,
            existing=existing.n if isinstance(existing, MultilevelData) else existing,
            seconds=tuple(known) if len(known) == len(self.costs) else None,
            deadline=deadline,
            cores=cores,
            cost_unit="seconds" if self.cost_unit == "seconds" else "",
        )

    def choose_levels(
        self, budget: float, *, strategy: Any = None, kind: str = "posterior", seed: int = 0
    ) -> Any:
        """Which levels are worth having at a budget: plans of subsets, the best first.

        Args:
            budget: What may be spent, in the unit of `costs`.
            strategy: How levels will be combined; None for the library's default.
            kind: `"posterior"` or `"likelihood"`: what will be fitted.
            seed: Of what is trained to find the needs, if anything is.

        Returns:
            See `mlsbi.planning.subsets.choose_levels`.
        """
        from mlsbi.planning.subsets import choose_levels

        return choose_levels(self, budget, strategy=strategy, kind=kind, seed=seed)

    def subset(self, levels: Sequence[int]) -> Pilot:
        """The pilot of some levels, without further runs; costs keep their unit, `cost` is kept.

        Args:
            levels: Numbers of the levels to keep, ascending. They count from 0 anew.

        Raises:
            TypeError: If `levels` is no sequence of integers.
            ValueError: If it is empty, not ascending, or there is no such level.
        """
        hierarchy = self.hierarchy.subset(levels)
        costs = tuple(self.costs[level] for level in levels)
        part = Pilot(hierarchy, self.columns.subset(levels), self.seed, costs, self.cost_unit)
        return replace(part, left_out=self.cost - part.cost)

    def table(self) -> Table:
        """Print the multilevel table, and return it."""
        table = self._table()
        print(table)
        return table

    def _table(self) -> Table:
        measured = self.cost_unit == "seconds"
        unit = "seconds" if measured else "in the unit of the levels' costs"
        runs = rows_of(len(self.columns)).count
        title = (
            f"Pilot: {runs} runs of each level on the same draws, cost {self.cost:,.6g} ({unit})"
        )
        table = self.statistics.table(title=title, measured=measured)
        notes = cost_notes(self.hierarchy.levels, self.columns, runs) if measured else ()
        return Table(table.title, table.rows, (*table.notes, *notes))

    def plot(self, axes: Any = None) -> Figure:
        """Draw variances, costs and correlations of the levels.

        Args:
            axes: Three matplotlib axes to draw into; by default a figure is made.

        Returns:
            The figure.

        Raises:
            ValueError: If `axes` are not three axes.
        """
        from mlsbi.planning._pilot_plot import draw_pilot

        return draw_pilot(self.statistics, cost_unit=self.cost_unit, axes=axes)

    def __repr__(self) -> str:
        return f"Pilot({len(self.costs)} level(s), {len(self.columns)} columns, cost {self.cost:g})"

    def __str__(self) -> str:
        return "\n".join([str(self._table()), *map(str, self.gains), "", str(self.diagnosis)])


def pilot(
    hierarchy: Hierarchy,
    n: int = 64,
    *,
    seed: int,
    store: str | os.PathLike[str] | None = None,
    executor: Any = None,
    on_failure: str = "drop",
    timeout: float | None = None,
    retries: int = 2,
    isolate: bool | None = None,
    allow_changes: bool = False,
    progress: bool = False,
) -> Pilot:
    """Run every level a few times on the same draws, to plan the campaign.

    Args:
        hierarchy: The levels.
        n: Number of draws, at least 8; n + 2 runs of each level are made. A pilot with a larger n
            has the runs of a smaller one.
        seed: The pilot depends on nothing else.
        store: A folder that keeps finished runs; the same call continues where it stopped.
        executor: As in `mlsbi.simulate`: None, a number of local processes, an executor.
        on_failure: `"drop"`: runs that fail are noted and left out. `"retry"`: they are run again
            up to `retries` times before. `"raise"`: the first one ends the pilot.
        timeout: Seconds that one run may take (a batched simulator: a batch).
        retries: How often a run is made again whose process died, and see `on_failure`.
        isolate: Whether simulators run in processes of their own, as in `mlsbi.simulate`.
        allow_changes: As in `mlsbi.simulate`: go on although a simulator's code changed.
        progress: Whether to show progress on stderr, a level at a time.

    Returns:
        The pilot.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, or the store belongs to another pilot.
        RuntimeError: If all runs of a level failed, or one with `on_failure="raise"`.

    References:
        Giles (2015), Multilevel Monte Carlo methods, Acta Numerica 24.
        Hikida, Bharti, Jeffrey, Briol (2025), Multilevel neural simulation-based inference,
        arXiv:2506.06087.
    """
    check_type(hierarchy, Hierarchy, name="hierarchy", remedy="Pass an mlsbi.Hierarchy.")
    columns = run_columns(
        hierarchy, n, seed=seed, store=store, executor=executor, on_failure=on_failure,
        timeout=timeout, retries=retries, isolate=isolate, allow_changes=allow_changes,
        progress=progress,
    )  # fmt: skip
    given = tuple(cost for cost in hierarchy.costs if cost is not None)
    if len(given) == hierarchy.num_levels:
        return Pilot(hierarchy, columns, seed, given, "given")
    return Pilot(hierarchy, columns, seed, measured_costs(columns), "seconds")
