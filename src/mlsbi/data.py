"""The runs of a hierarchy, level by level: what every later step reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mlsbi._checks import check_level, check_option
from mlsbi._data_checks import check_costs, check_levels
from mlsbi._data_join import join
from mlsbi._data_rows import row_picks, split_picks
from mlsbi._facts import Facts, facts_since, read, total_cost
from mlsbi._open_runs import from_store
from mlsbi._runs import AnyRuns, as_runs, describe_runs
from mlsbi.failures import Failure
from mlsbi.prior import Prior, as_prior

__all__ = ["MultilevelData", "from_store"]


class MultilevelData:
    """Runs of every level, validated once, so that nothing later checks them again.

    Level 0 holds runs `(theta, x)`. Level l >= 1 holds coupled pairs `(theta, x_coarse, x)`: levels
    l-1 and l run with the same theta and the same noise. All tensors are float32 on the CPU; treat
    them as read-only. Make one with `from_arrays`, `load` or `mlsbi.simulate`. Large sets in a
    campaign's store stay there: each array is read when it is first used.
    """

    def __init__(
        self,
        prior: Prior,
        levels: Sequence[AnyRuns | tuple[Tensor, Tensor | None, Tensor]],
        *,
        costs: tuple[float, ...] | None,
        dropped: tuple[int, ...],
        failures: Sequence[Failure] = (),
        seconds: Sequence[float | None] | None = None,
        seconds_sd: Sequence[float | None] | None = None,
        seeds: frozenset[int] = frozenset(),
    ) -> None:
        """Hold tensors that are valid already; use `from_arrays` for anything else.

        Args:
            prior: The prior.
            levels: `(theta, x_coarse, x)` of each level, `x_coarse` None at level 0.
            costs: Cost of one run of each level.
            dropped: Number of invalid runs left out of each level.
            failures: Why they were left out, where that is known.
            seconds: Mean wall-clock time of one run of each level.
            seconds_sd: Its standard deviation over runs.
            seeds: Seeds of the campaigns that made the runs, where known.
        """
        self._prior = prior
        self._levels = tuple(as_runs(runs) for runs in levels)
        self._facts = Facts(
            costs=costs,
            dropped=dropped,
            failures=failures,
            seconds=seconds,
            seconds_sd=seconds_sd,
            seeds=seeds,
        )

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
        return tuple(len(runs) for runs in self._levels)

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
        return self._facts["costs"]

    @property
    def cost(self) -> float | None:
        """Total cost: the sum over l of `n_l * (C_l + C_{l-1})`, or None if not known."""
        return total_cost(self.n, self.costs)

    @property
    def dropped(self) -> tuple[int, ...]:
        """Number of invalid runs or pairs that were left out of each level."""
        return self._facts["dropped"]

    @property
    def failures(self) -> Sequence[Failure]:
        """Runs of a campaign that failed; empty for arrays of your own."""
        return self._facts["failures"]

    @property
    def seconds(self) -> tuple[float | None, ...] | None:
        """Mean wall-clock seconds of one run of each level's own simulator, where known."""
        return read(self._facts["seconds"])

    @property
    def seconds_sd(self) -> tuple[float | None, ...] | None:
        """Standard deviation over runs of the seconds of one run of each level's own simulator.

        None where not known, or for fewer than 2 runs. Runs of a batch share its time, so that for
        a batched simulator this is the spread of means over batches.
        """
        return read(self._facts["seconds_sd"])

    def theta(self, level: int) -> Tensor:
        """Parameters of a level, shape `(n_l, d)`.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level.
        """
        return self._runs(level).theta

    def x(self, level: int) -> Tensor:
        """Outputs of a level's own simulator, shape `(n_l, *event_l)`.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level.
        """
        return self._runs(level).x

    def x_coarse(self, level: int) -> Tensor:
        """The lower member of a level's pairs: outputs of level l-1, shape `(n_l, *event_{l-1})`.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level, or it is level 0.
        """
        coarse = self._runs(level).x_coarse
        if coarse is None:
            raise ValueError("level must be at least 1 for x_coarse; got 0. There, use x(0).")
        return coarse

    def event_shape(self, level: int) -> tuple[int, ...]:
        """Shape of one output x of a level.

        Raises:
            TypeError: If `level` is not an integer.
            ValueError: If there is no such level.
        """
        return self._runs(level).event_shape

    def _runs(self, level: int) -> AnyRuns:
        return self._levels[check_level(level, num_levels=self.num_levels)]

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
        return self._pick(row_picks(rows, counts=self.n))

    def _pick(self, picks: Sequence[Tensor | None]) -> MultilevelData:
        return self._with([runs.pick(own) for runs, own in zip(self._levels, picks, strict=True)])

    def _with(self, levels: Sequence[AnyRuns]) -> MultilevelData:
        """The same but for the runs, of all levels or of the finest ones."""
        facts = facts_since(self._facts, self.num_levels - len(levels))
        return MultilevelData(self._prior, levels, **facts)

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
        first, second = split_picks(self.n, fraction, seed=seed)
        return self._pick(first), self._pick(second)

    def top(self) -> MultilevelData:
        """The runs of the finest level alone, as a data set with one level."""
        return self._with([self._levels[-1].unpaired()])

    def joined(self, other: MultilevelData) -> MultilevelData:
        """These runs and then others of the same simulators, level by level.

        Runs in a store stay there until they are used. A run that is in both is there twice then.

        Args:
            other: The runs to add.

        Returns:
            All runs and failures, these first. Times are means over all runs.

        Raises:
            TypeError: If `other` is no `MultilevelData`.
            ValueError: If it has other levels, event shapes or costs (None fits any), or another
                prior.
        """
        levels, facts = join(self, other)
        return MultilevelData(self._prior, levels, **facts)

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
        """Read data that `save` wrote, bit for bit, or what a campaign has finished so far.

        Args:
            path: The folder; or a campaign's store, which may be written meanwhile.
            prior: Replaces the stored prior; needed where that is a custom distribution.

        Returns:
            The data.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If there is no such folder, it does not hold saved data, the prior cannot
                be rebuilt, or it is a store without finished rows at a level.
        """
        from mlsbi.data_io import load_data

        return load_data(path, prior=prior)

    def __repr__(self) -> str:
        first = f"MultilevelData({self.num_levels} level(s), {self.theta_dim} parameter(s))"
        return "\n".join([first, *describe_runs(self._levels, self.costs, self.dropped)])
