"""`Study.validate`: try everything out before anything is spent. Nothing is written."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

import torch

from mlsbi._noise import equal_noise, pick_rows
from mlsbi._progress import progress_bar
from mlsbi._random import make_generator
from mlsbi.hierarchy import Hierarchy, Level, RowError
from mlsbi.studies.validate_data import look_at_data
from mlsbi.studies.validate_rest import look_at_rest
from mlsbi.studies.validation import Seen, Validation

if TYPE_CHECKING:
    from torch import Tensor

    from mlsbi.study import Study

__all__ = ["validate"]

_BATCH, _ROWS = 4, 2  # runs of a batched simulator, and of one that runs row by row
_CLOSE = 1e-4  # arithmetic in batches of other sizes may round differently


def validate(study: Study, *, progress: bool) -> Validation:
    """What was found; see `Study.validate`."""
    seen = Seen()
    if study.file.source == "simulators":
        _try_levels(study, seen, progress=progress)
    else:
        look_at_data(study, seen)
    look_at_rest(study, seen)
    return seen.validation()


def _try_levels(study: Study, seen: Seen, *, progress: bool) -> None:
    """Run each level on the same few draws of theta and noise."""
    try:
        hierarchy = study.hierarchy()
        theta, u = hierarchy.draw(_BATCH, make_generator(study.seed, "validate"))
        again = hierarchy.draw(_BATCH, make_generator(study.seed, "validate"))
    except Exception as error:  # whatever a prior or noise of the user's raises
        seen.problems.append(_told(error))
        return
    seen.prior, seen.theta = hierarchy.prior, theta
    if not (torch.equal(theta, again[0]) and equal_noise(u, again[1])):
        seen.problems.append(
            "noise must depend on its generator alone; two calls with the same seed differ. Pass "
            "generator=generator to every draw in noise(n, generator)."
        )
    with progress_bar("Levels", hierarchy.num_levels, enabled=progress) as update:
        for number, level in enumerate(hierarchy.levels):
            seen.rows.append(_try_level(number, level, theta, u, seen))
            update(number + 1, level.name or "")
    seen.note_shapes()
    _note_costs(hierarchy, seen)


def _try_level(number: int, level: Level, theta: Tensor, u: Any, seen: Seen) -> dict[str, Any]:
    """Run one level; returns its line of the table."""
    rows = _BATCH if level.batched else _ROWS
    row: dict[str, Any] = {"level": number, "name": level.name or "", "x": None}
    theta, u = theta[:rows], pick_rows(u, slice(0, rows))
    tried = theta[-1:]  # alone, and before the clock runs: the first run may load things
    try:
        alone = level.run(tried, pick_rows(u, slice(rows - 1, rows)))
        tried, began = theta, time.perf_counter()
        x = level.run(tried, u)
    except Exception as error:  # of the user's simulator: reported, not raised
        seen.events.append(None)
        seen.problems.append(_failed(number, level, tried, error))
        return row
    row |= {"x": str(tuple(x.shape[1:])), "runs": rows}
    row["seconds a run"] = (time.perf_counter() - began) / rows
    event = tuple(x.shape[1:])
    seen.events.append(event)
    seen.x = x
    finite = torch.isfinite(x).reshape(rows, -1).all(1)
    row["finite"] = f"{int(finite.sum())} of {rows}"
    same = alone.shape[1:] == x.shape[1:] and bool(
        torch.isclose(x[-1], alone[0], rtol=_CLOSE, atol=1e-6, equal_nan=True).all()
    )
    row["same seed, same x"] = "yes" if same else "no"
    where = _named(number, level)
    if not bool(finite.all()):
        worst = theta[int((~finite).nonzero()[0])].tolist()
        seen.problems.append(
            f"{where} gave NaN or infinite values (in float32) in {rows - int(finite.sum())} of "
            f"{rows} runs, the first at theta = {_numbers(worst)}. Mend it, narrow the prior, or "
            "set on_failure = 'drop' in [run] to leave such runs out."
        )
    if not same:
        seen.problems.append(
            f"{where} gave another x for the same theta and noise when a row was run alone, "
            "and among others. All its randomness must come from the noise, and a row may "
            "depend on its own theta and noise only."
        )
    return row


def _failed(number: int, level: Level, theta: Tensor, error: Exception) -> str:
    row = error.row if isinstance(error, RowError) else 0
    of = "the first of the batch" if level.batched else "this row"
    values = _numbers(theta[max(row, 0)].tolist())
    return f"{_named(number, level)} failed at theta = {values} ({of}): {_told(error)}"


def _told(error: Exception) -> str:
    """An exception in a line, with the place in the user's code where it was raised."""
    cause = error.__cause__ if isinstance(error, RowError) and error.__cause__ else error
    frames = traceback.extract_tb(cause.__traceback__)
    text = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, (TypeError, ValueError)) and "/mlsbi/" in frames[-1].filename:
        return str(cause)  # of this library: it says all that there is to say
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno}: {frames[-1].line})"


def _named(number: int, level: Level) -> str:
    return f"levels[{number}]" + (f" ({level.name})" if level.name else "")


def _numbers(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"


def _note_costs(hierarchy: Hierarchy, seen: Seen) -> None:
    missing = [number for number, cost in enumerate(hierarchy.costs) if cost is None]
    if missing:
        seen.notes.append(
            "cost is left out at level "
            f"{', '.join(map(str, missing))}: costs and budget are then seconds, measured by the "
            "pilot."
        )
