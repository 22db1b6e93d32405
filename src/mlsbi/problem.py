"""What a strategy sees: each level's rows in the network's units, and who holds out which rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mlsbi._random import derive_seed
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.options import Training
from mlsbi.parameters import Parameters

__all__ = ["DrawnRows", "LevelRows", "Objective", "Problem", "Term", "folds", "num_folds"]


@dataclass(frozen=True)
class LevelRows:
    """One level's rows in the network's units; `coarse_*` is level l-1's half of the pairs."""

    value: Tensor
    context: Tensor
    coarse_value: Tensor | None = None
    coarse_context: Tensor | None = None

    def __len__(self) -> int:
        """Number of rows, n_l."""
        return self.value.shape[0]

    @property
    def identical_pair(self) -> bool:
        """Whether both members of every pair are the same numbers: the correction is then zero."""
        if self.coarse_value is None or self.coarse_context is None:
            return False
        return torch.equal(self.value, self.coarse_value) and torch.equal(
            self.context, self.coarse_context
        )

    def member(self, *, coarse: bool) -> tuple[Tensor, Tensor]:
        """Value `(n, d)` and context `(n, *event)` of the fine or the coarse run of each row."""
        if not coarse:
            return self.value, self.context
        if self.coarse_value is None or self.coarse_context is None:
            raise ValueError("level 0 has no coarse member")
        return self.coarse_value, self.coarse_context


class DrawnRows(ABC):
    """Rows that are random each time they are read: N for each of k members.

    Attributes:
        usable: Rows that may be drawn, bool `(k, N)`.
    """

    usable: Tensor

    @abstractmethod
    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Value and context of rows `(k, b)`, each `(k, b, ...)`."""


@dataclass(frozen=True)
class Term:
    """sign x weight x mean over level `level`'s rows of -log q, of the fine or the coarse run.

    With `drawn`, `level` is the place in `Problem.drawn` in place of a level.
    """

    level: int
    coarse: bool = False
    sign: float = 1.0
    weight: float = 1.0
    drawn: bool = False

    @property
    def factor(self) -> float:
        """What the mean is multiplied by."""
        return self.sign * self.weight


@dataclass(frozen=True)
class Objective:
    """What a stage of training minimises, and what decides when it stops.

    Attributes:
        terms: The loss is their sum.
        held_out: The held-out loss is the sum of these, over rows that no gradient saw.
        combine: From the gradient of each term, signs included, `(T, k, P)`, the direction
            `(k, P)` and figures for the history. None: their sum.
    """

    terms: tuple[Term, ...]
    held_out: tuple[Term, ...]
    combine: Callable[[Tensor], tuple[Tensor, dict[str, float]]] | None = None


def folds(n: int, members: int, *, fraction: float | None, generator: torch.Generator) -> Tensor:
    """Which rows each member trains on, bool `(k, n)`; the rest is held out.

    Rows are dealt to 1/fraction folds and member e holds out fold e, so that an ensemble uses
    every row for training and, in another member, for validation. Pairs are rows: they stay
    together. With too few rows for a fold to hold one, the members left over hold out nothing.
    """
    train = torch.ones(members, n, dtype=torch.bool)
    if fraction is None or n < 2:
        return train
    count = num_folds(fraction)
    place = torch.randperm(n, generator=generator)
    for member in range(members):
        train[member, place % count == member % count] = False
    return train


def num_folds(fraction: float) -> int:
    """How many folds rows are dealt to where a member holds out so large a part of them."""
    return max(2, round(1 / fraction))


@dataclass(frozen=True)
class Problem:
    """Everything a strategy needs to train a density.

    Attributes:
        levels: Rows of level 0 .. L.
        train_rows: For each level, which rows each member trains on, bool `(k, n_l)`.
        training: Options of the loop.
        seed: The only source of randomness in training.
        kind: "posterior" (the value is theta, the context x) or "likelihood" (the other way).
        parameters: The prior of theta in the network's units.
        build: `build(seed=, members=None, estimator=None, level_input=False)` makes a fresh density
            as the fit was asked for, on its device; what is given replaces the fit's own choice.
        density_seed: Of the initial weights of the fit's one density.
        device: Where the densities are trained; all rows here are on the CPU.
        progress: Show a progress bar.
        checkpoint: File to resume an interrupted training from.
        fingerprint: Names the data, the options and the seed, so that a checkpoint of another
            training is refused.
        drawn: Random rows that a term may read in place of a level's.
        estimator: The word or description that the fit was asked for.
        training_given: Whether `training` was asked for, and is not a strategy's default.
        summarised: Whether x is a summary that level 0's runs taught.
    """

    levels: tuple[LevelRows, ...]
    train_rows: tuple[Tensor, ...]
    training: Training
    seed: int
    kind: str
    parameters: Parameters
    build: Callable[..., ConditionalDensity]
    density_seed: int = 0
    device: torch.device = torch.device("cpu")
    progress: bool = False
    checkpoint: Path | None = None
    fingerprint: str = ""

    drawn: tuple[DrawnRows, ...] = ()
    estimator: object = "mdn"
    training_given: bool = False
    summarised: bool = False

    def with_training(self, training: Training) -> Problem:
        """The same problem under other options of the loop."""
        return replace(self, training=training)

    def scoped(self, name: str) -> Problem:
        """The same rows and folds under seeds and a checkpoint file of their own.

        For a part of a strategy that solves the problem in its own way, such as a candidate.
        """
        path = self.checkpoint
        return replace(
            self,
            seed=derive_seed(self.seed, name),
            density_seed=derive_seed(self.density_seed, name),
            checkpoint=None if path is None else path.with_name(f"{path.name}.{name}"),
            fingerprint=f"{self.fingerprint}/{name}",
        )

    @property
    def part(self) -> str:
        """Which part of a strategy this is, as `scoped` named it; empty for the whole."""
        return self.fingerprint.partition("/")[2]

    def theta(self, level: int) -> Tensor:
        """A level's theta in the network's units, `(n_l, d)`."""
        return self._rows(level, coarse=False)[0]

    def x(self, level: int) -> Tensor:
        """A level's x in the network's units, flattened, `(n_l, D)`."""
        return self._rows(level, coarse=False)[1]

    def x_coarse(self, level: int) -> Tensor:
        """The coarse halves of a level's pairs, in the network's units, flattened, `(n_l, D)`.

        Raises:
            ValueError: `level` is 0.
        """
        return self._rows(level, coarse=True)[1]

    def _rows(self, level: int, *, coarse: bool) -> tuple[Tensor, Tensor]:
        """Theta and x of each row."""
        value, context = (t.flatten(1) for t in self.levels[level].member(coarse=coarse))
        return (value, context) if self.kind == "posterior" else (context, value)
