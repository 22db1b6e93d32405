"""Studies: a whole job in one file, `study.toml`, for the command line and for Python.

A study names what `Hierarchy` is made of (prior, levels, noise), where its output goes, and what
may be spent:

    [[parameters]]                       # theta, one table an entry
    name = "rate"
    low = 0.1
    high = 2.0

    [[levels]]                           # coarsest first
    simulator = "models:coarse"          # models.py lies beside the file
    cost = 1.0

    [[levels]]
    command = "./fine --theta {theta} --seed {seed}"
    cost = 40.0

    [plan]
    budget = 5000.0

`docs/studies.md` lists all keys.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mlsbi._checks import check_type
from mlsbi._study_build import build_hierarchy, build_strategy
from mlsbi._study_errors import explain
from mlsbi._study_file import StudyFile
from mlsbi.hierarchy import Hierarchy
from mlsbi.strategies import Strategy

if TYPE_CHECKING:
    from mlsbi.planning.pilot import Pilot
    from mlsbi.planning.plan import Plan

__all__ = ["Study"]


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
        file = _read(place)
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
        """Names of theta's entries, None where the prior comes from Python."""
        tables = self.file.parameters
        return None if tables is None else tuple(table.name for table in tables)

    @property
    def strategy(self) -> Strategy | None:
        """The strategy to plan for; None is the library's default."""
        return build_strategy(self.file.plan.strategy)

    @property
    def pilot_store(self) -> Path:
        """Where the pilot's runs are kept."""
        return self.output / "pilot"

    @property
    def cores(self) -> int:
        """Workers that a deadline is planned for: `plan.cores`, or `run.executor`, or 1."""
        return self.file.plan.cores or self.file.run.executor or 1

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

    def pilot(self, *, n: int | None = None, progress: bool = False) -> Pilot:
        """Run the pilot, or go on with it: its runs are kept in the output folder.

        Args:
            n: Runs of every level; by default the file's `pilot.n`.
            progress: Whether to show progress on stderr.

        Returns:
            The pilot.

        Raises:
            ValueError: If the file names something that is not there, or the output folder holds
                the pilot of other simulators.
            RuntimeError: If a simulator fails (all its runs, or one with `on_failure = "raise"`).
        """
        from mlsbi.planning.pilot import pilot

        run = self.file.run.model_dump(exclude_none=True)  # its keys are the arguments' names
        return pilot(
            self.hierarchy(),
            n=self.file.pilot.n if n is None else n,
            seed=self.seed,
            store=self.pilot_store,
            progress=progress,
            **run,
        )

    def allocate(
        self,
        pilot: Pilot,
        *,
        budget: float | None = None,
        error: float | None = None,
        deadline: float | None = None,
        cores: int | None = None,
    ) -> Plan:
        """The plan for what may be spent; by default what the file's `[plan]` says.

        Args:
            pilot: The study's pilot.
            budget: In the unit of the costs; takes the place of the file's budget and error.
            error: The error to reach at the least cost; takes the place of both, too.
            deadline: Seconds that the runs may take on `cores` workers.
            cores: Number of workers.

        Returns:
            The plan.

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
            kind=plan.kind,
            minimum=plan.minimum,
            deadline=plan.deadline if deadline is None else deadline,
            cores=self.cores if cores is None else cores,
            seed=self.seed,
        )


def _read(path: Path) -> StudyFile:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"path must name a study's file, TOML in UTF-8; got {str(path)!r}, which cannot be "
            f"read ({error}). Pass the name of a file such as study.toml."
        ) from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}.") from error
    try:
        return StudyFile.model_validate(tables)
    except ValidationError as error:
        raise ValueError(f"{path} is no study:\n{explain(error, StudyFile, text)}") from None
