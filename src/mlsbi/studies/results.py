"""What a study returns: the state of its steps, and all of them done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlsbi.checking.result import Check
    from mlsbi.data import MultilevelData
    from mlsbi.planning.plan import Plan
    from mlsbi.results import LikelihoodFit, PosteriorFit

__all__ = ["STEPS", "Step", "StudyResult"]

STEPS = ("pilot", "plan", "simulate", "fit", "check", "report")


@dataclass(frozen=True)
class Step:
    """One step of a study, as the output folder has it now.

    Attributes:
        name: "pilot", "plan", "simulate", "fit", "check" or "report".
        state: "done"; "stale": it was done, and what it depends upon is another now; "to do"; or
            "not needed".
        why: What makes it so, in words; empty where it is done.
        path: Where its result is kept.
        seconds: Wall-clock time that it took; None where it was not done, or is not known.
    """

    name: str
    state: str
    why: str
    path: Path
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The step in JSON types."""
        return {**vars(self), "path": str(self.path)}


@dataclass(frozen=True, eq=False)
class StudyResult:
    """All steps of a study; `print(result)` says how they ended.

    Attributes:
        plan: The plan; None where the runs are on disk, or the file says how many to make.
        data: The runs.
        fit: The fit.
        check: Whether it can be believed.
        report: The report's file.
    """

    plan: Plan | None
    data: MultilevelData
    fit: PosteriorFit | LikelihoodFit
    check: Check
    report: Path

    def __str__(self) -> str:
        """A few lines: runs, fit, verdict, and where the report is."""
        runs = ", ".join(f"{count:,}" for count in self.data.n)
        cost = "" if self.data.cost is None else f", cost {self.data.cost:,.6g}"
        found = [f"    {finding}" for finding in self.check.warnings]
        return "\n".join(
            [
                f"Runs:   {runs} (coarsest level first){cost}",
                f"Fit:    {self.fit.density} by {type(self.fit.strategy).__name__}, "
                f"{self.fit.status.short}",
                f"Check:  {self.check.state.value}, from {self.check.n:,} runs by "
                f"{self.check.source}",
                *found,
                f"Report: {self.report}",
            ]
        )
