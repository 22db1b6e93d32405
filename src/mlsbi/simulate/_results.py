"""Results of runs that were made elsewhere: a table, a folder, a mapping or a function."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mlsbi._checks import as_tensor
from mlsbi.simulate._command import read_numbers
from mlsbi.simulate._tables_io import Piece, as_table, read_table

__all__ = ["Results", "as_results", "run_name"]

_RUN_ID = re.compile(r"l(\d+)-r(\d+)-s(\d+)", re.ASCII)

Key = tuple[int, int, int]


def run_name(level: int, row: int, simulator: int) -> str:
    """The run_id of a simulator's run for a row of a level."""
    return f"l{level}-r{row}-s{simulator}"


def _key(run_id: Any, counts: Sequence[int]) -> Key:
    """Level, row and simulator of a run_id.

    Raises:
        ValueError: If the plan has no such run.
    """
    match = _RUN_ID.fullmatch(run_id) if isinstance(run_id, str) else None
    if match is not None:
        level, row, simulator = (int(part) for part in match.groups())
        own = level < len(counts) and row < counts[level] and simulator in {level, level - 1}
        if own and run_name(level, row, simulator) == run_id:
            return level, row, simulator
    raise ValueError(
        f"results must be of runs in the plan; got run_id {run_id!r}. The names look like "
        f"{run_name(0, 0, 0)!r} (level, row, simulator), with n = {list(counts)}: use those that "
        "mlsbi.export_runs wrote, with the same hierarchy, n and seed."
    )


class Results(Protocol):
    """Where results come from."""

    def find(self, level: int, row: int, simulator: int) -> np.ndarray | None:
        """The output of a run, float32, None if it is missing."""
        ...

    def check(self, level: int, row: int, simulator: int, theta: np.ndarray, seed: int) -> None:
        """Refuse a run whose parameters or seed are not those of the plan, where it says so."""
        ...


def as_results(results: Any, counts: Sequence[int], dim: int) -> Results:
    """Results in any form.

    Args:
        results: As in `mlsbi.import_runs`.
        counts: Rows of each level.
        dim: Number of parameters.

    Returns:
        The results, checked as far as can be done without reading them one by one.
    """
    if isinstance(results, Mapping):
        return _check_names(results, counts)
    if isinstance(results, (str, os.PathLike)):
        if Path(results).is_dir():
            return _check_names(_files(Path(results)), counts, read_numbers)
        return _Table(as_table(results, name="results"), counts, dim)
    if callable(results):
        return _Lookup(results)
    raise TypeError(
        "results must be the name of a table or a folder, a mapping from run_id to array, or a "
        f"function of run_id; got {type(results).__name__}. Pass one of these."
    )


def _check_names(
    found: Mapping[str, Any], counts: Sequence[int], read: Callable[[Any], Any] = lambda x: x
) -> Results:
    for run_id in found:
        _key(run_id, counts)
    return _Lookup(lambda run_id: read(found[run_id]) if run_id in found else None)


def _files(folder: Path) -> dict[str, Path]:
    """Files of a folder by name without suffix."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(
                f"results folder {str(folder)!r} must hold one file a run; got "
                f"{files[path.stem].name!r} and {path.name!r}. Remove one."
            )
        files[path.stem] = path
    return files


class _Lookup:
    """Results that are asked for one by one."""

    def __init__(self, get: Callable[[str], Any]) -> None:
        self._get = get

    def find(self, level: int, row: int, simulator: int) -> np.ndarray | None:
        run_id = run_name(level, row, simulator)
        try:
            value = self._get(run_id)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise ValueError(
                f"results of run {run_id!r} cannot be read: {type(error).__name__}: {error}. "
                "Correct them, or leave them out for a run that is missing."
            ) from error
        if value is None:
            return None
        if isinstance(value, (int, float, np.generic)):
            value = np.asarray([value])
        x = as_tensor(value, name=f"results of run {run_id!r}", finite=False).cpu().numpy()
        return x.reshape(1) if x.ndim == 0 else x

    def check(self, level: int, row: int, simulator: int, theta: np.ndarray, seed: int) -> None:
        """Nothing to compare."""


class _Runs:
    """A simulator's runs for a level, as wide as the widest of them so far."""

    def __init__(self, count: int, dim: int) -> None:
        self.x = np.full((count, 0), np.nan, dtype=np.float32)
        self.there = np.zeros(count, dtype=bool)
        self.theta: np.ndarray | None = None
        self.seed: np.ndarray | None = None
        self._dim = dim

    def put(self, row: int, x: np.ndarray) -> bool:
        """Keep an output; False if the row has another one."""
        missing = len(x) - self.x.shape[1]
        if missing > 0:
            self.x = np.pad(self.x, ((0, 0), (0, missing)), constant_values=np.nan)
        own = self.x[row]
        if self.there[row]:
            same = np.array_equal(own[: len(x)], x, equal_nan=True)
            return same and bool(np.isnan(own[len(x) :]).all())
        own[: len(x)] = x
        self.there[row] = True
        return True

    def note(self, row: int, theta: np.ndarray | None, seed: int | None) -> None:
        """Keep what the table says of the row's parameters and seed."""
        if theta is not None:
            if self.theta is None:
                self.theta = np.full((len(self.there), self._dim), np.nan, dtype=np.float32)
            self.theta[row] = theta
        if seed is not None:
            if self.seed is None:
                self.seed = np.full(len(self.there), -1, dtype=np.int64)
            self.seed[row] = seed


class _Table:
    """Results in a table, read at once: its lines may stand in any order."""

    def __init__(self, path: Path, counts: Sequence[int], dim: int) -> None:
        self._path, self._counts, self._dim = path, counts, dim
        self._runs: dict[tuple[int, int], _Runs] = {}
        self._x: list[str] = []
        self._theta: list[str] = []
        for piece in read_table(path, self._wanted):
            for place, key, x in self._outputs(piece):
                self._keep(piece, place, key, x)

    def _wanted(self, names: Sequence[str]) -> list[str]:
        self._x = [f"x_{i}" for i in range(sum(bool(re.fullmatch(r"x_\d+", n)) for n in names))]
        self._theta = [name for name in names if re.fullmatch(r"theta_\d+", name)]
        if not self._x or not set(self._x) <= set(names):
            raise ValueError(
                f"results {str(self._path)!r} must have columns x_0, x_1, ... without gaps; got "
                f"{list(names)[:8]}. Name the outputs so."
            )
        expected = [f"theta_{i}" for i in range(self._dim)]
        if self._theta and sorted(self._theta) != sorted(expected):
            raise ValueError(
                f"results {str(self._path)!r} must have the columns {expected} or none of them; "
                f"got {self._theta}. Leave them as exported, or leave them out."
            )
        self._theta = expected if self._theta else []
        return [*self._x, *self._theta, *(["seed"] if "seed" in names else [])]

    def _outputs(self, piece: Piece) -> Iterator[tuple[int, Key, np.ndarray]]:
        """Of each line: its place, its run, and its output without the empty cells at its end."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is a failed run, as elsewhere
            x = np.stack([piece.columns[name] for name in self._x], axis=1).astype(np.float32)
        filled = ~np.stack([piece.empty[name] for name in self._x], axis=1)
        width = np.where(filled.any(axis=1), x.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
        for place, run_id in enumerate(piece.run_id):
            yield place, _key(run_id, self._counts), x[place, : width[place]]

    def _keep(self, piece: Piece, place: int, key: Key, x: np.ndarray) -> None:
        level, row, simulator = key
        runs = self._runs.get((level, simulator))
        if runs is None:
            runs = self._runs[level, simulator] = _Runs(self._counts[level], self._dim)
        if not runs.put(row, x):
            raise ValueError(
                f"results {str(self._path)!r} must have one line a run; run "
                f"{piece.run_id[place]!r} is there twice, with different values. Remove one."
            )
        theta = None
        if self._theta:
            theta = np.array([piece.columns[name][place] for name in self._theta])
        seed = int(piece.columns["seed"][place]) if "seed" in piece.columns else None
        runs.note(row, theta, seed)

    def find(self, level: int, row: int, simulator: int) -> np.ndarray | None:
        runs = self._runs.get((level, simulator))
        return runs.x[row] if runs is not None and runs.there[row] else None

    def check(self, level: int, row: int, simulator: int, theta: np.ndarray, seed: int) -> None:
        runs = self._runs[level, simulator]
        if runs.theta is not None and not _same(runs.theta[row], theta):
            raise self._mixed_up(level, row, simulator, "theta", runs.theta[row], theta)
        if runs.seed is not None and int(runs.seed[row]) != seed:
            raise self._mixed_up(level, row, simulator, "seed", int(runs.seed[row]), seed)

    def _mixed_up(
        self, level: int, row: int, simulator: int, name: str, got: Any, plan: Any
    ) -> ValueError:
        return ValueError(
            f"results of run {run_name(level, row, simulator)!r} must have the {name} of the plan, "
            f"{plan}; got {got}. The table belongs to another hierarchy, n or seed, or its lines "
            "were mixed up."
        )


def _same(theta: np.ndarray, plan: np.ndarray) -> bool:
    """Whether parameters agree; a program may write fewer digits than it was given."""
    return np.array_equal(theta, plan) or np.allclose(theta, plan, rtol=1e-5, atol=0)
