"""What `mlsbi.check` returns: scores, what they say, and how sure that is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import check_type
from mlsbi._json import to_json
from mlsbi._table import Table
from mlsbi.checking.bands import Band
from mlsbi.checking.comparison import Comparison
from mlsbi.checking.finding import Finding
from mlsbi.checking.observation import ObservationCheck
from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.two_level import TwoLevel
from mlsbi.checking.verdict import State, Verdict
from mlsbi.metrics import NLPD, Coverage
from mlsbi.metrics.lc2st import LocalTest

__all__ = ["CROSS_FITTED", "HELD_OUT", "Check"]

HELD_OUT, CROSS_FITTED = "held-out runs", "cross-fitting"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Check:
    """Whether a fit can be believed, from runs of level L that it has not seen.

    Attributes:
        kind: "posterior" or "likelihood": what was fitted. All but `log_likelihood` and
            `predictive_coverage` is of the posterior, either way.
        source: "held-out runs" or "cross-fitting".
        strategy: Of the fit, in a word.
        level: The finest level, L.
        labels: Names of the parameters.
        scores: Of each run.
        fold: The fold of each run, int64 `(n,)`; None for held-out runs.
        rows: The row of each run among level L's, or among the held-out runs, `(n,)`.
        nlpd: Of the posterior: mean, median, 90 % quantile and standard error of
            -log q(theta | x), in nats.
        nlpd_band: The mean and its interval.
        log_likelihood: Likelihood fits: the same of -log q(x | theta).
        coverage: Expected coverage of the joint highest-density regions.
        coverage_low: Lower end of each point's interval, `(k,)`.
        coverage_high: Upper end.
        marginal_coverage: The same as `coverage` of each parameter's own regions.
        predictive_coverage: Likelihood fits: coverage of the highest-density regions of
            q(x | theta).
        two_level: Coverage with the help of level L-1, and whether that is worth using; None where
            there is nothing to help.
        tests: p-values of uniform ranks.
        verdicts: First "joint", then one a parameter.
        comparison: With another fit on the same runs.
        findings: What to know before the fit is used, warnings first.
        observation: Of `x_o`, where one was given.
        local: A two-sample test of the posterior at `x_o`, from 20 runs on.
        seed: Of the check.
        seconds: Wall-clock time of the check.
    """

    kind: str
    source: str
    strategy: str
    level: int
    labels: tuple[str, ...]
    scores: RunScores = field(repr=False)
    fold: Tensor | None = field(repr=False)
    rows: Tensor = field(repr=False)
    nlpd: NLPD
    nlpd_band: Band
    log_likelihood: NLPD | None
    coverage: Coverage = field(repr=False)
    coverage_low: Tensor = field(repr=False)
    coverage_high: Tensor = field(repr=False)
    marginal_coverage: tuple[Coverage, ...] = field(repr=False)
    predictive_coverage: Coverage | None = field(repr=False)
    two_level: TwoLevel | None = field(repr=False)
    tests: Table = field(repr=False)
    verdicts: tuple[Verdict, ...]
    comparison: Comparison | None
    findings: tuple[Finding, ...]
    observation: ObservationCheck | None = field(repr=False)
    local: LocalTest | None
    seed: int
    seconds: float

    @property
    def n(self) -> int:
        """Number of runs that were scored."""
        return len(self.scores)

    @property
    def folds(self) -> int | None:
        """Number of folds that were scored; None for held-out runs."""
        return None if self.fold is None else len(self.fold.unique())

    @property
    def verdict(self) -> Verdict:
        """That of all parameters together."""
        return self.verdicts[0]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that say that results may be wrong, those of the observation included."""
        own = () if self.observation is None else tuple(self.observation.findings)
        return tuple(f for f in (*self.findings, *own) if f.severity == "warning")

    @property
    def ok(self) -> bool:
        """Whether nothing was found to be wrong; too few runs to tell is not wrong."""
        return not self.warnings and not any(v.state.alarm for v in self.verdicts)

    @property
    def state(self) -> State:
        """The worst of the verdicts' states: an alarm, else undecided, else calibrated."""
        states = [v.state for v in self.verdicts]
        alarms = [s for s in states if s.alarm]
        undecided = [s for s in states if s is State.UNDECIDED]
        return (alarms or undecided or states)[0]

    def __str__(self) -> str:
        """A page that reads well on a terminal, warnings first."""
        from mlsbi.checking.page import page

        return page(self)

    def __repr__(self) -> str:
        return (
            f"Check({self.kind} fit by {self.strategy}, {self.n} runs, {self.source}: "
            f"{self.state.value}, {len(self.warnings)} warning(s))"
        )

    def to_dict(self) -> dict[str, Any]:
        """The check in JSON types; numbers that are not finite are floats still."""
        return {"format": _FORMAT} | {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Check:
        """The check that `to_dict` described.

        Raises:
            ValueError: It is not that of a check, or of another version's.
        """
        found = record.get("format") if isinstance(record, Mapping) else None
        if found != _FORMAT:
            raise ValueError(
                f"record must be a check of format {_FORMAT}; got {found!r}. Use the version of "
                "mlsbi that wrote it, or check again."
            )
        try:
            return Check(**{f.name: _READ[f.name](record[f.name]) for f in fields(Check)})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"record is damaged, or of another version of mlsbi ({type(error).__name__}: "
                f"{error}). Use the version that wrote it, or check again."
            ) from error

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the check to a JSON file.

        Args:
            path: The file.
            overwrite: Replace a file that is there.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The file exists and `overwrite` is false.
        """
        place = _as_file(path)
        check_type(overwrite, bool, name="overwrite", remedy="Pass True or False.")
        if place.exists() and (not overwrite or place.is_dir()):
            raise ValueError(f"path: {place} exists; name another file, or pass overwrite=True")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(to_json(self.to_dict()) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Check:
        """Read a check that `save` wrote.

        Raises:
            TypeError: `path` is no path.
            ValueError: There is no such file, or it holds no check.
        """
        place = _as_file(path)
        try:
            record = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"path: no check can be read from {place}: {error}. Pass a file that check.save "
                "wrote."
            ) from error
        return Check.from_dict(record)


def _as_file(path: Any) -> Path:
    check_type(path, (str, os.PathLike), name="path", remedy="Pass a file's name.")
    return Path(path)


def _plain(value: Any) -> Any:
    if isinstance(value, Coverage):
        return {"empirical": value.empirical.tolist(), "ranks": value.ranks.tolist()} | {
            "levels": value.levels.tolist(),
            "error": value.error,
            "bias": value.bias,
        }
    if isinstance(value, NLPD):
        return vars(value)
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


def _tensor(values: Any) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def _numbers(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _coverage(record: Mapping[str, Any]) -> Coverage:
    return Coverage(*(_tensor(record[name]) for name in ("levels", "empirical", "ranks")))


def _nlpd(record: Mapping[str, Any]) -> NLPD:
    return NLPD(**{name: float(value) for name, value in record.items()})


def _maybe(read: Any) -> Any:
    return lambda value: None if value is None else read(value)


def _each(read: Any) -> Any:
    return lambda values: tuple(read(value) for value in values)


_READ: dict[str, Any] = {
    "kind": str,
    "source": str,
    "strategy": str,
    "level": int,
    "labels": _each(str),
    "scores": RunScores.from_dict,
    "fold": _maybe(_numbers),
    "rows": _numbers,
    "nlpd": _nlpd,
    "nlpd_band": Band.from_dict,
    "log_likelihood": _maybe(_nlpd),
    "coverage": _coverage,
    "coverage_low": _tensor,
    "coverage_high": _tensor,
    "marginal_coverage": _each(_coverage),
    "predictive_coverage": _maybe(_coverage),
    "two_level": _maybe(TwoLevel.from_dict),
    "tests": Table.from_dict,
    "verdicts": _each(Verdict.from_dict),
    "comparison": _maybe(Comparison.from_dict),
    "findings": _each(Finding.from_dict),
    "observation": _maybe(ObservationCheck.from_dict),
    "local": _maybe(LocalTest.from_dict),
    "seed": int,
    "seconds": float,
}
