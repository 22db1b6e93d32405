"""Studies: a whole job in one file, `study.toml`, for the command line and for Python.

A study names what `Hierarchy` is made of (prior, levels, noise), what may be spent, what was seen,
and where its output goes:

    [[parameters]]                       # theta, one table an entry
    name = "rate"
    low = 0.1
    high = 2.0

    [[levels]]                           # coarsest first
    simulator = "models:coarse"          # models.py lies beside the file
    [[levels]]
    command = "./fine --theta {theta} --seed {seed}"
    [plan]
    budget = 5000.0

`docs/studies.md` lists all keys. In `studies/`, `file.py` has the keys, `build.py` makes objects of
them, `arrays.py` reads runs on disk, `steps.py` does the steps, and `journal.py` remembers them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsbi._checks import check_type
from mlsbi.hierarchy import Hierarchy
from mlsbi.strategies import Strategy
from mlsbi.studies.build import build_hierarchy, build_strategy
from mlsbi.studies.errors import read_file
from mlsbi.studies.file import StudyFile
from mlsbi.studies.results import Step, StudyResult
from mlsbi.studies.steps import at_desk
from mlsbi.studies.validation import Validation

if TYPE_CHECKING:
    from torch import Tensor

    from mlsbi.checking.result import Check
    from mlsbi.data import MultilevelData
    from mlsbi.planning.pilot import Pilot
    from mlsbi.planning.plan import Plan
    from mlsbi.results import LikelihoodFit, PosteriorFit

__all__ = ["Step", "Study", "StudyResult", "Validation"]


@dataclass(frozen=True)
class Study:
    """A study's file, read and checked; make one with `Study.load`.

    Attributes:
        path: The file, absolute. What it names is looked for in its folder first.
        file: What it says, table by table.
        output: The output folder, absolute; made when something is written.
    """

    path: Path
    file: StudyFile
    output: Path

    @staticmethod
    def load(
        path: str | os.PathLike[str], *, output: str | os.PathLike[str] | None = None
    ) -> Study:
        """Read a study's file and check all its keys. No code of it runs yet.

        Args:
            path: The file.
            output: The output folder, in place of the file's.

        Returns:
            The study.

        Raises:
            TypeError: If an argument is no path.
            ValueError: If there is no such file, it is not TOML, or a key is wrong: the message
                has one line a key, with its path, its line, what came and what is allowed.
        """
        check_type(path, (str, os.PathLike), name="path", remedy="Pass the file's name.")
        if output is not None:
            check_type(output, (str, os.PathLike), name="output", remedy="Pass a folder's name.")
        place = Path(path).absolute()
        file = read_file(place)
        if output is None:
            named = file.study.output or f"{place.stem}-output"
            folder = place.parent / Path(named).expanduser()
        else:
            folder = Path(output).absolute()
        return Study(place, file, folder)

    @property
    def name(self) -> str:
        """The study's name; by default its file's."""
        return self.file.study.name or self.path.stem

    @property
    def seed(self) -> int:
        """The seed of everything."""
        return self.file.study.seed

    @property
    def parameter_names(self) -> tuple[str, ...] | None:
        """Names of theta's entries; None where the file has none."""
        return self.file.names

    @property
    def kind(self) -> str:
        """What is fitted, "posterior" or "likelihood"."""
        return self.file.kind

    @property
    def strategy(self) -> Strategy | None:
        """The strategy to plan for; None is the library's default."""
        return build_strategy(self.file.planned_strategy)

    @property
    def pilot_store(self) -> Path:
        """Where the pilot's runs are kept."""
        return self.output / "pilot"

    @property
    def cores(self) -> int:
        """Workers that a deadline is planned for: `plan.cores`, or `run.executor`, or 1."""
        workers = self.file.run.executor
        return self.file.plan.cores or (workers if isinstance(workers, int) else 1)

    def hierarchy(self) -> Hierarchy:
        """Import what the file names, and put the hierarchy together.

        The file's folder comes first on `sys.path` from then on, as a script's does.

        Returns:
            The hierarchy.

        Raises:
            ValueError: If something that the file names is not there or cannot be imported, or is
                not what it must be; the message names the key.
        """
        try:
            return build_hierarchy(self.file, self.path.parent)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: {error}") from error

    def observed(self) -> Tensor | None:
        """The observation of the file, as it stands there; None where it has none.

        Raises:
            ValueError: If it cannot be read.
        """
        from mlsbi.studies.arrays import read_observation

        return read_observation(self)

    def validate(self, *, progress: bool = False) -> Validation:
        """Run each level a few times, and look at all that the file names; print what is returned.

        What is wrong is in its `problems`, a simulator that raises included. Nothing is written.
        """
        from mlsbi.studies.validate import validate

        return validate(self, progress=progress)

    def steps(self) -> tuple[Step, ...]:
        """How far the output folder is, step by step; nothing is run or written."""
        from mlsbi.studies.state import states

        return states(self)

    def pilot(self, *, n: int | None = None, progress: bool = False) -> Pilot:
        """Run the pilot, or go on with it: its runs are kept in the output folder.

        Args:
            n: Runs of every level; by default the file's `pilot.n`.
            progress: Whether to show progress on stderr.

        Raises:
            ValueError: If the file names something that is not there, its runs are on disk, or the
                output folder holds the pilot of other simulators.
            RuntimeError: If a simulator fails (all its runs, or one with `on_failure = "raise"`),
                or another process works in the output folder.
        """
        with at_desk(self, progress=progress) as desk:
            return desk.pilot(n)

    def plan(self, *, progress: bool = False) -> Plan | None:
        """How many runs of each level to make, by the file's `[plan]`; kept in `plan.json`.

        None where the runs are on disk, or `simulate.n` says how many to make. Errors are those of
        `pilot`; a `ValueError` says, too, that nothing limits the plan, or that it has no room.
        """
        with at_desk(self, progress=progress) as desk:
            return desk.plan

    def simulate(self, *, progress: bool = False) -> MultilevelData:
        """Make the runs that are missing, or read them where they are on disk.

        They are kept in `runs.zarr`, and a call that was cut short goes on there. The pilot's runs
        count, and come first. Errors are those of `plan`; a `ValueError` says, too, that the output
        folder holds runs of other simulators, or that an array is not what it must be, and a
        `RuntimeError` that a simulator failed: finished runs are kept.
        """
        with at_desk(self, progress=progress) as desk:
            return desk.data

    def fit(self, *, progress: bool = False) -> PosteriorFit | LikelihoodFit:
        """Learn from the runs as `[fit]` says, or load what was learned from the same before.

        The fit is kept in the folder `fit`. Errors are those of `simulate`; a `ValueError` says,
        too, that a key of `[fit]` does not go with the runs.
        """
        with at_desk(self, progress=progress) as desk:
            return desk.fit

    def check(self, *, progress: bool = False) -> Check:
        """Check the fit: on held-out runs where `[check]` names some, else by cross-fitting.

        The check is kept in `check.json`. Errors are those of `fit`; a `ValueError` says, too, that
        the observation or the held-out runs do not go with the fit.
        """
        with at_desk(self, progress=progress) as desk:
            return desk.check

    def report(self, *, progress: bool = False) -> Path:
        """Write the report, and return its file, `report.html`. Errors are those of `check`."""
        with at_desk(self, progress=progress) as desk:
            return desk.report

    def run(self, *, progress: bool = False) -> StudyResult:
        """Do all steps that are not done: plan, simulate, fit, check, report.

        What the later steps need is looked at before the first run is made. Errors are those of
        the steps, and leave what was done before as it is.
        """
        with at_desk(self, progress=progress) as desk:
            desk.look_ahead()
            return desk.result

    def sample(self, n: int, *, x: Any = None, seed: int | None = None) -> Tensor:
        """Draws from the posterior of the fit that is in the output folder.

        Args:
            n: Number of draws.
            x: The observation, shape `(*event,)`, or m independent ones `(m, *event)` for a
                likelihood fit; by default that of the file.
            seed: Same seed, same draws; by default the study's.

        Returns:
            Shape `(n, d)`. Those of a likelihood fit come from importance sampling.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If there is no observation or no fit yet, the fit is of another state of the
                file, or an argument has a wrong value.
        """
        from mlsbi.studies.sample import sample

        return sample(self, n, x=x, seed=seed)

    def allocate(
        self,
        pilot: Pilot,
        *,
        budget: float | None = None,
        error: float | None = None,
        deadline: float | None = None,
        cores: int | None = None,
    ) -> Plan:
        """The plan for what may be spent on new runs; by default what the file's `[plan]` says.

        Args:
            pilot: The study's pilot.
            budget: In the unit of the costs; takes the place of the file's budget and error.
            error: The error to reach at the least cost; takes the place of both, too.
            deadline: Seconds that the runs may take on `cores` workers.
            cores: Number of workers.

        Raises:
            ValueError: If neither budget, error nor deadline is given, here or in the file, or
                nothing can be planned within them.
        """
        plan = self.file.plan
        if budget is None and error is None:
            budget, error = plan.budget, plan.error
        return pilot.allocate(
            budget=budget,
            error=error,
            strategy=self.strategy,
            kind=self.file.planned_kind,
            minimum=plan.minimum,
            existing=pilot.data,
            deadline=plan.deadline if deadline is None else deadline,
            cores=self.cores if cores is None else cores,
            seed=self.seed,
        )
