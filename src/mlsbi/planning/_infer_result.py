"""What an adaptive run comes to: the fit, its check, and the history of the plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from torch import Tensor

from mlsbi._table import Cell, Table
from mlsbi.crossfit import CrossFit
from mlsbi.data import MultilevelData
from mlsbi.planning.needs import Needs
from mlsbi.planning.pilot import Pilot
from mlsbi.planning.plan import Plan
from mlsbi.results import LikelihoodFit, PosteriorFit

__all__ = ["Inference", "Round"]


@dataclass(frozen=True)
class Round:
    """One round: what was planned on which knowledge, and what came of it.

    Attributes:
        plan: Rows of each level, with costs as they were known when it was made.
        needs: What the plan was made from.
        n: Rows of each level that the round's fit could use, the pilot's included.
        cost: Of the rows that the round ran, those that failed included.
        spent: In all after the round, the pilot included.
        nlpd: Mean loss of the round's fit on held-out runs of level L, `fit.multilevel`'s: minus
            the log density, of a likelihood in the network's units; NaN where not known.
        seconds: Wall-clock time of the round, in the call that finished it.
    """

    plan: Plan
    needs: Needs
    n: tuple[int, ...]
    cost: float
    spent: float
    nlpd: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Inference:
    """What `mlsbi.infer` returns.

    Attributes:
        fit: To all runs.
        check: Its cross-fitted scores; None where they were not asked for, or could not be had.
        data: All runs, the pilot's first.
        pilot: What the first plan was made from: the pilot, of the levels that were used.
        levels: Those, by their numbers in the hierarchy; in all else here they count from 0.
        rounds: What was planned and run, in order. A round for which there was no money left out.
        spent: Cost of all runs, the pilot's and those that failed included.
        budget: What could be spent.
        cost_unit: Of these figures: `"given"`, that of the levels' costs, or `"seconds"`.
        warnings: What to know before the result is used, in plain language.
        x_o: The observation, or None.
    """

    fit: PosteriorFit | LikelihoodFit
    check: CrossFit | None
    data: MultilevelData = field(repr=False)
    pilot: Pilot = field(repr=False)
    levels: tuple[int, ...]
    rounds: tuple[Round, ...]
    spent: float
    budget: float
    cost_unit: str
    warnings: tuple[str, ...]
    x_o: Tensor | None = field(repr=False)

    def samples(self, n: int, *, seed: int | None = None) -> Tensor:
        """Draws from the posterior at `x_o`.

        Args:
            n: Number of draws.
            seed: Same seed, same draws; None: fresh ones.

        Returns:
            Shape `(n, d)`.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: There is no `x_o`, or the fit is one of the likelihood.
        """
        if self.x_o is None:
            raise ValueError(
                "x_o must be known for samples; got None. Pass x_o= to mlsbi.infer, or use "
                "inference.fit.sample(n, x=...)."
            )
        if self.fit.blueprint.kind != "posterior":
            raise ValueError(
                "kind must be 'posterior' for samples; got 'likelihood'. Use the sampler of "
                "inference.fit.posterior(inference.x_o)."
            )
        return cast(PosteriorFit, self.fit).sample(n, x=self.x_o, seed=seed)

    def table(self) -> Table:
        """Print the history of the plan, a row a round, and return the table."""
        table = self._table()
        print(table)
        return table

    def _table(self) -> Table:
        unit = "seconds of simulator time" if self.cost_unit == "seconds" else "cost"
        first: dict[str, Cell] = {
            "round": "pilot",
            **_by_level(self.pilot.data.n),
            "cost": _amount(self.pilot.cost),
            "spent": _amount(self.pilot.cost),
        }
        later: list[dict[str, Cell]] = [
            {
                "round": str(number),
                **_by_level(entry.n),
                "cost": _amount(entry.cost),
                "spent": _amount(entry.spent),
                "factor": entry.plan.factor,
                "factor in cost": entry.plan.cost_factor,
                "held-out loss": entry.nlpd,
            }
            for number, entry in enumerate(self.rounds, start=1)
        ]
        sources = dict.fromkeys(entry.needs.source for entry in self.rounds)
        notes: tuple[str, ...] = (
            f"Spent {self.spent:,.6g} of {self.budget:,.6g}. n_l: rows that can be used, in all. "
            "factor: runs of level L alone that the plan was expected to be worth, as a multiple "
            "of its own, and in cost.",
            f"Planned from: {', then '.join(sources)}.",
        )
        if self._left_out:
            notes += (self._used,)
        title = f"Adaptive run, {len(self.rounds)} round(s), in {unit}"
        return Table(title, (first, *later), notes)

    @property
    def _left_out(self) -> bool:
        return self.levels != tuple(range(self.levels[-1] + 1))

    @property
    def _used(self) -> str:
        return f"Of the hierarchy's levels {list(self.levels)} were used."

    def __str__(self) -> str:
        """The result in words, with its warnings."""
        unit = " seconds" if self.cost_unit == "seconds" else ""
        rows = ", ".join(f"{n:,} at level {level}" for level, n in enumerate(self.data.n))
        kind, top = self.fit.blueprint.kind.capitalize(), len(self.data.n) - 1
        plan = self.rounds[-1].plan
        lines = [
            f"{kind} of level {top}, fitted to {rows}, in {len(self.rounds)} round(s) for "
            f"{self.spent:,.6g} of {self.budget:,.6g}{unit}.",
            f"Expected to be as good as {plan.single_n:,.0f} runs of level {top} alone, "
            f"which would cost {plan.cost_factor:.2g} times as much.",
            f"Check: {self.check}." if self.check is not None else "No check was made.",
        ]
        if self._left_out:
            lines.insert(1, f"{self._used} Here they count from 0.")
        return "\n".join([*lines, *(f"Warning: {text}" for text in self.warnings)])


def _by_level(n: tuple[int, ...]) -> dict[str, int]:
    return {f"n_{level}": count for level, count in enumerate(n)}


def _amount(value: float) -> Cell:
    """A large amount to the unit, which a table shows in full."""
    return round(value) if abs(value) >= 1000 else value
