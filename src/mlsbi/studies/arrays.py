"""What a study has on disk: runs of its levels, held-out runs, the observation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mlsbi._checks import as_tensor
from mlsbi.data import MultilevelData
from mlsbi.studies.build import build_prior
from mlsbi.studies.formats import Place, place_of, read_place, take_rows

if TYPE_CHECKING:
    from mlsbi.studies.sources import LevelTable
    from mlsbi.study import Study

__all__ = ["level_arrays", "read_held_out", "read_observation", "read_runs", "stamps"]

_NAMES = ("theta", "x_coarse", "x")


def read_runs(study: Study) -> MultilevelData:
    """The runs that a study has on disk, of arrays or of saved data.

    Raises:
        ValueError: Something is not there, cannot be read, or is not what it must be; the message
            names the key, and for arrays their files and shapes.
    """
    folder, file = study.path.parent, study.file
    prior = None
    if file.parameters is not None or file.prior is not None:
        prior = build_prior(file, folder)
    if file.data is not None:
        path = folder / Path(file.data.path).expanduser()
        try:
            return MultilevelData.load(path, prior=prior)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{study.path}: data.path: {error}") from error
    found = [level_arrays(study, number) for number in range(len(file.levels or []))]
    costs = [table.cost for table in file.levels or []]
    drop = file.run.on_failure in {"drop", "retry"}
    try:
        return MultilevelData.from_arrays(
            prior,
            [tuple(arrays.values()) for arrays in found],
            costs=[cost for cost in costs if cost is not None] if all(costs) else None,
            on_invalid="drop" if drop else "raise",
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{study.path}: {_in_words(error)}\n{_shown(study, found)}") from error


def _in_words(error: Exception) -> str:
    """An error about arguments, as one about the file."""
    text = str(error).replace("pass on_invalid='drop'", "set on_failure = 'drop' in [run]")
    return text.replace("reshape scalar outputs to (n, 1)", "scalar outputs may have shape (n,)")


def _shown(study: Study, found: list[dict[str, np.ndarray]]) -> str:
    """Where each array came from, and its shape."""
    lines = []
    for number, arrays in enumerate(found):
        table = (study.file.levels or [])[number]
        lines += [
            f"    levels[{number}].{name} = {getattr(table, name)!r} has shape {array.shape}"
            for name, array in arrays.items()
        ]
    return "\n".join(lines)


def level_arrays(study: Study, number: int) -> dict[str, np.ndarray]:
    """The arrays of one level by name, in the order of `MultilevelData.from_arrays`.

    Raises:
        ValueError: One is not there, or cannot be read.
    """
    table: LevelTable = (study.file.levels or [])[number]
    found = {}
    for name in _NAMES:
        text = getattr(table, name)
        if text is not None:
            array = _read(study, text, f"levels[{number}].{name}", name, rows=table.rows)
            found[name] = array[:, None] if array.ndim == 1 else array
    return found


def read_held_out(study: Study) -> tuple[Tensor, Tensor] | None:
    """Parameters and outputs of the runs that `[check]` names; None where it names none.

    Raises:
        ValueError: One is not there, or cannot be read.
    """
    own = study.file.check
    if own.theta is None or own.x is None:
        return None
    arrays = [
        _read(study, text, f"check.{name}", name, rows=own.rows)
        for name, text in (("theta", own.theta), ("x", own.x))
    ]
    theta, x = (array[:, None] if array.ndim == 1 else array for array in arrays)
    return _tensor(study, theta, "check.theta"), _tensor(study, x, "check.x")


def read_observation(study: Study) -> Tensor | None:
    """The observation; None where the file has none.

    Raises:
        ValueError: It is not there, cannot be read, or holds no finite numbers.
    """
    own = study.file.observation
    if own is None:
        return None
    value: Any = own.x
    if isinstance(value, str):
        value = _read(study, value, "observation.x", "x", rows=own.rows)
    return _tensor(study, value, "observation.x")


def stamps(study: Study) -> list[Any]:
    """Of each file that runs are read from: its name, size and time of change."""
    folder, file = study.path.parent, study.file
    if file.data is not None:
        paths = [folder / Path(file.data.path).expanduser()]
    else:
        places = [
            place for number in range(len(file.levels or [])) for place in _places(study, number)
        ]
        paths = list(dict.fromkeys(place.path for place in places))
    parts = [part for path in paths for part in ([path] if path.is_file() else path.rglob("*"))]
    known = [(str(part), part.stat()) for part in sorted(parts) if part.is_file()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in known]


def _places(study: Study, number: int) -> list[Place]:
    table = (study.file.levels or [])[number]
    texts = [(name, getattr(table, name)) for name in _NAMES]
    return [
        _place(study, text, f"levels[{number}].{name}") for name, text in texts if text is not None
    ]


def _place(study: Study, text: str, key: str) -> Place:
    try:
        return place_of(text, study.path.parent, key=key)
    except ValueError as error:
        raise ValueError(f"{study.path}: {error}") from error


def _read(study: Study, text: str, key: str, default: str, *, rows: str | None) -> np.ndarray:
    place = _place(study, text, key)
    try:
        labels = study.parameter_names if default == "theta" else None
        return take_rows(read_place(place, default=default, labels=labels), rows, place)
    except ValueError as error:
        raise ValueError(f"{study.path}: {error}") from error


def _tensor(study: Study, value: Any, key: str) -> Tensor:
    try:
        tensor = as_tensor(value, name=key)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{study.path}: {error}") from error
    return tensor.reshape(1) if tensor.ndim == 0 else tensor.to(torch.float32)
