"""What a plan is: rows of each level, their cost, and what to expect of them.

    error(n) = sum_l b_l / n_l

So many runs of level L alone as have the same error, n_eq = single / error, are expected to be as
good as the plan: n_eq / n_L times as many as it has, at n_eq C_L / sum_l n_l k_l times its cost,
k_l = C_l + C_(l-1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, overload

from mlsbi._facts import row_sums
from mlsbi._table import Table
from mlsbi.planning._plan_table import amount, plan_table
from mlsbi.planning.allocation import expected_error
from mlsbi.planning.needs import Needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plan"]


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Sequence[int]):
    """Rows of each level: a sequence of whole numbers, so `simulate(hierarchy, plan)` runs it.

    It is equal to every plan, tuple or list of the same numbers.

    Attributes:
        n: Rows of each level, 0 .. L, the existing ones included.
        costs: C_l of a run of each level.
        needs: What each level adds to the error.
        existing: Rows that each level has already.
        minimum: Least rows of each level.
        budget: What the new rows may cost; None: not limited.
        run_seconds: Of a run of each level, None where not known; empty: of none.
        deadline: Seconds until all new rows shall be there; None: no matter.
        cores: Workers.
        cost_unit: Of costs and budget.
        notes: What limits the plan, in words.
    """

    n: tuple[int, ...]
    costs: tuple[float, ...]
    needs: Needs
    existing: tuple[int, ...]
    minimum: tuple[int, ...]
    budget: float | None = None
    run_seconds: tuple[float | None, ...] = ()
    deadline: float | None = None
    cores: int = 1
    cost_unit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def new(self) -> tuple[int, ...]:
        """Rows of each level that are still to run."""
        return tuple(n - had for n, had in zip(self.n, self.existing, strict=True))

    @property
    def row_costs(self) -> tuple[float, ...]:
        """k_l = C_l + C_(l-1) of each level."""
        return row_sums(self.costs)

    @property
    def cost(self) -> float:
        """Of the new rows."""
        return _total(self.new, self.row_costs)

    @property
    def total_cost(self) -> float:
        """Of all rows, as if none existed."""
        return _total(self.n, self.row_costs)

    @property
    def limits(self) -> tuple[tuple[tuple[float, ...], float], ...]:
        """Budget and deadline: what a new row of each level uses of it, and how much there is."""
        limits = []
        if self.budget is not None:
            limits.append((self.row_costs, self.budget))
        known = _known(self.run_seconds)
        if self.deadline is not None and len(known) == len(self.costs):
            limits.append((row_sums(known), self.deadline * self.cores))
        return tuple(limits)

    @property
    def left(self) -> float | None:
        """Budget that isn't spent; None without a budget."""
        return None if self.budget is None else self.budget - self.cost

    @property
    def error(self) -> float:
        """The expected error, sum_l b_l / n_l, in `needs.unit`."""
        return expected_error(self.needs.b, self.n)

    @property
    def seconds(self) -> float | None:
        """Wall-clock time of the new rows, shared evenly; None where a level's isn't known."""
        known = _known(self.run_seconds)
        if len(known) < len(self.n):
            return None
        rows = row_sums(known)
        longest = max(s * (new > 0) for s, new in zip(rows, self.new, strict=True))
        return max(longest, _total(self.new, rows) / self.cores)

    @property
    def single_n(self) -> float:
        """Runs of level L alone that are expected to be as good, n_eq."""
        if self.error > 0:
            return float(self.needs.single_runs(self.error))
        return math.inf if self.needs.single > 0 else math.nan

    @property
    def factor(self) -> float:
        """`single_n` as a multiple of the plan's rows of level L."""
        return self.single_n / self.n[-1]

    @property
    def cost_factor(self) -> float:
        """Cost of `single_n` runs of level L as a multiple of what all rows of the plan cost."""
        return self.single_n * self.costs[-1] / self.total_cost

    def table(self) -> Table:
        """Print the plan level by level, and return the table."""
        table = plan_table(self)
        print(table)
        return table

    def plot(self, axes: Any = None) -> Figure:
        """Draw the optimal rows against the budget, and what to expect against the rows of level L.

        Args:
            axes: Two matplotlib Axes to draw into.

        Returns:
            The figure: save it with `figure.savefig("plan.png")`.

        Raises:
            ValueError: If `axes` are not two Axes.
        """
        from mlsbi.planning._plan_plot import draw_plan

        return draw_plan(self, axes)

    def to_dict(self) -> dict[str, Any]:
        """The plan in JSON types, what is expected of it included."""
        expected = {
            name: _finite(getattr(self, name))
            for name in ("cost", "left", "error", "seconds", "single_n", "factor", "cost_factor")
        }
        needs = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.needs).items()
            if value != math.inf  # JSON has no infinity, which is the default where it is meant
        }
        record = {**asdict(self), "new": self.new, "needs": needs, "expected": expected}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in record.items()}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Plan:
        """The plan that `to_dict` described."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
            if name not in {"new", "expected", "needs"}
        }
        needs = {**record["needs"], "b": tuple(record["needs"]["b"])}
        return Plan(**fields, needs=Needs(**needs))

    def __len__(self) -> int:
        return len(self.n)

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...

    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        return self.n[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Plan, tuple, list)):
            return NotImplemented
        return self.n == tuple(other)

    def __hash__(self) -> int:
        return hash(self.n)

    def __repr__(self) -> str:
        of = "" if self.budget is None else f" of {amount(self.budget)}"
        unit = f" {self.cost_unit}" if self.cost_unit else ""
        return f"Plan({', '.join(map(str, self.n))}, cost {amount(self.cost)}{of}{unit})"


def _total(counts: Sequence[int], figures: Sequence[float]) -> float:
    return math.fsum(count * figure for count, figure in zip(counts, figures, strict=True))


def _known(seconds: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(s for s in seconds if s is not None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
