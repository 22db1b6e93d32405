"""Noise u: a tensor, or a tuple or dict of tensors, with one row a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "check_noise",
    "clone_noise",
    "default_noise",
    "equal_noise",
    "noise_arrays",
    "noise_row",
    "pick_rows",
]

_REMEDY = "Return a tensor, or a tuple or dict of tensors, each with one row per run."


def default_noise(n: int, generator: torch.Generator) -> Tensor:
    """One seed a row, int64 in `[0, 2**63)`, shape `(n,)`."""
    device = generator.device
    return torch.randint(2**63 - 1, (n,), generator=generator, device=device).cpu()


def _map(u: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(u, (Tensor, np.ndarray)):
        return function(u)
    if isinstance(u, dict):
        return {key: function(value) for key, value in u.items()}
    parts = [function(value) for value in u]
    return type(u)(*parts) if hasattr(u, "_fields") else tuple(parts)  # a named tuple stays one


def _leaves(u: Any) -> list[Any]:
    if isinstance(u, dict):
        return list(u.values())
    return list(u) if isinstance(u, tuple) else [u]


def check_noise(u: Any, *, rows: int, name: str) -> None:
    """Refuse noise that is not made of tensors with `rows` rows."""
    leaves = _leaves(u)
    if not leaves:
        raise ValueError(f"{name} must hold at least one tensor; got {u!r}. {_REMEDY}")
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise TypeError(f"{name} must be made of tensors; got {type(leaf).__name__}. {_REMEDY}")
        if leaf.ndim == 0 or len(leaf) != rows:
            raise ValueError(
                f"{name} must have {rows} rows; got a tensor of shape {tuple(leaf.shape)}. "
                f"{_REMEDY}"
            )


def clone_noise(u: Any) -> Any:
    """A copy that may be changed in place."""
    return _map(u, torch.clone)


def pick_rows(u: Any, rows: slice | Tensor) -> Any:
    """Some rows, by a slice (a view) or by their numbers."""
    return _map(u, lambda t: t[rows])


def noise_row(u: Any, row: int) -> Any:
    """One row as NumPy arrays, or Python numbers where the row is a single number."""
    return _map(u, lambda t: _as_numpy(t[row]))


def noise_arrays(u: Any) -> Any:
    """The noise as NumPy arrays that share its memory, for `noise_row`."""
    return _map(u, lambda t: t.detach().cpu().numpy())


def _as_numpy(value: Any) -> np.ndarray | int | float | bool:
    if value.ndim == 0:
        return value.item()
    return value.copy() if isinstance(value, np.ndarray) else value.detach().cpu().numpy().copy()


def equal_noise(first: Any, second: Any) -> bool:
    """Whether two draws are the same, bit for bit."""
    pairs = zip(_leaves(first), _leaves(second), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
