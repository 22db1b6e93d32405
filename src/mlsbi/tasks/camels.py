"""CAMELS matter power spectra: gravity-only against hydrodynamic simulations, from stored runs.

1000 cosmologies, each run once with gravity alone (level 0) and once with hydrodynamics (level 1)
from the same initial conditions. x holds 39 values of k (P(k) + noise), theta is sigma_8 or
(Omega_m, sigma_8). Data: CAMELS, Villaescusa-Navarro et al. (2023); task: Hikida et al. (2025,
arXiv:2506.06087).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sbi.utils import BoxUniform
from torch import Tensor

from mlsbi._checks import check_count, check_option, check_type
from mlsbi._random import make_generator
from mlsbi.data import MultilevelData
from mlsbi.tasks.base import Dataset, Task, posterior_score

__all__ = ["camels"]

_RANGES = {"Omega_m": (0.1, 0.5), "sigma_8": (0.6, 1.0)}
_FILES = ("parameters.txt", "x_nbody.npy", "x_hydro.npy")
_CLEAN_TEST = 200


def camels(
    folder: str | PathLike[str],
    *,
    parameters: Sequence[str] = ("sigma_8",),
    split: Literal["paper", "clean"] = "paper",
) -> Task:
    """The CAMELS task: the posterior of cosmological parameters given a hydrodynamic spectrum.

    The seed of `Task.data` orders the cosmologies at random; the first n_1 are coupled pairs, the
    next n_0 give their gravity-only run alone.

    - `"paper"`: the test pairs are all hydrodynamic runs that are not used as high level. Most of
      their gravity-only twins (same parameters, same initial conditions) are in the training data,
      which is a mild leak.
    - `"clean"`: the test pairs are the last 200 cosmologies of the order, of which nothing is ever
      used in training, whatever the budget.

    Args:
        folder: Folder with `parameters.txt`, `x_nbody.npy` and `x_hydro.npy`, or the folder above
            it if that one is named `camels`.
        parameters: Which parameters to infer, in this order: of `"sigma_8"` and `"Omega_m"`.
        split: How the runs are split.

    Returns:
        The task; x has event shape `(39,)`; no simulator (`hierarchy` is `None`) and no reference.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a file is missing or not as expected, or an option is unknown.
    """
    check_type(folder, (str, PathLike), name="folder", remedy="Pass the folder's path.")
    check_option(split, name="split", allowed=("paper", "clean"))
    names = _check_parameters(parameters)
    runs = _read(Path(folder), names)
    budgets = ((980, 20), (900, 100)) if split == "paper" else ((780, 20), (700, 100))

    def source(n: Sequence[int], seed: int) -> Dataset:
        return _split(runs, n, seed=seed, num_test=_CLEAN_TEST if split == "clean" else None)

    return Task(
        name=f"camels-{'-'.join(names)}-{split}",
        kind="posterior",
        parameter_names=names,
        budgets=budgets,
        hierarchy=None,
        source=source,
        scorer=posterior_score,
    )


@dataclass(frozen=True)
class _Runs:
    """All stored runs: theta `(1000, d)`, x of either level `(1000, 39)`, and the prior."""

    theta: Tensor
    x_nbody: Tensor
    x_hydro: Tensor
    prior: BoxUniform


def _check_parameters(parameters: Sequence[str]) -> tuple[str, ...]:
    remedy = f"Pass a tuple of names from {tuple(_RANGES)}."
    check_type(parameters, (tuple, list), name="parameters", remedy=remedy)
    for name in parameters:
        check_option(name, name="parameters", allowed=tuple(_RANGES))
    if not parameters or len(set(parameters)) != len(parameters):
        raise ValueError(f"parameters must name each parameter once; got {parameters}. {remedy}")
    return tuple(parameters)


def _read(folder: Path, names: tuple[str, ...]) -> _Runs:
    inner = folder / "camels"
    if not (folder / _FILES[0]).exists() and inner.is_dir():
        folder = inner
    missing = [file for file in _FILES if not (folder / file).is_file()]
    if missing:
        raise ValueError(
            f"folder must hold {', '.join(_FILES)}; {', '.join(missing)} not found in {folder}. "
            "Pass the folder of the CAMELS spectra that come with the paper's released data."
        )
    theta = _read_parameters(folder / _FILES[0], names)
    spectra = [_read_spectra(folder / file, rows=len(theta)) for file in _FILES[1:]]
    low, high = torch.tensor([_RANGES[name] for name in names]).unbind(1)
    return _Runs(theta, spectra[0], spectra[1], BoxUniform(low, high))


def _read_parameters(path: Path, names: tuple[str, ...]) -> Tensor:
    with path.open(encoding="utf-8") as file:
        header = file.readline().lstrip("#").split()
    absent = [name for name in names if name not in header]
    if absent:
        raise ValueError(
            f"folder must hold a parameters.txt whose first line names {', '.join(names)}; "
            f"{', '.join(absent)} not found in {header} of {path}."
        )
    columns = [header.index(name) for name in names]
    values = np.loadtxt(path, usecols=columns, ndmin=2, dtype=np.float64)
    return torch.from_numpy(values).float()


def _read_spectra(path: Path, *, rows: int) -> Tensor:
    spectra = np.load(path, allow_pickle=False)
    if spectra.ndim != 2 or len(spectra) != rows:
        raise ValueError(
            f"folder must hold spectra of shape ({rows}, number of wavenumbers), one row for each "
            f"row of parameters.txt; {path} has shape {spectra.shape}."
        )
    return torch.from_numpy(np.asarray(spectra, dtype=np.float32))


def _split(runs: _Runs, n: Sequence[int], *, seed: int, num_test: int | None) -> Dataset:
    n_low, n_high = _check_n(n, total=len(runs.theta), num_test=num_test)
    order = torch.randperm(len(runs.theta), generator=make_generator(seed, "camels"))
    pairs, low = order[:n_high], order[n_high : n_high + n_low]
    test = order[n_high:] if num_test is None else order[-num_test:]
    levels = [
        (runs.theta[low], runs.x_nbody[low]),
        (runs.theta[pairs], runs.x_nbody[pairs], runs.x_hydro[pairs]),
    ]
    data = MultilevelData.from_arrays(runs.prior, levels)
    return data, runs.theta[test], runs.x_hydro[test]


def _check_n(n: Sequence[int], *, total: int, num_test: int | None) -> tuple[int, int]:
    check_type(n, (tuple, list), name="n", remedy="Pass (n_0, n_1), for example (980, 20).")
    if len(n) != 2:
        raise ValueError(f"n must have two numbers, (n_0, n_1); got {n!r}. Pass (980, 20).")
    n_low, n_high = (check_count(value, name=f"n[{i}]") for i, value in enumerate(n))
    room = total - (num_test or 0)
    if n_low + n_high > room or n_high == total:
        raise ValueError(
            f"n must sum to at most {room} (the stored cosmologies, less those kept for testing); "
            f"got {tuple(n)}. Ask for fewer runs."
        )
    return n_low, n_high
