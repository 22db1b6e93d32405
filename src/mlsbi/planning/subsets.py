"""Which of the levels to use at all: dropping one can be best.

A pair of level l costs a run of the level below, too: a middle level that tells little, or costs
nearly as much as the one above it, is better left out. Every subset that has level L is planned for
the same budget from the same columns, and compared by the error expected of it (for means: PyApprox
chooses models so; for telescoping sums: Giles 2015, section 2.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

from mlsbi._checks import check_positive
from mlsbi._table import Table
from mlsbi.planning.plan import Plan, make_plan

if TYPE_CHECKING:
    from mlsbi.planning.pilot import Pilot

__all__ = ["Choice", "Choices", "choose_levels"]

_WORTH_IT = 0.9  # of the error of all levels: less is within what a pilot can tell


@dataclass(frozen=True)
class Choice:
    """A subset of the levels, and the plan that it would get.

    Attributes:
        levels: Their numbers in the whole hierarchy, ascending; the last one is L.
        plan: For the levels of the subset, `pilot.subset(levels)`.
    """

    levels: tuple[int, ...]
    plan: Plan


@dataclass(frozen=True)
class Choices:
    """Subsets of the levels, the one with the least expected error first.

    Attributes:
        choices: At least the subset of all levels.
        budget: What each may spend.
    """

    choices: tuple[Choice, ...]
    budget: float

    @property
    def best(self) -> Choice:
        """The recommended subset: all levels, unless leaving some out is clearly better."""
        first, whole = self.choices[0], max(self.choices, key=lambda c: len(c.levels))
        return first if first.plan.error < _WORTH_IT * whole.plan.error else whole

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    def table(self) -> Table:
        """Print the subsets, and return the table."""
        table = self._table()
        print(table)
        return table

    def _table(self) -> Table:
        rows: list[dict[str, Any]] = [
            {
                "levels": ", ".join(map(str, choice.levels)),
                "n": ", ".join(f"{n:,}" for n in choice.plan),
                "expected error": choice.plan.error,
                "single-level runs as good": choice.plan.single_n,
                "": "recommended" if choice is self.best else "",
            }
            for choice in self.choices
        ]
        return Table(f"Subsets of the levels at a budget of {self.budget:,.6g}", tuple(rows))

    def __str__(self) -> str:
        return str(self._table())


def choose_levels(
    pilot: Pilot, budget: float, *, strategy: Any = None, kind: str = "posterior", seed: int = 0
) -> Choices:
    """Plan every subset of the levels that has level L, for one budget.

    Args:
        pilot: The pilot of all levels.
        budget: What may be spent, in the unit of its costs.
        strategy: How levels will be combined; None for the library's default.
        kind: `"posterior"` or `"likelihood"`: what will be fitted.
        seed: Of what is trained to find the needs, if anything is.

    Returns:
        The subsets; fit one by `pilot.subset(levels)` and `hierarchy.subset(levels)`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: One is out of range, or no subset can be planned for the budget.
    """
    budget = check_positive(budget, name="budget")
    top = pilot.hierarchy.num_levels - 1
    low = range(top)
    subsets = chain.from_iterable(combinations(low, size) for size in range(1, top + 1))
    found, reason = _alone(pilot, budget, strategy=strategy, kind=kind, seed=seed), ""
    for levels in ((*some, top) for some in subsets):
        part = pilot if len(levels) == top + 1 else pilot.subset(levels)
        try:
            plan = part.allocate(budget, strategy=strategy, kind=kind, seed=seed)
        except ValueError as error:  # of levels that cannot be compared, or a budget too small
            reason = reason or f"levels {list(levels)}: {error}"
            continue
        found.append(Choice(levels, plan))
    if not any(choice.levels[:-1] for choice in found):
        raise ValueError(f"budget {budget:g} pays for no subset of the levels; {reason}")
    return Choices(tuple(sorted(found, key=lambda choice: choice.plan.error)), budget)


def _alone(pilot: Pilot, budget: float, **options: Any) -> list[Choice]:
    """Level L alone, a single-level fit; none where nothing is known of it."""
    try:
        needs = pilot.needs(options["strategy"], kind=options["kind"], seed=options["seed"])
        one = replace(needs, b=(needs.single,), source="a single level")
        plan = make_plan(one, pilot.costs[-1:], budget=budget)
    except ValueError:  # as of all levels, which says why
        return []
    return [Choice((len(pilot.costs) - 1,), plan)]
