"""How far a study's output folder is: the state of each step, without doing any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlsbi.studies.inputs import Inputs
from mlsbi.studies.journal import Journal, digest
from mlsbi.studies.results import Step
from mlsbi.studies.steps import stored_plan

if TYPE_CHECKING:
    from mlsbi.planning.plan import Plan
    from mlsbi.study import Study

__all__ = ["states"]

DONE, STALE, TO_DO, NOT_NEEDED = "done", "stale", "to do", "not needed"

_CHANGED = {
    "pilot": "the file says something else of prior, levels, seed or [pilot]",
    "plan": "the file says something else of what may be spent or planned for",
    "simulate": "the plan, the file or its arrays are others now",
    "fit": "the runs, [fit] or a module that it names are others now",
    "check": "the fit, [check] or the observation are others now",
    "report": "the check or the words of the report are others now",
}


def states(study: Study) -> tuple[Step, ...]:
    """The state of each step, in order."""
    return _Reader(study).read()


class _Reader:
    """Reads the journal beside the file."""

    def __init__(self, study: Study) -> None:
        self.study, self.file, self.output = study, study.file, study.output
        self.journal, self.inputs = Journal(study.output), Inputs(study)
        self.steps: list[Step] = []

    def read(self) -> tuple[Step, ...]:
        """All steps."""
        inputs, output = self.inputs, self.output
        if self.file.source == "simulators" and self.file.simulate.n is None:
            self._add("pilot", output / "pilot", inputs.pilot)
            self._add("plan", output / "plan.json", self._plan_inputs)
        else:
            why = "the file says how many runs to make"
            if self.file.source != "simulators":
                why = "the runs are on disk"
            for name, file in (("pilot", "pilot"), ("plan", "plan.json")):
                self.steps.append(Step(name, NOT_NEEDED, why, output / file))
        self._add("simulate", self._runs_path(), lambda: inputs.runs(self._counts()))
        note = self.journal.find("simulate")
        runs = "" if note is None else str(note.result["runs"])
        self._add("fit", output / "fit", lambda: inputs.fit(runs))
        self._add("check", output / "check.json", lambda: inputs.check(runs))
        self._add("report", output / "report.html", lambda: inputs.report(runs))
        return tuple(self.steps)

    def _add(self, name: str, path: Path, inputs: Callable[[], str]) -> None:
        note = self.journal.find(name)
        seconds = None if note is None else note.seconds
        state, why = self._judged(name, path, inputs)
        self.steps.append(Step(name, state, why, path, seconds))

    def _judged(self, name: str, path: Path, inputs: Callable[[], str]) -> tuple[str, str]:
        note = self.journal.find(name)
        other = TO_DO if note is None else STALE
        open_steps = [step.name for step in self.steps if step.state in {STALE, TO_DO}]
        if open_steps:
            return other, f"{open_steps[0]} comes first{self._begun(name, path)}"
        try:
            wanted = inputs()
        except ValueError as error:
            return other, str(error)
        if note is None:
            return TO_DO, f"it was not done yet{self._begun(name, path)}"
        if note.inputs != wanted:
            return STALE, f"{_CHANGED[name]}{self._begun(name, path)}"
        if not path.exists():
            return TO_DO, f"{path.name} is gone"
        return DONE, ""

    def _plan_inputs(self) -> str:
        plan = self.file.plan
        if plan.budget is None and plan.error is None and plan.deadline is None:
            raise ValueError("the file does not say what may be spent: budget in [plan]")
        stored, note = self._planned(), self.journal.find("plan")
        if note is not None and (stored is None or note.result != digest(stored.to_dict())):
            raise ValueError("plan.json holds another plan than the file's")
        return self.inputs.plan()

    def _planned(self) -> Plan | None:
        return stored_plan(self.output / "plan.json")

    def _counts(self) -> tuple[int, ...] | None:
        if self.file.source != "simulators":
            return None
        stored = self.file.simulate.n or self._planned()
        return tuple(stored or ())

    def _runs_path(self) -> Path:
        if self.file.data is not None:
            return self.study.path.parent / Path(self.file.data.path).expanduser()
        return self.study.path if self.file.source == "arrays" else self.output / "runs.zarr"

    def _begun(self, name: str, path: Path) -> str:
        """How many runs of a campaign are there, in words; empty for other steps."""
        if name != "simulate" or self.file.source != "simulators" or not path.is_dir():
            return ""
        from mlsbi.simulate._rows import DONE as FINISHED
        from mlsbi.simulate._store import read_store

        try:
            reader = read_store(path)
            rows = [int((reader.status(i) == FINISHED).sum()) for i in range(reader.num_levels)]
        except ValueError:
            return ""
        return f"; {', '.join(map(str, rows))} runs are there"
