"""Validation of the arrays that `MultilevelData` is made of."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_positive
from mlsbi.prior import Prior

__all__ = ["check_costs", "check_levels", "check_stored", "warn_dropped"]

_ENTRY = "Give (theta, x) for level 0 and (theta, x_coarse, x) for every level above."

LevelRuns = tuple[Tensor, Tensor | None, Tensor]


def check_costs(costs: Sequence[float] | None, num_levels: int) -> tuple[float, ...] | None:
    """Costs of one run of each level, positive numbers, or None."""
    if costs is None:
        return None
    if isinstance(costs, (np.ndarray, Tensor)):
        costs = costs.tolist()
    if not isinstance(costs, (list, tuple)):
        raise TypeError(
            f"costs must be a sequence of numbers; got {type(costs).__name__}. Pass the cost of "
            "one run of each level, or None."
        )
    if len(costs) != num_levels:
        raise ValueError(
            f"costs must have one entry a level, {num_levels}; got {len(costs)}. Pass the cost of "
            "one run of each level, or None."
        )
    return tuple(check_positive(c, name=f"costs[{i}]") for i, c in enumerate(costs))


def check_levels(
    prior: Prior, levels: Any, *, drop: bool
) -> tuple[list[LevelRuns], tuple[int, ...]]:
    """Check and copy every level's arrays.

    Args:
        prior: The prior.
        levels: As in `MultilevelData.from_arrays`.
        drop: Leave out rows that are not finite instead of refusing them.

    Returns:
        `(theta, x_coarse, x)` of each level, and the number of rows left out of each.
    """
    if not isinstance(levels, (list, tuple)):
        raise TypeError(f"levels must be a list; got {type(levels).__name__}. {_ENTRY}")
    if not levels:
        raise ValueError(f"levels must have at least one entry; got none. {_ENTRY}")
    checked, dropped = [], []
    for level, entry in enumerate(levels):
        runs, bad_rows = _check_entry(prior, entry, level=level, drop=drop)
        checked.append(runs)
        dropped.append(bad_rows)
    _check_event_shapes(checked)
    warn_dropped(dropped, [len(r[0]) + bad for r, bad in zip(checked, dropped, strict=True)])
    return checked, tuple(dropped)


def warn_dropped(counts: Sequence[int], n: Sequence[int]) -> None:
    """Warn that runs were left out, if any were.

    Args:
        counts: Number of runs left out of each level.
        n: Number of runs of each level, those left out included.
    """
    if not any(counts):
        return
    pairs = enumerate(zip(counts, n, strict=True))
    found = ", ".join(f"level {level}: {count} of {total}" for level, (count, total) in pairs)
    warnings.warn(
        f"left out runs that failed or gave NaN or infinite values ({found}). If runs fail more "
        "often in some part of the parameter space, dropping them biases the posterior there: "
        "compare theta of the runs left out with the prior.",
        stacklevel=_depth_of_caller(),
    )


def _depth_of_caller() -> int:
    """Frames from `warn_dropped` to the first that is not this package's."""
    package = str(Path(__file__).parent) + os.sep
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        depth, frame = depth + 1, frame.f_back
    return depth


def _check_entry(prior: Prior, entry: Any, *, level: int, drop: bool) -> tuple[LevelRuns, int]:
    names = ("theta", "x") if level == 0 else ("theta", "x_coarse", "x")
    where = f"levels[{level}]"
    if not isinstance(entry, (list, tuple)):
        raise TypeError(f"{where} must be a tuple; got {type(entry).__name__}. {_ENTRY}")
    if len(entry) != len(names):
        raise ValueError(f"{where} must have {len(names)} entries; got {len(entry)}. {_ENTRY}")
    tensors = {
        name: _copy(as_tensor(value, name=f"{where}: {name}", finite=False))
        for name, value in zip(names, entry, strict=True)
    }
    theta = tensors["theta"]
    _check_theta_shape(prior, theta, where=where)
    for name in names[1:]:
        _check_x_shape(tensors[name], len(theta), name=f"{where}: {name}")
    bad = _invalid_rows(tensors, where=where, drop=drop)
    tensors = {name: t[~bad] for name, t in tensors.items()} if bool(bad.any()) else tensors
    _check_support(prior, tensors["theta"], where=where)
    return (tensors["theta"], tensors.get("x_coarse"), tensors["x"]), int(bad.sum())


def _copy(tensor: Tensor) -> Tensor:
    """An own copy on the CPU, untouched by what the caller does with the array later."""
    return tensor.cpu().clone(memory_format=torch.contiguous_format)


def _check_theta_shape(prior: Prior, theta: Tensor, *, where: str) -> None:
    if theta.ndim != 2 or theta.shape[1] != prior.dim:
        raise ValueError(
            f"{where}: theta must have shape (n, {prior.dim}), as the prior has {prior.dim} "
            f"parameter(s); got {tuple(theta.shape)}. Pass one row per run, or correct the prior."
        )
    if len(theta) == 0:
        raise ValueError(f"{where}: theta must have at least 1 row; got 0. Add runs to this level.")


def _check_x_shape(x: Tensor, n: int, *, name: str) -> None:
    if x.ndim < 2 or len(x) != n or x.numel() == 0:
        raise ValueError(
            f"{name} must have shape (n, *event) with n = {n} (from theta) and a non-empty event; "
            f"got {tuple(x.shape)}. Pass one row per run; reshape scalar outputs to (n, 1)."
        )


def _invalid_rows(tensors: dict[str, Tensor], *, where: str, drop: bool) -> Tensor:
    bad = {name: ~torch.isfinite(t).reshape(len(t), -1).all(dim=1) for name, t in tensors.items()}
    any_bad = torch.stack(list(bad.values())).any(dim=0)
    if not bool(any_bad.any()):
        return any_bad
    counts = ", ".join(f"{name}: {int(b.sum())}" for name, b in bad.items() if bool(b.any()))
    rows = any_bad.nonzero().flatten()[:5].tolist()
    found = (
        f"{where} has NaN or infinite values (as float32) in {int(any_bad.sum())} of "
        f"{len(any_bad)} rows ({counts}; first rows {rows})"
    )
    if not drop:
        raise ValueError(f"{found}. Correct them, or pass on_invalid='drop' to leave them out.")
    if bool(any_bad.all()):
        raise ValueError(f"{found}, so that dropping leaves none. Correct this level's runs.")
    return any_bad


def _check_support(prior: Prior, theta: Tensor, *, where: str) -> None:
    outside = ~prior.contains(theta)
    if not bool(outside.any()):
        return
    row = int(outside.nonzero()[0])
    raise ValueError(
        f"{where}: theta must lie in the prior's support; {int(outside.sum())} of {len(theta)} "
        f"rows do not, the first at row {row}: {theta[row].tolist()}, with low "
        f"{prior.low.tolist()} and high {prior.high.tolist()}. Widen the prior, or leave those "
        "runs out."
    )


def _check_event_shapes(levels: Sequence[LevelRuns]) -> None:
    for level in range(1, len(levels)):
        coarse, below = levels[level][1], levels[level - 1][2]
        if coarse is not None and coarse.shape[1:] != below.shape[1:]:
            raise ValueError(
                f"levels[{level}]: x_coarse must have the event shape of level {level - 1}'s x, "
                f"{tuple(below.shape[1:])}; got {tuple(coarse.shape[1:])}. Check the order: "
                "(theta, x_coarse, x), the coarse member first."
            )


def check_stored(
    values: Tensor, shape: tuple[int, ...], *, name: str, where: str, prior: Prior
) -> Tensor:
    """Refuse rows of a campaign's store that cannot be what was written.

    Args:
        values: The rows.
        shape: Their shape as the store states it.
        name: `"theta"`, `"x"` or `"x_coarse"`.
        where: Store and level, for messages.
        prior: Where theta must lie.

    Returns:
        The rows.

    Raises:
        ValueError: If the shape is another, a value is not finite, or theta leaves the support.
    """
    if name == "theta" and tuple(values.shape) != shape:
        raise ValueError(
            f"{where}: theta has shape {tuple(values.shape)}, and the prior {prior.dim} "
            "parameter(s). Pass the prior that the campaign was run with."
        )
    bad = ~torch.isfinite(values).reshape(len(values), -1).all(dim=1)
    if tuple(values.shape) != shape or values.dtype != torch.float32 or bool(bad.any()):
        raise ValueError(
            f"{where}: {name} of finished rows must be finite, float32, of shape {shape}; got "
            f"{values.dtype} of shape {tuple(values.shape)} with {int(bad.sum())} rows that are "
            "not finite. The store is damaged: call simulate again with the same arguments, which "
            "runs only the damaged rows again."
        )
    if name == "theta":
        _check_support(prior, values, where=where)
    return values
