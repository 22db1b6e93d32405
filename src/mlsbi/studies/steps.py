"""The steps of a study: each does what is missing, and takes from the output folder what counts."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsbi._data_digest import runs_digest
from mlsbi._json import to_json
from mlsbi._replaced import replaced
from mlsbi.data import MultilevelData
from mlsbi.studies.arrays import read_held_out, read_runs
from mlsbi.studies.file import words
from mlsbi.studies.fitting import fit_options, load, opened_executor
from mlsbi.studies.inputs import Inputs
from mlsbi.studies.journal import Journal, at_work, digest
from mlsbi.studies.judge import judge, write
from mlsbi.studies.results import StudyResult

if TYPE_CHECKING:
    from mlsbi.checking.result import Check
    from mlsbi.planning.pilot import Pilot
    from mlsbi.planning.plan import Plan
    from mlsbi.results import LikelihoodFit, PosteriorFit
    from mlsbi.study import Study

__all__ = ["Desk", "at_desk", "stored_plan"]

_log = logging.getLogger("mlsbi")


@contextmanager
def at_desk(study: Study, *, progress: bool) -> Iterator[Desk]:
    """Work on a study's steps, alone in its output folder.

    Raises:
        RuntimeError: Another process works there.
        ValueError: The folder cannot be made.
    """
    with at_work(study.output) as journal:
        yield Desk(study, journal, progress=progress)


class Desk:
    """The steps of one study; each is done once."""

    def __init__(self, study: Study, journal: Journal, *, progress: bool) -> None:
        """Nothing is done yet."""
        self.study, self.journal, self.progress = study, journal, progress
        self.file, self.output = study.file, study.output
        self.inputs = Inputs(study)

    def look_ahead(self) -> None:
        """Read all that later steps need, so that what is wrong is found before runs are made.

        Raises:
            ValueError: Something is wrong.
        """
        if self.file.source == "simulators":
            self.study.hierarchy()
            self._check_limited()
        fit_options(self.study)
        self.study.observed()
        read_held_out(self.study)

    def _check_limited(self) -> None:
        plan = self.file.plan
        given = (plan.budget, plan.error, plan.deadline, self.file.simulate.n)
        if all(value is None for value in given):
            raise ValueError(
                f"{self.study.path}: plan must have budget, error or deadline, or simulate must "
                "have n, to say how many runs to make; got none. mlsbi plan shows what budgets buy"
            )

    def pilot(self, n: int | None = None) -> Pilot:
        """The pilot, its missing runs made."""
        from mlsbi.planning.pilot import pilot

        hierarchy = self.study.hierarchy()
        count = self.file.pilot.n if n is None else n
        inputs, began = self.inputs.pilot(), time.perf_counter()
        known = self.journal.holds("pilot", inputs) if count == self.file.pilot.n else None
        there = known is not None and self.study.pilot_store.is_dir()
        with _runs_kept(self.study.pilot_store), self._simulators(there=there) as options:
            found = pilot(
                hierarchy, n=count, seed=self.study.seed, store=self.study.pilot_store,
                progress=self.progress, **options,
            )  # fmt: skip
        if known is None and count == self.file.pilot.n:
            self.journal.note("pilot", inputs, seconds=time.perf_counter() - began)
        return found

    @cached_property
    def piloted(self) -> Pilot:
        """The pilot of the file."""
        return self.pilot()

    @cached_property
    def plan(self) -> Plan | None:
        """The plan, as it was made or made now; None where none is wanted."""
        if self.file.source != "simulators" or self.file.simulate.n is not None:
            return None
        self._check_limited()
        inputs = self.inputs.plan()
        known, path = self.journal.holds("plan", inputs), self.output / "plan.json"
        stored = None if known is None else stored_plan(path)
        if known is not None and stored is not None and digest(stored.to_dict()) == known.result:
            return stored
        pilot, began = self.piloted, time.perf_counter()
        try:
            made = self.study.allocate(pilot)
        except ValueError as error:
            raise ValueError(f"{self.study.path}: [plan]: {error}") from error
        record = {
            "study": self.study.name,
            "file": str(self.study.path),
            "seed": self.study.seed,
            "output": str(self.output),
            "plan": made.to_dict(),
        }
        with replaced(path) as part:
            part.write_text(to_json(record) + "\n", encoding="utf-8")
        result, seconds = digest(made.to_dict()), time.perf_counter() - began
        self.journal.note("plan", inputs, result=result, seconds=seconds)
        return made

    @cached_property
    def data(self) -> MultilevelData:
        """The runs: those on disk, or the pilot's and the campaign's."""
        planned = self.plan
        counts = tuple(self.file.simulate.n or planned or ()) or None
        inputs, began = self.inputs.runs(counts), time.perf_counter()
        known = self.journal.holds("simulate", inputs)
        if counts is None:
            data = read_runs(self.study)
        else:
            data = self._campaign(counts, piloted=planned is not None, there=known is not None)
        result = {"runs": runs_digest(data), "n": list(data.n)}  # of what later steps depend upon
        if known is None or known.result != result:
            seconds = None if known is not None else time.perf_counter() - began
            self.journal.note("simulate", inputs, result=result, seconds=seconds)
        return data

    def _campaign(self, counts: tuple[int, ...], *, piloted: bool, there: bool) -> MultilevelData:
        from mlsbi.simulate import simulate

        hierarchy, store = self.study.hierarchy(), self.output / "runs.zarr"
        extend = self.piloted.data if piloted else None
        with _runs_kept(store), self._simulators(there=there and store.is_dir()) as options:
            return simulate(
                hierarchy, counts, seed=self.study.seed, store=store, extend=extend,
                progress=self.progress, **options,
            )  # fmt: skip

    @contextmanager
    def _simulators(self, *, there: bool) -> Iterator[dict[str, Any]]:
        """The arguments that run simulators; without an executor where all runs are there."""
        options = words(self.file.run)
        options.pop("executor", None)
        if there:
            yield options
            return
        with opened_executor(self.study) as executor:
            yield options | {"executor": executor}

    @cached_property
    def runs(self) -> str:
        """A name of the runs, which `data` has noted."""
        _ = self.data
        note = self.journal.find("simulate")
        return "" if note is None else str(note.result["runs"])

    @cached_property
    def fit(self) -> PosteriorFit | LikelihoodFit:
        """The fit: the one that is there if it is of the same runs and words, or a new one."""
        data, inputs, folder = self.data, self.inputs.fit(self.runs), self.output / "fit"
        if self.journal.holds("fit", inputs) and folder.is_dir():
            try:
                return load(self.study, data.prior)
            except ValueError as error:  # damaged, or of another version: made again
                _log.warning("the fit in %s is made again: %s", folder, error)
        options, began = fit_options(self.study), time.perf_counter()
        place = self._checkpoint(inputs)
        try:
            made = _fit(self.file.kind, data, options, place, progress=self.progress)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.study.path}: [fit]: {error}") from error
        seconds = time.perf_counter() - began
        self.journal.forget("fit")
        made.save(folder, overwrite=True)
        self.journal.note("fit", inputs, seconds=seconds)
        shutil.rmtree(place.parent, ignore_errors=True)
        return made

    def _checkpoint(self, inputs: str) -> Path:
        """A file for the training to go on from; that of another training is removed."""
        folder = self.output / "training"
        name = folder / "inputs"
        if not name.is_file() or name.read_text(encoding="utf-8") != inputs:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            name.write_text(inputs, encoding="utf-8")
        return folder / "fit.checkpoint"

    @cached_property
    def check(self) -> Check:
        """The check, as it was made or made now."""
        from mlsbi.checking.result import Check

        fit, inputs, path = self.fit, self.inputs.check(self.runs), self.output / "check.json"
        if self.journal.holds("check", inputs) and path.is_file():
            try:
                return Check.load(path)
            except ValueError as error:
                _log.warning("the check in %s is made again: %s", path, error)
        began = time.perf_counter()
        made = judge(self.study, fit, self.data, progress=self.progress)
        self.journal.forget("check")
        with replaced(path) as part:
            made.save(part)
        self.journal.note("check", inputs, seconds=time.perf_counter() - began)
        return made

    @cached_property
    def report(self) -> Path:
        """The report, as it was written or written now."""
        check, inputs = self.check, self.inputs.report(self.runs)
        path = self.output / "report.html"
        if self.journal.holds("report", inputs) and path.is_file():
            return path
        began = time.perf_counter()
        self.journal.forget("report")
        with replaced(path) as part:
            write(self.study, part, self.fit, self.data, check, progress=self.progress)
        self.journal.note("report", inputs, seconds=time.perf_counter() - began)
        return path

    @property
    def result(self) -> StudyResult:
        """All steps."""
        report = self.report
        return StudyResult(self.plan, self.data, self.fit, self.check, report)


def _fit(
    kind: str, data: MultilevelData, options: dict[str, Any], place: Path, *, progress: bool
) -> PosteriorFit | LikelihoodFit:
    from mlsbi.fit import fit_likelihood, fit_posterior

    fit = fit_posterior if kind == "posterior" else fit_likelihood
    return fit(data, **options, progress=progress, checkpoint=place)


def stored_plan(path: Path) -> Plan | None:
    """The plan in `plan.json`, None where there is none that can be read."""
    from mlsbi.planning.plan import Plan

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Plan.from_dict(record["plan"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def _runs_kept(store: Path) -> Iterator[None]:
    """Say what to do where a folder holds the runs of other simulators."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        if not text.startswith("store "):
            raise
        text = text.partition("\nPass ")[0]
        same = "have changed since" in text
        remedy = "if the change does not alter results, set allow_changes = true in [run]; or "
        raise ValueError(
            f"{text}\nA study does not throw runs away: {remedy if same else ''}name another "
            f"output folder (output in [study]), or delete {str(store)!r} to make its runs again."
        ) from error
