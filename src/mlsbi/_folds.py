"""Which runs a fold holds out: pairs stay together, and so do runs of one theta at all levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.data import MultilevelData

__all__ = ["Folds", "deal"]


@dataclass(frozen=True, eq=False)
class Folds:
    """The fold of every run.

    Attributes:
        of_level: The fold of each row of each level, int64 `(n_l,)`; -1: none, it is in every fit.
        spare: Which rows of level L-1 were dealt for their own sake, bool `(n_(L-1),)`; the other
            rows held out there share a theta with a run of level L.
    """

    of_level: tuple[Tensor, ...]
    spare: Tensor

    @property
    def count(self) -> int:
        """Number of folds."""
        return int(self.of_level[-1].max()) + 1

    def without(self, data: MultilevelData, k: int) -> MultilevelData:
        """The data without fold k."""
        return data.subset([_kept(fold, k) for fold in self.of_level])

    def rows(self, k: int) -> Tensor:
        """Rows of level L in fold k, `(m,)`."""
        return (self.of_level[-1] == k).nonzero().flatten()

    def spare_rows(self, k: int) -> Tensor:
        """Spare rows of level L-1 in fold k, `(m,)`; none with a single level."""
        if len(self.of_level) == 1:
            return torch.empty(0, dtype=torch.int64)
        return ((self.of_level[-2] == k) & self.spare).nonzero().flatten()


def _kept(fold: Tensor, k: int) -> Tensor | None:
    """Rows that are not in fold k; None: all of them, also where none would be left."""
    kept = fold != k
    return kept if bool(kept.any()) and not bool(kept.all()) else None


def deal(data: MultilevelData, folds: int, *, seed: int, spare: int = 0) -> Folds:
    """Deal level L's thetas to folds, at random and evenly; fewer folds where it has fewer thetas.

    Args:
        data: Runs of all levels.
        folds: Number of folds.
        seed: The folds depend on nothing else.
        spare: Rows of level L-1 that each fold holds out beyond those that share a theta with its
            runs of level L.

    Returns:
        The folds.

    Raises:
        ValueError: Level L has fewer than 2 thetas.
    """
    top = data.num_levels - 1
    fold_of = _even(data.theta(top), folds, seed, "folds")
    if len(fold_of) < 2:
        raise ValueError(
            f"data must have at least 2 rows of different theta at the finest level; got "
            f"{data.n[top]} of one theta. Nothing would be left to fit when it is held out: add "
            "runs of that level."
        )
    chosen = torch.zeros(data.n[max(top - 1, 0)], dtype=torch.bool)
    if top and spare:
        theta, count = data.theta(top - 1), min(folds, len(fold_of))
        free = (_look_up(theta, fold_of) < 0).nonzero().flatten()
        order = torch.randperm(len(free), generator=make_generator(seed, "crossfit", "spare"))
        chosen[free[order[: spare * count]]] = True
        fold_of |= _even(theta[chosen], count, seed, "spare folds")
    every = tuple(_look_up(data.theta(level), fold_of) for level in range(data.num_levels))
    return Folds(every, chosen)


def _even(theta: Tensor, folds: int, seed: int, name: str) -> dict[bytes, int]:
    """The fold of each different theta."""
    different = list(dict.fromkeys(row.tobytes() for row in theta.numpy()))
    order = torch.randperm(len(different), generator=make_generator(seed, "crossfit", name))
    dealt = torch.empty(len(different), dtype=torch.int64)
    dealt[order] = torch.arange(len(different)) % max(min(folds, len(different)), 1)
    return dict(zip(different, dealt.tolist(), strict=True))


def _look_up(theta: Tensor, fold_of: dict[bytes, int]) -> Tensor:
    """The fold of each theta, -1 where it was dealt to none."""
    rows = theta.numpy()
    found = torch.full((len(rows),), -1, dtype=torch.int64)
    first = np.array([np.frombuffer(key, rows.dtype, 1)[0] for key in fold_of], rows.dtype)
    for i in np.flatnonzero(np.isin(rows[:, 0], first)):  # among millions, few are dealt
        found[i] = fold_of.get(rows[i].tobytes(), -1)
    return found
