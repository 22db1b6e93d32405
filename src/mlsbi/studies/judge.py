"""The last steps of a study: its check and its report, in the words of its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlsbi.data import MultilevelData
from mlsbi.studies.arrays import read_held_out
from mlsbi.studies.fitting import opened_executor

if TYPE_CHECKING:
    from torch import Tensor

    from mlsbi.checking.result import Check
    from mlsbi.results import LikelihoodFit, PosteriorFit
    from mlsbi.study import Study

__all__ = ["judge", "write"]

_KEYS = {  # of the file, for the library's arguments
    "x_o": "observation.x",
    "theta_o": "observation.theta",
    "theta_test": "check.theta",
    "x_test": "check.x",
    "outputs": "report.outputs",
    "folds": "check.folds",
    "labels": "study.parameters",
}


def judge(
    study: Study, fit: PosteriorFit | LikelihoodFit, data: MultilevelData, *, progress: bool
) -> Check:
    """Check a study's fit, on held-out runs or by cross-fitting.

    Raises:
        ValueError: The observation or the held-out runs do not go with the fit.
        RuntimeError: The fit failed in every fold.
    """
    from mlsbi.checking.check import check

    x_o = _single(study, fit, study.observed())
    held_out, labels = read_held_out(study), study.parameter_names
    try:
        if held_out is not None:
            theta, x = held_out
            return check(fit, theta, x, data=data, x_o=x_o, labels=labels, seed=study.seed)
        with opened_executor(study) as executor:
            return check(
                fit, data, x_o=x_o, folds=study.file.check.folds, labels=labels, seed=study.seed,
                executor=executor, progress=progress,
            )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ValueError(f"{study.path}: {_in_keys(error)}") from error


def _single(study: Study, fit: PosteriorFit | LikelihoodFit, x_o: Tensor | None) -> Tensor | None:
    """The observation; None for independent ones, which a likelihood fit takes together."""
    shape, event = None if x_o is None else tuple(x_o.shape), fit.event_shape
    if shape is None or shape in {event, (1, *event)}:
        return x_o
    several = study.kind == "likelihood"
    if several and shape[1:] == event:
        return None
    many = f", or {('m', *event)} for m independent ones" if several else ""
    raise ValueError(
        f"{study.path}: observation.x must have shape {event}, that of one x of level L{many}; got "
        f"{shape}"
    )


def write(
    study: Study,
    path: Path,
    fit: PosteriorFit | LikelihoodFit,
    data: MultilevelData,
    check: Check,
    *,
    progress: bool,
) -> None:
    """Write a study's report.

    Raises:
        ValueError: The words of the file do not go with the fit.
    """
    from mlsbi.reporting import report

    own, seen = study.file.report, study.file.observation
    names = [table.name for table in study.file.levels or [] if table.name is not None]
    try:
        report(
            fit, path, data=data, check=check, x_o=study.observed(),
            theta_o=None if seen is None else seen.theta, title=own.title or study.name,
            description=own.description, labels=study.parameter_names, outputs=own.outputs,
            levels=names if len(names) == data.num_levels else None, seed=study.seed,
            progress=progress,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ValueError(f"{study.path}: {_in_keys(error)}") from error


def _in_keys(error: Exception) -> str:
    """An error about the library's arguments, which begins with the key of the file."""
    first, _, rest = str(error).partition(" ")
    return f"{_KEYS.get(first, first)} {rest}"
