"""From a data set to rows in the network's units: the transforms, and who holds out what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.data import MultilevelData
from mlsbi.estimators.transforms import Standardise, Support, Transform, robust_location_scale
from mlsbi.options import Training
from mlsbi.prior import Prior
from mlsbi.problem import LevelRows, folds, num_folds
from mlsbi.summaries import Learner, Summary

__all__ = ["Prepared", "prepare", "train_rows"]


@dataclass(frozen=True)
class Prepared:
    """Every level's rows in the network's units, and the transforms of level L.

    Attributes:
        levels: Rows of level 0 .. L.
        value_transform: Of level L's value.
        context_transform: Of level L's context.
        rows: The history of learning summaries; none where x is taken as it is.
    """

    levels: tuple[LevelRows, ...]
    value_transform: Transform
    context_transform: Transform
    rows: tuple[dict[str, float], ...] = ()


def prepare(
    data: MultilevelData,
    *,
    kind: str,
    statistics: str,
    tails: str,
    shared: bool,
    learner: Learner | None = None,
) -> Prepared:
    """Transforms fitted on `data`, and all rows in the network's units.

    Args:
        data: Runs of every level.
        kind: "posterior" (value theta, context x) or "likelihood" (value x, context theta).
        statistics: "pooled", "level", "auto" or "array"; see `Multilevel.standardise`.
        tails: Which outputs go through asinh; see `Standardise.fit`.
        shared: One location and scale for all of x, for an embedding net.
        learner: Learns the summaries that stand for x; None: x is taken as it is. The other
            arguments then speak of the summaries.

    Raises:
        ValueError: The levels' x differ in shape, and there is no `learner`.
    """
    if learner is not None:
        return _summarised(
            data, learner, kind=kind, statistics=statistics, tails=tails, shared=shared
        )
    check_same_events(data)
    if statistics == "auto":
        statistics = choose_statistics(data, tails=tails, shared=shared)
    arrays = _x_transforms(data, statistics=statistics, tails=tails, shared=shared)
    top = arrays[data.num_levels - 1, False]
    theta_transform = _theta_transform(data, kind=kind)
    levels = []
    for level in range(data.num_levels):
        theta = theta_transform(data.theta(level))
        x = arrays[level, False](data.x(level))
        coarse = arrays[level, True](data.x_coarse(level)) if level else None
        levels.append(_rows(kind, theta, x, coarse))
    if kind == "posterior":
        return Prepared(tuple(levels), theta_transform, top)
    return Prepared(tuple(levels), top, theta_transform)


def _summarised(data: MultilevelData, learner: Learner, **options: Any) -> Prepared:
    """Prepared from the summaries alone; level L's x goes through its compressor first."""
    learned = learner.learn(data)
    prepared = prepare(learned.data, **options)
    if options["kind"] == "posterior":
        summary = Summary(learned.compressor, prepared.context_transform)
        return replace(prepared, context_transform=summary, rows=learned.rows)
    summary = Summary(learned.compressor, prepared.value_transform)
    return replace(prepared, value_transform=summary, rows=learned.rows)


def check_same_events(data: MultilevelData) -> None:
    """Refuse levels whose x differ in shape."""
    shapes = [tuple(data.event_shape(level)) for level in range(data.num_levels)]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"data: x has event shapes {shapes} at levels 0 .. {len(shapes) - 1}, and the strategy "
            "needs the same shape at every level; bring the levels to common summaries (the same "
            "grid, or the same statistics) before MultilevelData.from_arrays"
        )


def choose_statistics(data: MultilevelData, *, tails: str, shared: bool) -> str:
    """Choose "level" where aligning the levels carries level 0's knowledge to level L, or "pooled".

    A quadratic regression of theta on x is fitted to level 0 and tried on level L's runs, which it
    has not seen, with x in either kind of units. Aligning has to win by two standard errors.
    """
    if data.num_levels == 1:
        return "pooled"
    top = data.num_levels - 1
    pooled, level = (
        _transfer_error(data, _x_transforms(data, statistics=s, tails=tails, shared=shared), top)
        for s in ("pooled", "level")
    )
    gain = pooled.log() - level.log()
    if gain.shape[0] < 3:
        return "pooled"
    return (
        "level" if float(gain.mean()) > 2 * float(gain.std()) / gain.shape[0] ** 0.5 else "pooled"
    )


def _transfer_error(
    data: MultilevelData, transforms: dict[tuple[int, bool], Standardise], top: int
) -> Tensor:
    """Mean squared error of each of level L's rows, in units of level 0's own, `(n_L,)`."""
    theta_transform = _theta_transform(data, kind="posterior")

    def features(x: Tensor) -> Tensor:
        # clamped: one far value, squared, would decide alone
        flat = x.flatten(1).double().clamp(-6, 6)
        return torch.cat([torch.ones_like(flat[:, :1]), flat, flat.square()], 1)

    known = features(transforms[0, False](data.x(0)))
    target = theta_transform(data.theta(0)).double()
    ridge = 1e-3 * known.shape[0] * torch.eye(known.shape[1], dtype=known.dtype)
    weights = torch.linalg.solve(known.mT @ known + ridge, known.mT @ target)
    own = (target - known @ weights).square().mean(0)
    tried = features(transforms[top, False](data.x(top))) @ weights
    return ((theta_transform(data.theta(top)).double() - tried).square() / own).mean(1)


def train_rows(
    data: MultilevelData, members: int, training: Training, seed: int
) -> tuple[Tensor, ...]:
    """For each level, which rows each member trains on, bool `(k, n_l)`.

    Runs with the same theta, as those of a pilot at all levels, are held out together: their noise
    may be the same, too, and a member would be judged by what it has seen.
    """
    fraction = training.validation_fraction
    found = tuple(
        folds(n, members, fraction=fraction, generator=make_generator(seed, "folds", level))
        for level, n in enumerate(data.n)
    )
    if fraction is None:
        return found
    together, number = same_theta([data.theta(level) for level in range(data.num_levels)])
    if number == 0:
        return found
    count = num_folds(fraction)
    fold = torch.randperm(number, generator=make_generator(seed, "folds", "same theta")) % count
    for train, group in zip(found, together, strict=True):
        if len(group) > 1:
            rows = group >= 0
            member = torch.arange(members).unsqueeze(1) % count
            train[:, rows] = fold[group[rows]] != member
    return found


def same_theta(theta: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Which rows have a theta that comes more than once, at any level.

    Args:
        theta: Of each level, `(n_l, d)`.

    Returns:
        A number for each row of each level, the same for the same theta, -1 where it comes once;
        and how many such numbers there are.
    """
    every = torch.cat(list(theta)).numpy().astype(np.float64)
    key = np.zeros(len(every))
    for j in range(every.shape[1]):  # one number a row, as sorting rows takes long
        key += every[:, j] * math.sqrt(j + 2)
    _, group, count = np.unique(key, return_inverse=True, return_counts=True)
    again = np.where(count > 1, np.cumsum(count > 1) - 1, -1)
    found = torch.from_numpy(again[group.ravel()])
    return list(found.split([len(t) for t in theta])), int((count > 1).sum())


def _rows(kind: str, theta: Tensor, x: Tensor, coarse: Tensor | None) -> LevelRows:
    if kind == "posterior":
        return LevelRows(theta, x, None if coarse is None else theta, coarse)
    flat = None if coarse is None else coarse.flatten(1)
    return LevelRows(x.flatten(1), theta, flat, None if coarse is None else theta)


def _theta_transform(data: MultilevelData, *, kind: str) -> Transform:
    """Onto R^d for a value; for a context, the prior's box scaled to unit variance."""
    pooled = torch.cat([data.theta(level) for level in range(data.num_levels)])
    prior: Prior = data.prior
    if kind == "posterior":
        return Support.fit(prior.low, prior.high, pooled)
    location, scale = robust_location_scale(pooled)
    both = torch.isfinite(prior.low) & torch.isfinite(prior.high)
    middle, width = (prior.low + prior.high) / 2, prior.high - prior.low
    return Standardise(
        torch.where(both, middle, location),
        torch.where(both, width / 12**0.5, scale),
        torch.zeros(prior.dim, dtype=torch.bool),
    )


def _x_transforms(
    data: MultilevelData, *, statistics: str, tails: str, shared: bool
) -> dict[tuple[int, bool], Standardise]:
    """A transform for each array of x, by (level, coarse)."""
    keys = [(level, False) for level in range(data.num_levels)]
    keys += [(level, True) for level in range(1, data.num_levels)]

    def array(level: int, coarse: bool) -> Tensor:  # noqa: FBT001
        return data.x_coarse(level) if coarse else data.x(level)

    pooled = Standardise.fit(torch.cat([array(*key) for key in keys]), tails=tails, shared=shared)
    if statistics == "pooled":
        return dict.fromkeys(keys, pooled)
    if statistics == "array":
        return {key: _mean_and_deviation(array(*key), pooled.asinh) for key in keys}
    levels = _level_statistics(data, shared=shared)
    by_level = [Standardise(location, scale, pooled.asinh) for location, scale in levels]
    return {(level, coarse): by_level[level - coarse] for level, coarse in keys}


def _mean_and_deviation(x: Tensor, asinh: Tensor) -> Standardise:
    scale = x.double().std(0, correction=0)
    return Standardise(
        x.double().mean(0), torch.where(scale > 0, scale, torch.ones_like(scale)), asinh
    )


def _level_statistics(data: MultilevelData, *, shared: bool) -> list[tuple[Tensor, Tensor]]:
    """Location and scale of each level's x, level 0's carried up by the coupled pairs.

    With few pairs the median and the scale of x_l alone are rough; relative to those of its coarse
    partners, whose true values the many cheap runs give, they are not (a control variate).
    """

    def statistics_of(x: Tensor) -> tuple[Tensor, Tensor]:
        location, scale = robust_location_scale(x.reshape(-1, 1) if shared else x)
        return location.expand(x.shape[1:]), scale.expand(x.shape[1:])

    result = [statistics_of(data.x(0))]
    for level in range(1, data.num_levels):
        location, scale = result[-1]
        fine_location, fine_scale = statistics_of(data.x(level))
        coarse_location, coarse_scale = statistics_of(data.x_coarse(level))
        ratio = fine_scale / coarse_scale
        result.append((fine_location + (location - coarse_location) * ratio, scale * ratio))
    return result
