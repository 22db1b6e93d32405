"""Posterior draws of the fit that is in a study's output folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsbi._checks import check_count, check_seed
from mlsbi._observation import as_observation
from mlsbi.studies.arrays import read_runs
from mlsbi.studies.build import build_prior
from mlsbi.studies.fitting import load
from mlsbi.studies.state import states

if TYPE_CHECKING:
    from torch import Tensor

    from mlsbi.prior import Prior
    from mlsbi.study import Study

__all__ = ["sample"]


def sample(study: Study, n: int, *, x: Any, seed: int | None) -> Tensor:
    """Draws, shape `(n, d)`; see `Study.sample`."""
    from mlsbi.reporting.draws import draws_at

    count = check_count(n, name="n")
    own_seed = study.seed if seed is None else check_seed(seed)
    if x is None:
        x = study.observed()
    if x is None:
        raise ValueError(
            f"x must be given, as {study.path} has no [observation]; got None. Pass it, or write "
            "x = [...] in [observation]."
        )
    _check_there(study)
    fit = load(study, _prior(study))
    several = study.kind == "likelihood"
    remedy = "Pass one observation." if not several else "Pass one, or several of that shape."
    seen = as_observation(x, fit.event_shape, remedy=remedy, several=several)
    return draws_at(fit, seen, count, seed=own_seed)


def _check_there(study: Study) -> None:
    """Refuse a fit that is not there, or not of this file.

    Raises:
        ValueError: It is.
    """
    step = next(step for step in states(study) if step.name == "fit")
    if step.state != "done":
        what = "no fit" if step.state == "to do" else "no fit of this state of the file"
        raise ValueError(
            f"{study.output} must hold a fit to sample from, and there is {what}: {step.why}. Call "
            f"study.fit(), or mlsbi fit {study.path.name}."
        )


def _prior(study: Study) -> Prior:
    file = study.file
    if file.hierarchy is not None:
        return study.hierarchy().prior
    if file.parameters is None and file.prior is None:
        return read_runs(study).prior
    return build_prior(file, study.path.parent)
