"""What a coarse run tells of the finer one, and what it takes to learn it: from a few columns.

For each pair of levels emulators of x_l are fitted in folds, one that sees theta alone and one that
sees the coarse run too: the bridge's own Gaussian processes, as what they can and cannot explain is
what a fit by the default strategy can and cannot learn.

An emulator from n rows whose mean is uncertain by the variance e, where the run itself scatters by
the variance s about its mean, loses 1/2 log(1 + e/s) nats of log density; e falls as 1/n, so that
n/2 log(1 + e/s), measured once, tells the loss at any other n.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.bridge.inputs import Inputs
from mlsbi.bridge.step import fit_step
from mlsbi.estimators.transforms import Standardise, robust_location_scale
from mlsbi.prior import Prior

__all__ = ["PairGain", "explain_pair"]

_FOLDS = 5
_OUTPUTS = 6  # more numbers than that in x are replaced by as many principal components
_FAR = 6.0  # standard deviations that one row's surprise counts for at most
_MOST_ROWS = 200
_LEAST_NOISE = 1e-3  # of the variance: no fit resolves what is finer
_NOISE_NEED = 2.0  # nats x rows that the width and shape of one output's noise take


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
        reach: Share of what x_l scatters about its mean given theta that the coarse run explains,
            mean over outputs.
        step_need: The step from the coarse run and theta to x_l loses `step_need / n` nats with n
            pairs.
        coarse_need: What an emulator of the coarse run makes the finer one lose, likewise.
        alone_need: What an emulator of x_l from theta alone loses, likewise.
    """

    level: int
    coarse: int
    nats: float
    error: float
    information: float
    agreement: float
    theta_alone: float
    reach: float = 0.0
    step_need: float = 0.0
    coarse_need: float = 0.0
    alone_need: float = 0.0

    def __str__(self) -> str:
        """What was found, in a sentence."""
        return (
            f"level {self.level}: theta explains {self.theta_alone:.0%} of the variance of x, with "
            f"the run of level {self.coarse} besides {self.agreement:.0%}: {self.nats:+.2g} +- "
            f"{self.error:.1g} nats of log density, on runs that were held out"
        )


@dataclass(frozen=True)
class _Emulator:
    """An emulator's figures on the rows that each member did not see.

    Attributes:
        log_density: Of each row and output, `(n, D)`.
        wrong: Errors of the mean, `(n, D)`.
        unsure: Variance of the mean, `(D,)`.
        noise: Variance of a run about its mean, `(D,)`.
    """

    log_density: Tensor
    wrong: Tensor
    unsure: Tensor
    noise: Tensor

    def explains(self, target: Tensor) -> float:
        """Share of the target's variance."""
        spread = target.double().var(0, correction=0).clamp(min=1e-12)
        return float((1 - self.wrong.square().mean(0) / spread).clamp(0, 1).mean())


def explain_pair(
    theta: Tensor, low: Tensor, fine: Tensor, *, prior: Prior, level: int, coarse: int
) -> PairGain | None:
    """Measure a pair of levels.

    Args:
        theta: Parameters, shape `(n, d)`. Rows that are equal, with noise of their own, show how
            much a run scatters about its mean.
        low: Outputs of the coarser level on the same parameters and noise, shape `(n, *event)`.
        fine: Outputs of the finer one, shape `(n, *event)`.
        prior: Over theta.
        level: Number of the finer level, for the record.
        coarse: Number of the coarser one.

    Returns:
        The figures; None where the levels' x differ in shape, or there are fewer than 10 rows.
    """
    if low.shape[1:] != fine.shape[1:] or len(theta) < 2 * _FOLDS:
        return None
    theta, low, fine = (t[:_MOST_ROWS] for t in (theta, low, fine))
    group = _groups(theta)
    twins = _twins(group)
    fine, low = _reduced(fine.flatten(1), low.flatten(1))
    train = _folds(group)
    given = Inputs(_covariate(theta, prior))
    alone = _emulator(fine, given, train)
    below = _emulator(low, given, train)
    step = _emulator(fine, Inputs(given.covariate, low), train)
    scatter, scatter_low = _scatter(fine, twins, alone), _scatter(low, twins, below)
    reach = (1 - step.noise / scatter).clamp(0, 1)
    gain = (step.log_density - alone.log_density).sum(1)
    n = float(train.sum(1).double().mean())
    return PairGain(
        level,
        coarse,
        nats=float(gain.mean()),
        error=float(gain.std() / len(gain) ** 0.5),
        information=below.explains(low),
        agreement=step.explains(fine),
        theta_alone=alone.explains(fine),
        reach=float(reach.mean()),
        step_need=_need(step.unsure / scatter, n),
        coarse_need=_need(below.unsure / scatter_low, n, reach),
        alone_need=_need(alone.unsure / scatter, n),
    )


def _need(unsure: Tensor, n: float, weight: Tensor | None = None) -> float:
    """Nats x rows that the outputs lose together."""
    each = n / 2 * torch.log1p(unsure) + _NOISE_NEED
    return float((each if weight is None else each * weight).sum())


def _emulator(target: Tensor, inputs: Inputs, train: Tensor) -> _Emulator:
    """Fit in folds and look at what each fold's rows show."""
    step = fit_step(target, inputs, train, level=0, seed=0, variants=1)
    every = inputs.expand(len(train))
    mean, deviation = step.moments(every)
    member, row = (~train).nonzero(as_tuple=True)
    order = row.argsort()
    member, row = member[order], row[order]
    variance = deviation[member, row].double().square().clamp(min=1e-12)
    wrong = (target[row] - mean[member, row]).double()
    surprise = (wrong.square() / variance).clamp(max=_FAR**2)
    noise = step.noise_variance(every)[member, row].clamp(max=variance)
    return _Emulator(
        log_density=-0.5 * (surprise + variance.log()),
        wrong=wrong,
        unsure=(variance - noise).mean(0),
        noise=noise.mean(0),
    )


def _scatter(x: Tensor, twins: Tensor, emulator: _Emulator) -> Tensor:
    """Variance of x about its mean given theta, `(D,)`: by twins; with few of them, emulated."""
    spread = x.double().var(0).clamp(min=1e-12)
    found = emulator.noise
    if len(twins) >= 4:
        found = (x[twins[:, 0]] - x[twins[:, 1]]).double().square().mean(0) / 2
    return torch.maximum(found, _LEAST_NOISE * spread)


def _groups(theta: Tensor) -> Tensor:
    """The same number for rows with the same theta, `(n,)`."""
    return torch.unique(theta, dim=0, return_inverse=True)[1]


def _twins(group: Tensor) -> Tensor:
    """Pairs of rows with the same theta, `(r, 2)`: each row with the one before it."""
    order = torch.argsort(group, stable=True)
    same = group[order[1:]] == group[order[:-1]]
    return torch.stack([order[:-1][same], order[1:][same]], 1)


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


def _folds(group: Tensor) -> Tensor:
    """Which rows each member trains on, bool `(k, n)`; the same theta is held out together."""
    place = torch.randperm(int(group.max()) + 1, generator=make_generator(0, "explained")) % _FOLDS
    return place[group].unsqueeze(0) != torch.arange(_FOLDS).unsqueeze(1)


def _covariate(theta: Tensor, prior: Prior) -> Tensor:
    """Theta with about unit variance."""
    both = torch.isfinite(prior.low) & torch.isfinite(prior.high)
    location, scale = robust_location_scale(theta)
    middle, width = (prior.low + prior.high) / 2, (prior.high - prior.low) / 12**0.5
    location, scale = torch.where(both, middle, location), torch.where(both, width, scale)
    return ((theta - location) / scale).float()
