"""The steps of a study, done up to one of them, with their live view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsbi.live.view import watch

if TYPE_CHECKING:
    from pathlib import Path

    from mlsbi.studies.steps import Desk
    from mlsbi.study import Step, Study

__all__ = ["STEPS", "Done", "do"]

STEPS = ("plan", "simulate", "fit", "check", "report")
_RESULT = {"simulate": "data"}  # names at the desk, where they are not the step's


@dataclass(frozen=True)
class Done:
    """Steps that are done.

    Attributes:
        results: Of each step, by its name.
        kept: Steps that were done before.
        steps: The state of all steps now.
    """

    results: dict[str, Any]
    kept: tuple[str, ...]
    steps: tuple[Step, ...]

    def path(self, name: str) -> Path:
        """Where a step's result is."""
        return next(step.path for step in self.steps if step.name == name)


def do(study: Study, last: str, *, again: bool = False, quiet: bool = False) -> Done:
    """Do what is missing up to a step.

    Args:
        study: The study.
        last: The step.
        again: Do the last step anew, though it is done.
        quiet: Show no progress.

    Returns:
        What came of it.

    Raises:
        ValueError: The study is wrong.
        RuntimeError: A simulator failed, or another process works in the output folder.
    """
    from mlsbi.studies.steps import at_desk

    command = "run" if last == "report" else last
    with at_desk(study, progress=True) as desk:
        if again:
            desk.journal.forget(last)
        before = {step.name: step.state for step in study.steps()}
        names = [name for name in STEPS[: STEPS.index(last) + 1] if before[name] != "not needed"]
        kept = [name for name in names if before[name] == "done"]
        with watch(f"mlsbi {command}: {study.name}", names, quiet=quiet) as view:
            view.budget = study.file.plan.budget if "plan" in names else None
            if len(kept) < len(names):
                desk.look_ahead()
            results = {}
            for name in names:
                with view.step(name, kept=name in kept):
                    results[name] = _result(desk, name)
    return Done(results, tuple(kept), study.steps())


def _result(desk: Desk, name: str) -> Any:
    return getattr(desk, _RESULT.get(name, name))
