"""The numbers of a fit's multilevel table, from the rows that the strategy was given.

See `mlsbi.multilevel_table` for what they are. Nothing here changes the density.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._random import derive_seed, isolated_rng, make_generator
from mlsbi.data import MultilevelData
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.union import UnionDensity
from mlsbi.gradients import term_gradients
from mlsbi.multilevel_table import MultilevelLosses
from mlsbi.problem import Problem

__all__ = ["measure"]

_ROWS = 2048  # of a level, for the losses
_GRADIENT_ROWS = 512  # of a level, for the gradients
_CHUNK = 16384  # rows evaluated at once, all members' together
_LARGEST = 100_000_000  # numbers in the gradients of all terms; beyond, they are left out
_LOWEST = -1e4  # log density of a row that has none, as where candidates are weighed


@dataclass(frozen=True)
class _Judged:
    """Rows of one level and the members that judge them.

    Attributes:
        value: Of the fine runs, on the density's device, `(m, d)`; so are the next three.
        context: `(m, *event)`.
        coarse: Value and context of the coarse runs; None at level 0 and for identical pairs.
        judges: Which of the members evaluate which rows, bool `(members, m)`.
        jacobian: Log determinant that is added to each log density, float64 `(m,)`.
        held_out: Whether the judges did not train on the rows.
        identical: Whether both halves of every pair are the same.
    """

    value: Tensor
    context: Tensor
    coarse: tuple[Tensor, Tensor] | None
    judges: Tensor
    jacobian: Tensor
    held_out: bool
    identical: bool

    def __len__(self) -> int:
        return len(self.value)


def measure(
    whole: Estimator,
    problem: Problem,
    data: MultilevelData,
    *,
    history: Sequence[Mapping[str, float]],
) -> MultilevelLosses:
    """Losses and gradients of a trained density at the rows of every level.

    Args:
        whole: The density, its transforms and the weights of its members, in evaluation mode and
            before its parameters are frozen.
        problem: Rows in the network's units, and who holds out which.
        data: Theta in the user's units, and costs.
        history: Of the training.
    """
    levels = [_judged(whole, problem, data, level) for level in range(len(problem.levels))]
    with isolated_rng(derive_seed(problem.seed, "multilevel table")):
        figures = [_figures(whole, judged) for judged in levels]
        norms, cosines = _gradient_figures(whole, levels)
    projected = [
        row["projected"] for row in history if math.isfinite(row.get("projected", math.nan))
    ]
    units = "theta in its own" if problem.kind == "posterior" else "x in the network's"
    return MultilevelLosses(
        n=tuple(len(rows) for rows in problem.levels),
        costs=data.costs,
        rows=tuple(len(judged) for judged in levels),
        held_out_rows=tuple(len(j) if j.held_out else 0 for j in levels),
        identical=tuple(j.identical for j in levels),
        gradient_norm=norms,
        cosine=cosines,
        projected=sum(projected) / len(projected) if projected else None,
        unit=f"nats, {units} units",
        **{name: tuple(f[name] for f in figures) for name in figures[0]},
    )


def _judged(whole: Estimator, problem: Problem, data: MultilevelData, level: int) -> _Judged:
    """At most `_ROWS` of a level's rows in random order, held-out ones where there are 2."""
    rows, device = problem.levels[level], problem.device
    train = problem.train_rows[level]
    # A density of several parts has the fit's k members in each.
    judges = (~train).repeat(whole.members // len(train), 1)
    used = (whole.log_weights > -torch.inf).cpu()
    some = (judges & used.unsqueeze(1)).any(0)
    held_out = int(some.sum()) >= 2
    if not held_out:
        judges, some = torch.ones_like(judges), torch.ones_like(some)
    place = some.nonzero().squeeze(1)
    generator = make_generator(problem.seed, "multilevel table", level)
    place = place[torch.randperm(len(place), generator=generator)[:_ROWS]]
    identical = rows.identical_pair
    value, context = (t[place].to(device) for t in rows.member(coarse=False))
    coarse = None
    if level and not identical:
        coarse_value, coarse_context = (t[place].to(device) for t in rows.member(coarse=True))
        coarse = coarse_value, coarse_context
    jacobian = torch.zeros(len(place), dtype=torch.float64)
    if problem.kind == "posterior":
        theta = data.theta(level)[place].to(device)
        jacobian = whole.value_transform.log_det(theta).double().cpu()
    return _Judged(value, context, coarse, judges[:, place], jacobian, held_out, identical)


def _figures(whole: Estimator, rows: _Judged) -> dict[str, float]:
    """Means, variances and the kurtosis of a level's losses."""
    fine = _loss(whole, rows, rows.value, rows.context)
    coarse = None if rows.coarse is None else _loss(whole, rows, *rows.coarse)
    if rows.identical:
        coarse = fine
    difference = fine if coarse is None else fine - coarse
    mean, variance = _moments(fine)
    difference_mean, difference_variance = _moments(difference)
    coarse_mean, coarse_variance = (math.nan, math.nan) if coarse is None else _moments(coarse)
    spread = float((difference - difference_mean).square().mean())
    fourth = float((difference - difference_mean).pow(4).mean())
    return {
        "loss_mean": mean,
        "loss_variance": variance,
        "coarse_mean": coarse_mean,
        "coarse_variance": coarse_variance,
        "difference_mean": difference_mean,
        "difference_variance": difference_variance,
        "kurtosis": fourth / spread**2 if spread**2 > 0 else math.nan,
    }


def _moments(values: Tensor) -> tuple[float, float]:
    """Mean, and unbiased variance: NaN of a single value."""
    mean = values.mean()
    squares = float((values - mean).square().sum())
    return float(mean), squares / (len(values) - 1) if len(values) > 1 else math.nan


@torch.no_grad()
def _loss(whole: Estimator, rows: _Judged, value: Tensor, context: Tensor) -> Tensor:
    """-log q of each row under the mixture of its judges, float64 `(m,)`."""
    judges = rows.judges
    log_prob = torch.full(judges.shape, -torch.inf, dtype=torch.float64)
    # Each member evaluates the rows it judges and no others: k times less work for k folds.
    index, taken = _rows_of(judges)
    width = max(1, _CHUNK // len(judges))
    for part, real in zip(index.split(width, 1), taken.split(width, 1), strict=True):
        own = part.to(value.device)
        found = whole.density.log_prob(value[own], context[own]).double().cpu()
        found = torch.nan_to_num(found, nan=_LOWEST).clamp(_LOWEST, -_LOWEST)
        log_prob.scatter_(1, part, torch.where(real, found, -torch.inf))
    weights = whole.log_weights.detach().cpu().unsqueeze(1).expand(judges.shape)
    share = torch.where(judges, weights, -torch.inf)
    mixed = torch.logsumexp(log_prob + share, 0) - torch.logsumexp(share, 0)
    return -(mixed + rows.jacobian)


def _rows_of(judges: Tensor) -> tuple[Tensor, Tensor]:
    """Each member's rows, `(k, widest)`, and which of them are its own and no filling."""
    widest = max(1, int(judges.sum(1).max()))
    index = torch.argsort((~judges).int(), dim=1, stable=True)[:, :widest]
    return index, torch.gather(judges, 1, index)


def _gradient_figures(
    whole: Estimator, levels: Sequence[_Judged]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Norm of each level's gradient and its cosine with level 0's, means over members."""
    parameters = list(whole.density.parameters())
    size = sum(p.numel() for p in parameters) * (2 * len(levels) - 1)
    if size > _LARGEST or not all(p.requires_grad for p in parameters):
        return None, None
    norms, cosines = [], []
    for part, members in _parts(whole.density):
        gradients, known = _level_gradients(part, levels, members)
        some = torch.where(known.unsqueeze(2), gradients.cpu().double(), math.nan)  # (L + 1, k, P)
        others = some[1:].sum(0, keepdim=True) if len(levels) > 1 else some[:1] * math.nan
        compared = torch.cat([others, some[1:]])
        norms.append(torch.linalg.vector_norm(some, dim=2))
        lengths = norms[-1][:1] * torch.linalg.vector_norm(compared, dim=2)
        cosines.append((some[:1] * compared).sum(2) / lengths)
    weights = whole.log_weights.detach().cpu().exp()
    norm, cosine = (_mean_over_members(torch.cat(f, 1), weights) for f in (norms, cosines))
    return norm, cosine if len(levels) > 1 else None


def _mean_over_members(figures: Tensor, weights: Tensor) -> tuple[float, ...]:
    """Weighted means of `(L + 1, members)`, of those that are numbers; NaN where none is."""
    real = torch.isfinite(figures)
    total = torch.where(real, figures * weights, 0.0).sum(1)
    return tuple((total / torch.where(real, weights, 0.0).sum(1)).tolist())


def _parts(density: ConditionalDensity) -> Iterator[tuple[ConditionalDensity, slice]]:
    """The densities whose parameters share their first axis, and their members' places."""
    parts = density.parts if isinstance(density, UnionDensity) else [density]
    start = 0
    for part in parts:
        if isinstance(part, ConditionalDensity):
            yield part, slice(start, start + part.members)
            start += part.members


def _level_gradients(
    density: ConditionalDensity, levels: Sequence[_Judged], members: slice
) -> tuple[Tensor, Tensor]:
    """Gradient of each level's term, `(L + 1, k, P)`, and whether a member has rows for it."""
    values, contexts, weights, owners, known = [], [], [], [], []
    for level, rows in enumerate(levels):
        index, taken = _rows_of(rows.judges[members, :_GRADIENT_ROWS])
        share = taken / taken.sum(1, keepdim=True).clamp(min=1)
        known.append(taken.any(1))
        if level and rows.coarse is None:
            continue  # identical pairs: a gradient of zero
        index, share = index.to(rows.value.device), share.to(rows.value.device)
        halves = [(rows.value, rows.context, share)]
        if rows.coarse is not None:
            halves.append((*rows.coarse, -share))
        for value, context, weight in halves:
            values.append(value[index])
            contexts.append(context[index])
            weights.append(weight)
            owners.append(level)
    sizes = [w.shape[1] for w in weights]
    terms = term_gradients(
        density, torch.cat(values, 1), torch.cat(contexts, 1), torch.cat(weights, 1), sizes
    )[1]
    total = terms.new_zeros(len(levels), *terms.shape[1:])
    total.index_add_(0, torch.tensor(owners, device=terms.device), terms)
    return total, torch.stack(known)
