"""Runs on disk, looked at before anything is made of them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlsbi.studies.arrays import level_arrays, read_runs
from mlsbi.studies.build import build_prior

if TYPE_CHECKING:
    from mlsbi.data import MultilevelData
    from mlsbi.studies.validation import Seen
    from mlsbi.study import Study

__all__ = ["look_at_data"]


def look_at_data(study: Study, seen: Seen) -> None:
    """Read a study's runs: rows, shapes, values that are not finite, theta outside the prior."""
    if study.file.source == "arrays":
        try:
            seen.prior = build_prior(study.file, study.path.parent)
        except (TypeError, ValueError) as error:
            seen.problems.append(str(error))
            return
        for number in range(len(study.file.levels or [])):
            _look_at_level(study, number, seen)
        if seen.problems:
            return
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            data = read_runs(study)
    except (TypeError, ValueError) as error:
        seen.problems.append(str(error))
        return
    seen.notes += [str(warning.message) for warning in said]
    _take(data, seen)


def _look_at_level(study: Study, number: int, seen: Seen) -> None:
    table = (study.file.levels or [])[number]
    row: dict[str, Any] = {"level": number, "name": table.name or ""}
    seen.rows.append(row)
    try:
        arrays = level_arrays(study, number)
        numbers = {name: torch.from_numpy(_floats(array)) for name, array in arrays.items()}
    except (TypeError, ValueError) as error:
        seen.problems.append(str(error))
        return
    theta, x = numbers["theta"], numbers["x"]
    row |= {"rows": len(theta), "theta": str(tuple(theta.shape[1:])), "x": str(tuple(x.shape[1:]))}
    row["not finite"] = sum(_bad_rows(own) for own in numbers.values())
    if seen.prior is not None and theta.ndim == 2 and theta.shape[1] == seen.prior.dim:
        row["outside the prior"] = int((~seen.prior.contains(theta)).sum())


def _floats(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"arrays must hold real numbers; got {array.dtype}. Convert them first.")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _bad_rows(values: torch.Tensor) -> int:
    return int((~torch.isfinite(values)).reshape(len(values), -1).any(1).sum())


def _take(data: MultilevelData, seen: Seen) -> None:
    """Keep what later looks need."""
    last = data.num_levels - 1
    seen.prior, seen.theta, seen.x = data.prior, data.theta(last)[:4], data.x(last)[:4]
    seen.events = [data.event_shape(level) for level in range(data.num_levels)]
    if not seen.rows:
        seen.rows += [
            {"level": i, "rows": n, "x": str(seen.events[i])} for i, n in enumerate(data.n)
        ]
    seen.note_shapes()
