"""What each step of a study depends upon, as digests of plain values.

Words of the file, the digest of the runs, and the text of modules that `[fit]` names. Simulators
are not among them: the stores of the pilot and of the campaign know what their rows are of.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsbi.simulate._fingerprint import value_digest
from mlsbi.studies.file import words
from mlsbi.studies.journal import digest

if TYPE_CHECKING:
    from mlsbi.study import Study

__all__ = ["Inputs"]


class Inputs:
    """The digests of one study's steps."""

    def __init__(self, study: Study) -> None:
        """Of this study."""
        self.study, self.file = study, study.file

    def pilot(self) -> str:
        """Of the pilot's runs."""
        return digest([self._source(), self.study.seed, self.file.pilot.n])

    def plan(self) -> str:
        """Of the plan."""
        file, plan = self.file, words(self.file.plan)
        workers = self.study.cores if file.plan.deadline is not None else None
        kind, strategy = file.planned_kind, file.planned_strategy
        return digest([self.pilot(), plan, workers, kind, strategy])

    def runs(self, n: tuple[int, ...] | None) -> str:
        """Of the runs; `n` is what the plan says, None where there is none."""
        from mlsbi.studies.arrays import stamps

        if self.file.source != "simulators":
            policy = self.file.run.on_failure
            return digest([self._source(), policy, stamps(self.study)])
        pilot = None if self.file.simulate.n else self.pilot()
        return digest([self._source(), self.study.seed, pilot, list(n or ())])

    def fit(self, runs: str) -> str:
        """Of the fit to runs of this digest."""
        fit = words(self.file.fit) | {"kind": self.file.kind, "strategy": self.file.strategy}
        fit.pop("device", None)  # where it was trained is not what was trained
        code = [
            _text_of(reference, self.study.path.parent)
            for reference in (fit["estimator"], fit.get("embedding_net"))
        ]
        return digest([runs, fit, code, self.study.seed])

    def check(self, runs: str) -> str:
        """Of the check of that fit."""
        from mlsbi.studies.arrays import read_held_out

        own, held_out = words(self.file.check), read_held_out(self.study)
        held = None if held_out is None else [value_digest(array) for array in held_out]
        return digest([self.fit(runs), own, held, self._observed(), self._labels()])

    def report(self, runs: str) -> str:
        """Of the report of that check."""
        true = None if self.file.observation is None else self.file.observation.theta
        names = [table.name for table in self.file.levels or []]
        own = [words(self.file.report), self.study.name, true, names]
        return digest([self.check(runs), own])

    def _source(self) -> Any:
        """What the file says of prior, levels and noise."""
        keys = ("hierarchy", "parameters", "prior", "levels", "noise", "data")
        return self.file.model_dump(include=set(keys), exclude_none=True)

    def _observed(self) -> str | None:
        x_o = self.study.observed()
        return None if x_o is None else value_digest(x_o)

    def _labels(self) -> list[str] | None:
        names = self.study.parameter_names
        return None if names is None else list(names)


def _text_of(reference: str | None, folder: Path) -> str | None:
    """Digest of the text of the module beside the file that a reference names, if there is one."""
    if reference is None or ":" not in reference:
        return None
    stem = folder.joinpath(*reference.partition(":")[0].split("."))
    for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
        if path.is_file():
            return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return None
