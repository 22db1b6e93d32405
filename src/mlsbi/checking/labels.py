"""Are the runs of the levels what their labels say: halves of pairs, levels, test runs.

The coarse halves of level l's pairs and the runs of level l-1 come from one simulator, so that they
follow one law of (theta, x). Where few runs do not follow the law that their label says, the other
laws are tried. How two laws are compared: `_law.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from torch import Tensor

from mlsbi._checks import as_tensor, check_seed, check_type
from mlsbi._random import derive_seed
from mlsbi.checking._law import FEWEST, Runs, features_of, same_law
from mlsbi.checking.finding import Finding
from mlsbi.data import MultilevelData

__all__ = ["check_labels", "check_level_of"]

_ALPHA = 0.01  # of a false alarm, for all levels together
_FITS = 0.003  # p-value from which runs count as of a law, where another one is excluded
_MOST = 4000  # runs of a level that are looked at

_DATA = "Use MultilevelData.from_arrays(...)."


@dataclass(frozen=True, eq=False)
class _Entry:
    """A level's arrays as they were given."""

    theta: Tensor
    coarse: Tensor | None
    x: Tensor

    @property
    def own(self) -> Runs:
        return Runs(self.theta, self.x)

    @property
    def below(self) -> Runs | None:
        return None if self.coarse is None else Runs(self.theta, self.coarse)


def check_labels(data: MultilevelData, *, seed: int = 0) -> tuple[Finding, ...]:
    """Look whether levels, or the two halves of pairs, are exchanged.

    It sees what the law of the runs shows: levels that hardly differ can be exchanged without a
    trace, and do little harm then. On runs that are labelled right it warns in 1 % of cases.

    Args:
        data: Runs of all levels.
        seed: Of the permutations of the tests.

    Returns:
        `"levels-swapped"` and `"coarse-half-differs"` are warnings, `"costs-fall"` and
        `"more-runs-above"` notes. Empty where nothing is odd.

    Raises:
        TypeError: `data` is no `MultilevelData`, or `seed` no integer.
        ValueError: `seed` is out of range.
    """
    check_type(data, MultilevelData, name="data", remedy=_DATA)
    seed = check_seed(seed)
    entries = [_entry(data, level) for level in range(data.num_levels)]
    found = _swapped(entries, seed)
    return (*found, *_costs(data), *_counts(data))


def _entry(data: MultilevelData, level: int) -> _Entry:
    coarse = data.x_coarse(level)[:_MOST] if level else None
    return _Entry(data.theta(level)[:_MOST], coarse, data.x(level)[:_MOST])


def _swapped(entries: Sequence[_Entry], seed: int) -> list[Finding]:
    p = _all_halves(entries, seed)
    alpha = _ALPHA / max(1, len(p))
    odd = [level for level, (coarse, _) in p.items() if coarse < alpha]
    concerned = {*odd, *(level - 1 for level in odd)} - {0}
    for first, second in combinations(range(1, len(entries)), 2):
        if {first, second} & concerned:
            turned = list(entries)
            turned[first], turned[second] = entries[second], entries[first]
            again = _all_halves(turned, seed)
            if again and all(coarse >= _FITS for coarse, _ in again.values()):
                return [_exchanged(first, second, min(p[level][0] for level in odd))]
    return [_odd_half(level, *p[level], count=len(entries[level].theta)) for level in odd]


def _all_halves(entries: Sequence[_Entry], seed: int) -> dict[int, tuple[float, float | None]]:
    """What `_halves` says of each level of which it says anything."""
    found = {level: _halves(entries, level, seed) for level in range(1, len(entries))}
    return {level: one for level, one in found.items() if one is not None}


def _halves(entries: Sequence[_Entry], level: int, seed: int) -> tuple[float, float | None] | None:
    """P-values of "the coarse, and the fine, halves follow the law of the level below".

    None where they cannot be compared.
    """
    below, own = entries[level - 1].own, entries[level]
    coarse = own.below
    if coarse is None or len(own.theta) < FEWEST or below.x.shape[1:] != coarse.x.shape[1:]:
        return None
    learn, rest = below.halves()
    sets = [rest, coarse]
    if own.x.shape[1:] == coarse.x.shape[1:]:
        sets.append(own.own)
    features = features_of(learn, sets)
    if features is None or len(rest) < FEWEST:
        return None
    p = [
        same_law(features[0], one, seed=derive_seed(seed, "labels", level)) for one in features[1:]
    ]
    return p[0], p[1] if len(p) > 1 else None


def _exchanged(first: int, second: int, p: float) -> Finding:
    return Finding(
        "levels-swapped",
        "warning",
        f"The runs of levels {first} and {second} look exchanged: as they are, coarse halves of "
        f"pairs do not follow the law of the level below (p = {p:.1g}); the other way round, all "
        "do.",
        f"See which files the runs came from, and exchange the entries {first} and {second} of "
        "MultilevelData.from_arrays.",
        {"p": p, "first": float(first), "second": float(second)},
    )


def _odd_half(level: int, coarse: float, fine: float | None, *, count: int) -> Finding:
    below = level - 1
    evidence = {"level": float(level), "pairs": float(count), "p_coarse": coarse}
    if fine is not None:
        evidence["p_fine"] = fine
    if fine is not None and fine >= _FITS:
        return Finding(
            "levels-swapped",
            "warning",
            f"The fine halves of level {level}'s {count} pairs follow the law of level {below}'s "
            f"runs (p = {fine:.2g}), the coarse halves do not (p = {coarse:.1g}): they look "
            "swapped.",
            f"Entry {level} of MultilevelData.from_arrays is (theta, x of level {below}, x of "
            f"level {level}). If that is how it was, see whether the runs of level {below} are "
            f"those of level {level}.",
            evidence,
        )
    return Finding(
        "coarse-half-differs",
        "warning",
        f"The coarse halves of level {level}'s {count} pairs do not follow the law of level "
        f"{below}'s runs (p = {coarse:.1g}), as runs of one simulator would.",
        f"See whether both were run with the same version and settings, in the same units and "
        f"order of outputs, and with theta from the prior: what level {below} teaches is carried "
        "over by these pairs.",
        evidence,
    )


def _costs(data: MultilevelData) -> list[Finding]:
    costs = data.costs
    if costs is None:
        return []
    return [
        Finding(
            "costs-fall",
            "note",
            f"A run of level {level} costs {costs[level]:.3g}, one of level {level - 1} "
            f"{costs[level - 1]:.3g}: it is not dearer.",
            "Levels run from the cheapest, 0, to the most faithful. If that is how they are "
            f"ordered, level {level - 1} is of no use: leave it out.",
            {"level": float(level), "cost": costs[level], "cost_below": costs[level - 1]},
        )
        for level in range(1, data.num_levels)
        if costs[level] <= costs[level - 1]
    ]


def _counts(data: MultilevelData) -> list[Finding]:
    return [
        Finding(
            "more-runs-above",
            "note",
            f"Level {level} has {data.n[level]} pairs and level {level - 1} only "
            f"{data.n[level - 1]} runs.",
            "Levels run from the cheapest, 0, to the most faithful. If that is how they are "
            f"ordered, runs of level {level - 1} are the cheapest way to a better fit.",
            {"level": float(level), "n": float(data.n[level]), "n_below": float(data.n[level - 1])},
        )
        for level in range(1, data.num_levels)
        if data.n[level] > data.n[level - 1]
    ]


def check_level_of(
    data: MultilevelData,
    theta_test: Any,
    x_test: Any,
    *,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Look whether test runs follow another level's law than that of the finest.

    On test runs of level L at theta from the prior it warns in 1 % of cases. It says nothing where
    there are fewer than 5 test runs, or runs of level L.

    Args:
        data: Runs of all levels.
        theta_test: Parameters of the test runs, shape `(m, d)`.
        x_test: Their outputs, shape `(m, *event)`.
        seed: Of the permutations of the tests.

    Returns:
        A warning `"test-runs-of-level"` or `"test-runs-differ"`; empty where nothing is odd.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has the wrong shape, or is not finite.
    """
    check_type(data, MultilevelData, name="data", remedy=_DATA)
    seed, top = check_seed(seed), data.num_levels - 1
    theta = as_tensor(theta_test, name="theta_test", shape=(None, data.theta_dim)).cpu()
    event = data.event_shape(top)
    x = as_tensor(x_test, name="x_test", shape=(len(theta), *event)).cpu()
    levels = [
        level
        for level in range(data.num_levels)
        if tuple(data.event_shape(level)) == tuple(event) and data.n[level] >= FEWEST
    ]
    if top not in levels or len(theta) < FEWEST:
        return ()
    p = _laws(data, levels, Runs(theta, x), seed)
    if p is None or p[top] >= _ALPHA:
        return ()
    return (_of_level(p, top, len(theta)),)


def _laws(
    data: MultilevelData, levels: Sequence[int], test: Runs, seed: int
) -> dict[int, float] | None:
    """P-value of "the test runs follow the law of this level", of each."""
    many = max(levels, key=lambda level: data.n[level])
    sets = {level: _entry(data, level).own for level in levels}
    learn, sets[many] = sets[many].halves()
    features = features_of(learn, [test, *sets.values()])
    if features is None:
        return None
    return {
        level: same_law(features[0], own, seed=derive_seed(seed, "test runs", level))
        for level, own in zip(sets, features[1:], strict=True)
    }


def _of_level(p: dict[int, float], top: int, count: int) -> Finding:
    evidence = {f"p_level_{level}": value for level, value in p.items()} | {"runs": float(count)}
    best = max(p, key=lambda level: p[level])
    if best != top and p[best] >= _FITS:
        return Finding(
            "test-runs-of-level",
            "warning",
            f"The {count} test runs look like runs of level {best} (p = {p[best]:.2g}), not of "
            f"level {top} (p = {p[top]:.1g}): the check says how well the fit tells of level "
            f"{best}.",
            f"Pass runs of level {top}.",
            evidence,
        )
    return Finding(
        "test-runs-differ",
        "warning",
        f"The {count} test runs do not follow the law of level {top}'s runs (p = {p[top]:.1g}), "
        "nor that of any other level.",
        "See whether they were run with the same version and settings, in the same units and "
        "order of outputs, and with theta from the prior.",
        evidence,
    )
