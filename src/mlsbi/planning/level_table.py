"""The multilevel table: what each level costs, and how far it is from the level below.

Of each level l, with d = x_l - x_(l-1) on the same theta and noise, in units shared by all levels:
Var x_l, E d^2, their ratio, correlations, the kurtosis of d, and over the levels the rates

    |E d| ~ 2^(-alpha l),   Var d ~ 2^(-beta l),   C_l ~ 2^(gamma l).

Reference: Giles, Multilevel Monte Carlo methods, Acta Numerica 24 (2015), 259-328; the R package
mlmc prints the same of scalar outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._table import Cell, Table
from mlsbi.estimators.transforms import Standardise
from mlsbi.planning._level_sums import (
    Groups,
    correlations,
    kurtosis,
    noise_share,
    rate,
    top_share,
)
from mlsbi.planning.columns import Columns

__all__ = ["LevelStatistics", "dominated", "level_statistics"]

_TOP = 0.05  # share of the rows that `top_share` looks at


@dataclass(frozen=True, eq=False)
class LevelStatistics:
    """The figures of the multilevel table, one entry a level each; None where not known.

    Squares, variances and errors are means over outputs, in shared standardised units: (x -
    location) / scale of each output, from all levels' runs pooled, asinh of it where the tails are
    heavy. Levels share units with those of the same event shape only.

    Attributes:
        costs: Of one run.
        seconds: Mean wall-clock seconds of one run.
        seconds_sd: Their standard deviation over runs.
        n: Columns with a run of this level (level 0), and of the level below too (levels above).
        failed: Share of the runs that failed.
        variance: Var x_l.
        variance_error: Its standard error.
        difference: E|x_l - x_(l-1)|^2; level 0: E|x_0|^2.
        difference_error: Its standard error.
        difference_variance: Var (x_l - x_(l-1)); level 0: Var x_0.
        mean_difference: Root mean square over outputs of E (x_l - x_(l-1)); None at level 0.
        correlation: Of each output with the same of the level below, shape `event_l`; NaN where
            an output does not vary. None at level 0.
        kurtosis: Of x_l - x_(l-1) about its mean, E d^4 / (E d^2)^2, the largest of all outputs'.
        top_share: Share of the sum of |x_l - x_(l-1)|^2 that the largest 5 % of rows hold.
        noise_share: Share of Var x_l that is left at fixed theta; needs twins.
        alpha: Rate of |E d|, and of its variance and of the cost below; from 3 levels on.
        beta: Rate of Var d.
        gamma: Rate of the cost.
        notes: What else is to be said.
    """

    costs: tuple[float, ...]
    seconds: tuple[float | None, ...]
    seconds_sd: tuple[float | None, ...]
    n: tuple[int, ...]
    failed: tuple[float, ...]
    variance: tuple[float | None, ...]
    variance_error: tuple[float | None, ...]
    difference: tuple[float | None, ...]
    difference_error: tuple[float | None, ...]
    difference_variance: tuple[float | None, ...]
    mean_difference: tuple[float | None, ...]
    correlation: tuple[Tensor | None, ...]
    kurtosis: tuple[float | None, ...]
    top_share: tuple[float | None, ...]
    noise_share: tuple[float | None, ...]
    alpha: float | None
    beta: float | None
    gamma: float | None
    notes: tuple[str, ...]

    @property
    def ratio(self) -> tuple[float | None, ...]:
        """E|x_l - x_(l-1)|^2 over Var x_l: what pairs save; None at level 0."""
        pairs = list(zip(self.difference, self.variance, strict=True))[1:]
        return (None, *(d / v if d is not None and v else None for d, v in pairs))

    def table(self, *, title: str = "", measured: bool = False) -> Table:
        """The figures as a table.

        Args:
            title: A line above it.
            measured: Whether the costs are the seconds.
        """
        rows = [self._row(level, measured=measured) for level in range(len(self.costs))]
        empty = {name for name in rows[0] if all(row[name] is None for row in rows)}
        kept = tuple({k: v for k, v in row.items() if k not in empty} for row in rows)
        return Table(title, kept, self.notes)

    def _row(self, level: int, *, measured: bool) -> dict[str, Cell]:
        correlation = self.correlation[level]
        known = torch.empty(0) if correlation is None else correlation[~correlation.isnan()]
        return {
            "level": level,
            "cost": None if measured else self.costs[level],
            "seconds": self.seconds[level],
            "sd": self.seconds_sd[level],
            "n": self.n[level],
            "failed": self.failed[level],
            "Var x": self.variance[level],
            "E|d|^2": self.difference[level],
            "+-": self.difference_error[level],
            "ratio": self.ratio[level],
            "corr": float(known.median()) if len(known) else None,
            "lowest": float(known.min()) if len(known) else None,
            "kurtosis": self.kurtosis[level],
            "top 5%": self.top_share[level],
            "noise": self.noise_share[level],
        }


@dataclass(frozen=True)
class _Level:
    """The figures of one level that need its outputs; see `LevelStatistics`."""

    n: int
    variance: float | None = None
    variance_error: float | None = None
    difference: float | None = None
    difference_error: float | None = None
    difference_variance: float | None = None
    mean_difference: float | None = None
    correlation: Tensor | None = None
    kurtosis: float | None = None
    top_share: float | None = None
    noise_share: float | None = None


def level_statistics(columns: Columns, costs: Sequence[float]) -> LevelStatistics:
    """The figures of the multilevel table.

    Args:
        columns: Runs of all levels on the same theta and noise.
        costs: Cost of one run of each level.

    Returns:
        The figures.
    """
    units = _units(columns)
    found = [_level(columns, level, units) for level in range(columns.num_levels)]
    above = found[1:]
    alpha = rate([own.mean_difference for own in above], sign=-1)
    beta = rate([own.difference_variance for own in above], sign=-1)
    gamma = rate([float(cost) for cost in costs][1:], sign=1)
    return LevelStatistics(
        costs=tuple(float(cost) for cost in costs),
        seconds=columns.seconds,
        seconds_sd=columns.seconds_sd,
        failed=tuple((~columns.ok).double().mean(1).tolist()),
        **{name: tuple(getattr(own, name) for own in found) for name in _Level.__annotations__},
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        notes=tuple(_notes(columns, found, units, (alpha, beta, gamma))),
    )


def _units(columns: Columns) -> dict[tuple[int, ...], Standardise]:
    """Units of each event shape: one if all levels have the same."""
    pooled: dict[tuple[int, ...], list[Tensor]] = {}
    for x, ok in zip(columns.x, columns.ok, strict=True):
        pooled.setdefault(tuple(x.shape[1:]), []).append(x[ok])
    return {event: Standardise.fit(torch.cat(parts)) for event, parts in pooled.items()}


def _level(columns: Columns, level: int, units: dict[tuple[int, ...], Standardise]) -> _Level:
    event = columns.event_shapes[level]
    ok = columns.ok[level]
    own = units[event](columns.x[level]).double().flatten(1)  # NaN where not ok
    groups = Groups(ok, columns.twins)
    variance, variance_error = groups.variance(own)
    if level == 0:
        difference, error = groups.mean(own.square().mean(1))
        return _Level(
            int(ok.sum()), variance, variance_error, difference, error, variance,
            noise_share=noise_share(own, ok, columns.twins),
        )  # fmt: skip
    both = ok & columns.ok[level - 1]
    noise = noise_share(own, ok, columns.twins)
    if event != columns.event_shapes[level - 1]:
        return _Level(int(both.sum()), variance, variance_error, noise_share=noise)
    coarse = units[event](columns.x[level - 1]).double().flatten(1)
    moved, groups = own - coarse, Groups(both, columns.twins)
    difference, error = groups.mean(moved.square().mean(1))
    return _Level(
        int(both.sum()),
        variance,
        variance_error,
        difference,
        error,
        groups.variance(moved)[0],
        groups.root_mean(moved),
        correlations(own[both], coarse[both]).reshape(event),
        kurtosis(moved[both]),
        top_share(moved[both], _TOP),
        noise,
    )


def dominated(n: int, kurtosis: float | None, top_share: float | None) -> bool:
    """Whether few rows hold most of the difference, so that its mean square is not to be trusted.

    The R package mlmc warns at a kurtosis of 100. The kurtosis of n rows cannot exceed n - 1, which
    it reaches if one row differs from all the others. So few rows are judged by a lower bar, above
    what normal differences reach in a thousand outputs; from fewer than 17 rows nothing follows.

    Args:
        n: Number of rows.
        kurtosis: Of the difference.
        top_share: Share of its sum of squares that 5 % of the rows hold.
    """
    high = kurtosis is not None and kurtosis > min(100.0, max(15.0, n / 4))
    return high or (n > 16 and top_share is not None and top_share > 0.8)


def _notes(
    columns: Columns,
    found: Sequence[_Level],
    units: dict[tuple[int, ...], Standardise],
    rates: tuple[float | None, float | None, float | None],
) -> list[str]:
    bent = sum(int(unit.asinh.sum()) for unit in units.values())
    text = (
        "d = x_l - x_(l-1) on the same theta and noise, in standardised units; means over outputs"
    )
    notes = [text + f"; asinh of {bent} output(s) with heavy tails" * (bent > 0)]
    known = [
        f"{name} {value:.2g} ({what})"
        for name, what, value in zip(
            ("alpha", "beta", "gamma"), ("of |E d|", "of Var d", "of cost"), rates, strict=True
        )
        if value is not None
    ]
    if known:
        notes.append("rates, powers of 2 a level: " + ", ".join(known))
    shapes = columns.event_shapes
    for level, own in enumerate(found[1:], start=1):
        if shapes[level] != shapes[level - 1]:
            notes.append(
                f"levels {level - 1} and {level} return x of shapes {shapes[level - 1]} and "
                f"{shapes[level]}: their difference is not known"
            )
        elif dominated(own.n, own.kurtosis, own.top_share):
            notes.append(
                f"warning: a few of the {own.n} rows hold most of the difference of levels "
                f"{level - 1} and {level} (kurtosis {own.kurtosis or math.nan:.3g}, top 5 % of "
                f"rows {own.top_share or math.nan:.0%}): its mean square, and plans made of it, "
                "may be far off; run a larger pilot"
            )
    return notes
