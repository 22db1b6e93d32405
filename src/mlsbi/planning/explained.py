"""What a coarse run tells of the finer one: held-out figures from a few coupled columns.

For each pair of levels two emulators of x_l are fitted in folds, one that sees theta alone and one
that sees the coarse run too: the bridge's own Gaussian processes, as what they can and cannot
explain is what a fit by the default strategy can and cannot learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.bridge.inputs import Inputs
from mlsbi.bridge.step import Step, fit_step
from mlsbi.estimators.transforms import Standardise, robust_location_scale
from mlsbi.prior import Prior

__all__ = ["Coupled", "PairGain", "explain_pair"]

_FOLDS = 5
_OUTPUTS = 6  # more than so many numbers in x are replaced by so many principal components
_FAR = 6.0  # standard deviations that one row's surprise is counted for
_MOST_ROWS = 200


class Coupled(Protocol):
    """Columns, as `mlsbi.planning.columns.Columns`."""

    theta: Tensor
    x: tuple[Tensor, ...]
    ok: Tensor
    twins: Tensor


@dataclass(frozen=True)
class PairGain:
    """What level `coarse` tells of level `level`, on rows that the emulators did not see.

    Attributes:
        level: The finer level.
        coarse: The coarser one.
        nats: Log density of a run given the coarse run and theta, less that given theta alone,
            mean over runs: what the coarse run tells beyond theta.
        error: Its standard error.
        information: Share of the variance of the coarse run that theta explains, mean over outputs.
        agreement: Share of the variance of x_l that the coarse run and theta explain together.
        theta_alone: Share that theta alone explains.
    """

    level: int
    coarse: int
    nats: float
    error: float
    information: float
    agreement: float
    theta_alone: float


def explain_pair(columns: Coupled, prior: Prior, level: int, coarse: int) -> PairGain | None:
    """Measure a pair.

    Args:
        columns: Runs of all levels on the same theta and noise, some ten at least.
        prior: Over theta.
        level: The finer level.
        coarse: The coarser level.

    Returns:
        The figures; None where the levels' x differ in shape, or fewer than 10 columns have both.
    """
    both = columns.ok[level] & columns.ok[coarse]
    rows = both.nonzero().flatten()[:_MOST_ROWS]
    fine, low = (columns.x[i][rows].flatten(1) for i in (level, coarse))
    if columns.x[level].shape[1:] != columns.x[coarse].shape[1:] or len(rows) < 2 * _FOLDS:
        return None
    fine, low = _reduced(fine, low)
    train = _folds(len(both), columns.twins)[:, rows]
    theta = _covariate(columns.theta[rows], prior)

    def fitted(target: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = Inputs(theta, given)
        step = fit_step(target, inputs, train, level=level, seed=0, variants=1)
        return _held_out(step, target, inputs, train)

    alone, wrong_alone = fitted(fine, None)
    together, wrong_together = fitted(fine, low)
    _, wrong_low = fitted(low, None)
    gain = together - alone
    return PairGain(
        level,
        coarse,
        nats=float(gain.mean()),
        error=float(gain.std() / len(gain) ** 0.5),
        information=_explained(wrong_low, low),
        agreement=_explained(wrong_together, fine),
        theta_alone=_explained(wrong_alone, fine),
    )


def _held_out(step: Step, target: Tensor, inputs: Inputs, train: Tensor) -> tuple[Tensor, Tensor]:
    """Log density of each row under the member that did not see it, `(n,)`, and its errors."""
    mean, deviation = step.moments(inputs.expand(len(train)))
    member, row = (~train).nonzero(as_tuple=True)
    wrong = (target[row] - mean[member, row]).double()
    sd = deviation[member, row].double().clamp(min=1e-6)
    log_density = (-0.5 * (wrong / sd).clamp(-_FAR, _FAR).square() - sd.log()).sum(1)
    order = row.argsort()
    return log_density[order], wrong[order]


def _explained(wrong: Tensor, target: Tensor) -> float:
    spread = target.double().var(0, correction=0).clamp(min=1e-12)
    return float((1 - wrong.square().mean(0) / spread).clamp(0, 1).mean())


def _reduced(fine: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the same standardised units, and in few numbers."""
    pooled = Standardise.fit(torch.cat([fine, low]))
    fine, low = (pooled(x).double() for x in (fine, low))
    if fine.shape[1] > _OUTPUTS:
        middle = fine.mean(0)
        axes = torch.linalg.svd(fine - middle, full_matrices=False).Vh[:_OUTPUTS].mT
        fine, low = ((x - middle) @ axes for x in (fine, low))
        scale = fine.std(0).clamp(min=1e-9)
        fine, low = fine / scale, low / scale
    return fine.float(), low.float()


def _folds(n: int, twins: Tensor) -> Tensor:
    """Which rows each member trains on, bool `(k, n)`; twins are held out together."""
    group = torch.arange(n)
    group[twins[:, 1]] = group[twins[:, 0]]
    place = torch.randperm(n, generator=make_generator(0, "explained")) % _FOLDS
    return place[group].unsqueeze(0) != torch.arange(_FOLDS).unsqueeze(1)


def _covariate(theta: Tensor, prior: Prior) -> Tensor:
    """Theta with about unit variance."""
    both = torch.isfinite(prior.low) & torch.isfinite(prior.high)
    location, scale = robust_location_scale(theta)
    middle, width = (prior.low + prior.high) / 2, (prior.high - prior.low) / 12**0.5
    location, scale = torch.where(both, middle, location), torch.where(both, width, scale)
    return ((theta - location) / scale).float()
