"""The runs of a hierarchy, level by level: what every later step reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import (
    check_count,
    check_fraction,
    check_option,
    check_seed,
    check_type,
)
from mlsbi._data_checks import check_costs, check_levels, row_index
from mlsbi._random import make_generator
from mlsbi.prior import Prior, as_prior

__all__ = ["MultilevelData"]


class MultilevelData:
    """Runs of every level, validated once, so that nothing later checks them again.

    Level 0 holds runs `(theta, x)`. Level l >= 1 holds coupled pairs `(theta, x_coarse, x)`: levels
    l-1 and l run with the same theta and the same noise. All tensors are float32 on the CPU; treat
    them as read-only. Make one with `from_arrays`, `load` or `mlsbi.simulate`.
    """

    def __init__(
        self,
        prior: Prior,
        levels: Sequence[tuple[Tensor, Tensor | None, Tensor]],
        *,
        costs: tuple[float, ...] | None,
        dropped: tuple[int, ...],
    ) -> None:
        """Hold tensors that are valid already; use `from_arrays` for anything else.

        Args:
            prior: The prior.
            levels: `(theta, x_coarse, x)` of each level, `x_coarse` None at level 0.
            costs: Cost of one run of each level.
            dropped: Number of invalid runs left out of each level.
        """
        self._prior = prior
        self._levels = tuple(levels)
        self._costs = costs
        self._dropped = dropped

    @classmethod
    def from_arrays(
        cls,
        prior: Any,
        levels: Sequence[Sequence[Any]],
        *,
        costs: Sequence[float] | None = None,
        on_invalid: str = "raise",
    ) -> MultilevelData:
        """Bring your own runs.

        Args:
            prior: The prior that theta was drawn from: anything `as_prior` takes.
            levels: One entry a level, coarsest first: `(theta0, x0)`, then `(theta1, x1_low,
                x1_high)`, ... with `x1_low` the level below run at `theta1` with the same noise.
                theta `(n, d)`; x `(n, *event)`; NumPy arrays or torch tensors, copied.
            costs: Cost of one run of each level, in any one unit.
            on_invalid: `"raise"`, or `"drop"` to leave out runs with NaN or infinite values (both
                members of a pair), with a warning.

        Returns:
            The data.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If shapes disagree, theta leaves the prior's support, a level is empty, or
                a value is not finite.
        """
        own_prior = as_prior(prior)
        option = check_option(on_invalid, name="on_invalid", allowed=("raise", "drop"))
        clean, dropped = check_levels(own_prior, levels, drop=option == "drop")
        return cls(own_prior, clean, costs=check_costs(costs, len(clean)), dropped=dropped)

    @property
    def prior(self) -> Prior:
        """The prior."""
        return self._prior

    @property
    def n(self) -> tuple[int, ...]:
        """Number of runs (level 0) or pairs (levels above) of each level."""
        return tuple(len(theta) for theta, _, _ in self._levels)

    @property
    def num_levels(self) -> int:
        """Number of levels, L + 1."""
        return len(self._levels)

    @property
    def theta_dim(self) -> int:
        """Number of parameters d."""
        return self._prior.dim

    @property
    def costs(self) -> tuple[float, ...] | None:
        """Cost of one run of each level, or None if not known."""
        return self._costs

    @property
    def cost(self) -> float | None:
        """Total cost: the sum over l of `n_l * (C_l + C_{l-1})`, or None if not known."""
        if self._costs is None:
            return None
        lower = (0.0, *self._costs[:-1])
        pairs = zip(self.n, self._costs, lower, strict=True)
        return float(sum(n * (fine + coarse) for n, fine, coarse in pairs))

    @property
    def dropped(self) -> tuple[int, ...]:
        """Number of invalid runs or pairs that were left out of each level."""
        return self._dropped

    def theta(self, level: int) -> Tensor:
        """Parameters of a level, shape `(n_l, d)`.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level.
        """
        return self._levels[self._check_level(level)][0]

    def x(self, level: int) -> Tensor:
        """Outputs of a level's own simulator, shape `(n_l, *event_l)`.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level.
        """
        return self._levels[self._check_level(level)][2]

    def x_coarse(self, level: int) -> Tensor:
        """The lower member of a level's pairs: outputs of level l-1, shape `(n_l, *event_{l-1})`.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level, or it is level 0.
        """
        coarse = self._levels[self._check_level(level)][1]
        if coarse is None:
            raise ValueError(
                "level must be at least 1 for x_coarse; got 0. Level 0 has no level below it: use "
                "x(0)."
            )
        return coarse

    def event_shape(self, level: int) -> tuple[int, ...]:
        """Shape of one output x of a level.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level.
        """
        return tuple(self.x(level).shape[1:])

    def _check_level(self, level: int) -> int:
        number = check_count(level, name="level", minimum=0)
        if number >= self.num_levels:
            raise ValueError(
                f"level must be below {self.num_levels}; got {number}. Levels run from 0 "
                f"(coarsest) to {self.num_levels - 1} (finest)."
            )
        return number

    def subset(self, rows: Sequence[Any]) -> MultilevelData:
        """Some rows of each level; pairs stay together.

        Args:
            rows: One entry a level: row numbers (integers in `[0, n_l)`, repeats allowed), a
                boolean mask of shape `(n_l,)`, or None for all rows.

        Returns:
            The smaller data set.

        Raises:
            TypeError: If `rows` or an entry has the wrong type.
            ValueError: If there is not one entry a level, or an entry is empty or out of range.
        """
        check_type(rows, (list, tuple), name="rows", remedy="Pass a list with one entry a level.")
        if len(rows) != self.num_levels:
            raise ValueError(
                f"rows must have one entry a level, {self.num_levels}; got {len(rows)}. Use None "
                "for a level that is kept whole."
            )
        picks = [
            row_index(r, count=n, name=f"rows[{level}]")
            for level, (r, n) in enumerate(zip(rows, self.n, strict=True))
        ]
        return self._pick(picks)

    def _pick(self, picks: Sequence[Tensor | None]) -> MultilevelData:
        levels = []
        for (theta, coarse, x), pick in zip(self._levels, picks, strict=True):
            rows = slice(None) if pick is None else pick
            levels.append((theta[rows], None if coarse is None else coarse[rows], x[rows]))
        return MultilevelData(self._prior, levels, costs=self._costs, dropped=self._dropped)

    def split(self, fraction: float, *, seed: int) -> tuple[MultilevelData, MultilevelData]:
        """Split every level at random into two parts; pairs stay together.

        Args:
            fraction: Share of the first part, in (0, 1); rounded to whole rows, with at least one
                row a level in either part.
            seed: The split depends on nothing else.

        Returns:
            The two parts, the rows of each in their original order.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If `fraction` or `seed` is out of range, or a level has a single row.
        """
        fraction = check_fraction(fraction, name="fraction")
        seed = check_seed(seed)
        first, second = [], []
        for level, n in enumerate(self.n):
            if n < 2:
                raise ValueError(
                    f"data must have at least 2 rows at every level to be split; level {level} has "
                    f"{n}. Add runs to that level."
                )
            count = min(max(round(fraction * n), 1), n - 1)
            order = torch.randperm(n, generator=make_generator(seed, "split", level))
            first.append(order[:count].sort().values)
            second.append(order[count:].sort().values)
        return self._pick(first), self._pick(second)

    def top(self) -> MultilevelData:
        """The runs of the finest level alone, as a data set with one level."""
        theta, _, x = self._levels[-1]
        costs = None if self._costs is None else self._costs[-1:]
        return MultilevelData(
            self._prior, [(theta, None, x)], costs=costs, dropped=self._dropped[-1:]
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the data to a Zarr (version 3) folder, whole or not at all.

        Args:
            path: The folder to make.
            overwrite: Whether data saved there before may be replaced.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If `path` exists, unless `overwrite` and it holds saved data.
        """
        from mlsbi.data_io import save_data

        save_data(self, path, overwrite=overwrite)

    @staticmethod
    def load(path: str | os.PathLike[str], *, prior: Any = None) -> MultilevelData:
        """Read data that `save` wrote, bit for bit.

        Args:
            path: The folder.
            prior: Replaces the stored prior; needed where that is a custom distribution.

        Returns:
            The data.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If there is no such folder.
            ValueError: If it does not hold saved data, or the prior cannot be rebuilt.
        """
        from mlsbi.data_io import load_data

        return load_data(path, prior=prior)

    def __repr__(self) -> str:
        lines = [f"MultilevelData({self.num_levels} level(s), {self.theta_dim} parameter(s))"]
        for level, n in enumerate(self.n):
            kind = "runs" if level == 0 else "pairs"
            line = f"  level {level}: {n} {kind}, x {self.event_shape(level)}"
            if self._costs is not None:
                line += f", cost {self._costs[level]:g} a run"
            if self._dropped[level]:
                line += f", {self._dropped[level]} dropped"
            lines.append(line)
        if self.cost is not None:
            lines.append(f"  total cost {self.cost:g}")
        return "\n".join(lines)
