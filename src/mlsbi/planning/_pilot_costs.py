"""Costs of a pilot's levels, and what several levels are expected to save at those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlsbi._facts import row_sums
from mlsbi.hierarchy import Level
from mlsbi.planning.columns import Columns

if TYPE_CHECKING:
    from mlsbi.planning.needs import Needs

__all__ = ["cost_notes", "expected_factors", "measured_costs"]

_SHORTEST = 1e-9  # seconds of a run: costs must be above zero
_ROUGH = 0.1  # seconds of all runs of a level


def measured_costs(columns: Columns) -> tuple[float, ...]:
    """Mean seconds of one run of each level, for costs.

    Raises:
        ValueError: If a level's runs were not timed.
    """
    unknown = [level for level, value in enumerate(columns.seconds) if value is None]
    if unknown:
        raise ValueError(
            f"cost of levels {unknown} must be given; got None, and their runs were not timed. "
            "State the costs: mlsbi.Level(simulator, cost=...)."
        )
    return tuple(max(value, _SHORTEST) for value in columns.seconds if value is not None)


def cost_notes(levels: Sequence[Level], columns: Columns, runs: int) -> tuple[str, ...]:
    """What is to be said of measured costs.

    Args:
        levels: The levels.
        columns: Their runs.
        runs: How many runs of each level were made.
    """
    notes = ["costs are measured seconds of one run; state them as mlsbi.Level(cost=...) if known"]
    batched = [i for i, level in enumerate(levels) if level.batched]
    if batched:
        notes.append(
            f"levels {batched} take batches, here of at most {runs} rows: in larger ones a run may "
            "cost less"
        )
    short = [i for i, mean in enumerate(columns.seconds) if mean and mean * runs < _ROUGH]
    if short:
        notes.append(
            f"levels {short} took less than {_ROUGH} s in all, so that their costs are rough: the "
            "first call counts, with what it imports or compiles"
        )
    return tuple(notes)


def expected_factors(needs: Needs, costs: Sequence[float]) -> tuple[float | None, float | None]:
    """Single-level runs that a row of level L is worth, and that the cost of one such run is worth.

    Under the optimal allocation, whatever the budget: with k_l the cost of a row and
    S = sum_l sqrt(b_l k_l), single / (S sqrt(b_L / k_L)) and single C_L / S^2.

    Args:
        needs: What each level adds to the error.
        costs: Of one run of each level.

    Returns:
        n_eq / n_L, and n_eq C_L / cost; None for one that is infinite. Where nothing is needed of
        the low levels, what they add: nothing to a run, and their cost to its own.
    """
    row_costs = row_sums(costs)
    if len(costs) > 1 and needs.b[-1] > 0 and not any(needs.b[:-1]):
        return 1.0, costs[-1] / row_costs[-1]
    total = math.fsum(math.sqrt(b * k) for b, k in zip(needs.b, row_costs, strict=True))
    top = math.sqrt(needs.b[-1] / row_costs[-1])
    factor = needs.single / (total * top) if total * top > 0 else None
    return factor, (needs.single * costs[-1] / total**2 if total > 0 else None)
