"""What `mlsbi plan` says: the pilot's table and verdict, plans, and what to do next."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsbi._json import to_json
from mlsbi._replaced import replaced
from mlsbi._table import Table
from mlsbi.study import Study

if TYPE_CHECKING:
    from mlsbi.planning.pilot import Pilot
    from mlsbi.planning.plan import Plan
    from mlsbi.planning.subsets import Choices

__all__ = ["Advice", "Wishes", "advise"]

_TOP_RUNS = (30, 100, 300)  # without a budget: what so many runs of level L alone would cost


Lines = tuple[str, ...]


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for in place of the file; None: what the file says."""

    n: int | None = None
    budget: float | None = None
    error: float | None = None
    deadline: float | None = None
    cores: int | None = None


@dataclass(frozen=True)
class Advice:
    """All that is said.

    Attributes:
        study: The study.
        pilot: Its pilot.
        plan: What to run; None where nothing limits it, or there is none.
        problem: Why there is none.
        around: Plans for other budgets.
        choice: Which levels to use; None with fewer than three, or without a budget.
        next: Lines of Python that do it.
    """

    study: Study
    pilot: Pilot
    plan: Plan | None
    problem: str | None
    around: Table | None
    choice: Choices | None
    next: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return self.study.output / "plan.json"

    @property
    def faults(self) -> int:
        """How many faults the doctor found."""
        return sum(found.severity == "fault" for found in self.pilot.diagnosis.findings)

    def write(self) -> None:
        """Keep the document in the output folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(self.path) as part:
            part.write_text(self.to_json() + "\n", encoding="utf-8")

    def to_json(self) -> str:
        """The document that `--json` prints."""
        pilot, diagnosis = self.pilot, self.pilot.diagnosis
        return to_json(
            {
                "study": self.study.name,
                "file": str(self.study.path),
                "seed": self.study.seed,
                "output": str(self.study.output),
                "pilot": {
                    "n": len(pilot.columns),
                    "cost": pilot.cost,
                    "cost_unit": pilot.cost_unit,
                    "costs": pilot.costs,
                    "table": pilot.statistics.table().to_dict(),
                },
                "diagnosis": {
                    "verdict": diagnosis.verdict.name,
                    "factor": diagnosis.factor,
                    "text": str(diagnosis),
                    "findings": [_finding(found) for found in diagnosis.findings],
                },
                "plan": None if self.plan is None else self.plan.to_dict(),
                "problem": self.problem,
                "around": None if self.around is None else self.around.to_dict(),
                "levels": self._levels(),
                "next": list(self.next),
            }
        )

    def __str__(self) -> str:
        """The same to read."""
        parts = [f"Study: {self.study.name}", str(self.pilot)]
        parts += [] if self.plan is None else [str(_silent(self.plan))]
        parts += [] if self.problem is None else [f"No plan: {self.problem}"]
        parts += [str(part) for part in (self.around, self.choice) if part is not None]
        return "\n\n".join([*parts, self._outlook()])

    def _levels(self) -> dict[str, Any] | None:
        if self.choice is None:
            return None
        return {"best": self.choice.best.levels, **_silent(self.choice).to_dict()}

    def _outlook(self) -> str:
        """What comes next."""
        head = "Next:"
        if self.problem is not None:
            return "Mend what is named above, and plan again."
        if self.faults:
            head = "Mend what the doctor calls a fault, and plan again before you spend. Then:"
        return "\n".join([head, *(f"    {line}" for line in self.next)])


def _finding(found: Any) -> dict[str, Any]:
    return {
        name: getattr(found, name) for name in ("code", "level", "severity", "message", "remedy")
    }


def _silent(planned: Any) -> Table:
    """The table of something whose `table` prints it, too."""
    with redirect_stdout(io.StringIO()):
        table: Table = planned.table()
    return table


def advise(study: Study, wishes: Wishes, *, progress: bool = False) -> Advice:
    """Run the pilot, and plan.

    Args:
        study: The study.
        wishes: What takes the place of its `[pilot]` and `[plan]`.
        progress: Whether to show progress on stderr.

    Returns:
        The advice.

    Raises:
        ValueError: If the study names something that is not there.
        RuntimeError: If a simulator fails.
    """
    pilot = study.pilot(n=wishes.n, progress=progress)
    plan, around, problem = None, None, None
    try:
        if _limited(study, wishes):
            if wishes == Wishes():
                plan = study.plan()  # noted, so that the next steps find it
            if plan is None:
                plan = study.allocate(pilot, **_limits(wishes))
            budgets = [] if plan.budget is None else [plan.budget * x for x in (0.5, 1, 2)]
            around = _around(plan, budgets, study.file.plan.minimum)
        else:
            budgets = [runs * pilot.costs[-1] for runs in _TOP_RUNS]
            around = _around(
                study.allocate(pilot, budget=budgets[-1]), budgets, study.file.plan.minimum
            )
    except ValueError as error:
        problem = str(error)
    choice = None
    if plan is not None and plan.budget is not None and len(plan) >= 3:
        choice = pilot.choose_levels(
            plan.budget, strategy=study.strategy, kind=study.file.planned_kind, seed=study.seed
        )
    lines = _next(study, wishes, plan, choice) if problem is None else ()
    return Advice(study, pilot, plan, problem, around, choice, lines)


def _limits(wishes: Wishes) -> dict[str, Any]:
    return {name: getattr(wishes, name) for name in ("budget", "error", "deadline", "cores")}


def _limited(study: Study, wishes: Wishes) -> bool:
    """Whether the file or the command line limits what is run."""
    own = study.file.plan
    given = (wishes.budget, wishes.error, wishes.deadline, own.budget, own.error, own.deadline)
    return any(value is not None for value in given)


def _around(plan: Plan, budgets: Sequence[float], minimum: int | list[int] | None) -> Table | None:
    """Plans for other budgets, all else as in `plan`."""
    if not budgets:
        return None
    rows = [{"budget": _short(budget), **_bought(plan, budget, minimum)} for budget in budgets]
    note = (
        "as good as: that many runs of the finest level alone; per top run: over those of the "
        "plan; per cost: over those that the same money buys."
    )
    return Table("Other budgets", tuple(rows), (note,))


def _bought(plan: Plan, budget: float, minimum: int | list[int] | None) -> dict[str, Any]:
    from mlsbi.planning.plan import make_plan

    try:
        other = make_plan(
            plan.needs,
            plan.costs,
            budget=budget,
            minimum=minimum,
            existing=plan.existing,
            seconds=plan.run_seconds or None,
            deadline=plan.deadline,
            cores=plan.cores,
            cost_unit=plan.cost_unit,
        )
    except ValueError as error:
        return {"n": f"none: {str(error).partition(';')[0]}"}
    return {
        "n": ", ".join(f"{count:,}" for count in other.n),
        "cost": _short(other.cost),
        "as good as": _short(other.single_n),
        "per top run": other.factor,
        "per cost": other.cost_factor,
    }


def _short(value: float) -> float:
    """Whole where that loses nothing to speak of: tables then show all digits."""
    return round(value) if 100 <= value < math.inf else value


def _next(study: Study, wishes: Wishes, plan: Plan | None, choice: Choices | None) -> Lines:
    """Lines of Python that make the runs, and do all that follows."""
    if plan is None:
        return ("choose a budget: mlsbi plan ... --budget B, or budget = B in [plan] of the file",)
    lines = []
    if choice is not None and len(choice.best.levels) < len(plan):
        lines.append(
            f"# levels {list(choice.best.levels)} alone are expected to do better, with "
            f"{list(choice.best.plan)} runs: leave the other levels out of the file"
        )
    asked = {**_limits(wishes), "n": wishes.n}
    given = [
        f"{name} = {value:g} in [{'pilot' if name == 'n' else 'plan'}]"
        for name, value in asked.items()
        if value is not None
    ]
    if given:
        lines.append(f"# the steps go by the file; write there: {', '.join(given)}")
    return (
        *lines,
        "import mlsbi",
        f"study = mlsbi.Study.load({str(study.path)!r})",
        "result = study.run()  # or study.simulate(), .fit(), .check(), .report() one by one",
    )
