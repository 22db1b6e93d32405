"""Many small Gaussian processes at once, with noise that depends on the inputs.

A bridge between two levels needs one process for each output and each fold, on 5 to a few hundred
pairs, fitted in a second or two without anybody looking: informative priors on the hyperparameters
(in standardised units), the mode of their posterior, and exact inference given it (Rasmussen and
Williams 2006, "Gaussian Processes for Machine Learning", chapters 2 and 5).
What theta does to the noise it often does to all outputs, so their noise's slopes share a part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlsbi.bridge.kernel import JITTER, Design, Hyper, covariance, diagonal, kernel, noise

__all__ = ["Design", "GaussianProcesses", "either", "fit", "prior_draws"]

_STEPS, _RATE = 100, 0.3
_SPREAD = 0.5  # of the priors' means between several fits, as a share of the priors' own
# Mean and standard deviation of the logarithm of each hyperparameter (of a slope: of itself).
_PRIORS = {
    "constant": (-2.0, 1.0),
    "linear": (-2.0, 2.5),
    "quadratic": (-3.5, 2.0),
    "inverse_square_length": (-2.5, 1.2),
    "amplitude": (-1.0, 1.5),
    "noise": (-2.0, 2.0),
    "own_slope": (0.0, 0.35),
    "common_slope": (0.0, 0.7),
}
# More rows do not sharpen a dozen hyperparameters enough to pay for n^3 at every step.
_MAX_ROWS_FOR_HYPERPARAMETERS = 160
_MAX_ROWS = 400  # prediction costs n^2 a draw
_CHUNK = 128


@dataclass(frozen=True)
class GaussianProcesses:
    """B fitted processes; features and targets in the units that `fit` was given.

    Attributes:
        rows: Which of the n rows each process keeps, `(B, m)`.
        design: Of those rows, `(B, m, ...)`.
        train: Which of them it was trained on, bool `(B, m)`; the rest fills the array up.
        hyper: Logarithms of the hyperparameters, `(B, G)` or `(B, 1)`; "slope" `(B, q)` as it is.
        groups: Share of each feature in each group, `(p, G)`.
        location: Of the targets, `(B, 1)`.
        scale: Of the targets, `(B, 1)`.
        alpha: K^-1 y, `(B, m)`.
        cholesky: Lower factor of K, `(B, m, m)`.
        evidence: Log posterior density of the mode, in the units of the targets, `(B,)`.
    """

    rows: Tensor
    design: Design
    train: Tensor
    hyper: Hyper
    groups: Tensor
    location: Tensor
    scale: Tensor
    alpha: Tensor
    cholesky: Tensor
    evidence: Tensor

    def predict(self, design: Design) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a new target, noise included, each `(B, m)`."""
        means, deviations = zip(*map(self._predict, design.double().split(_CHUNK)), strict=True)
        return torch.cat(means, 1), torch.cat(deviations, 1)

    def _predict(self, design: Design) -> tuple[Tensor, Tensor]:
        new, old = design.features, self.design.features
        cross = kernel(self.hyper, self.groups, new, old) * self.train.unsqueeze(1)
        mean = (cross @ self.alpha.unsqueeze(-1)).squeeze(-1)
        solved = torch.linalg.solve_triangular(self.cholesky, cross.mT, upper=False)
        epistemic = diagonal(self.hyper, self.groups, new) - solved.square().sum(1)
        variance = epistemic.clamp(min=0.0) + noise(self.hyper, design.noise)
        return mean * self.scale + self.location, variance.sqrt() * self.scale

    def noise_variance(self, design: Design) -> Tensor:
        """Variance of a new target's noise alone, `(B, m)`."""
        return noise(self.hyper, design.double().noise) * self.scale.square()

    def leave_one_out(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each training row given the others, each `(B, n)`.

        NaN in rows that were not trained on. Rasmussen and Williams (2006), 5.10 and 5.12.

        Args:
            targets: Those of `fit`, `(B, n)`.
        """
        inverse = torch.cholesky_inverse(self.cholesky).diagonal(dim1=-2, dim2=-1)
        standard = (torch.gather(targets.double(), 1, self.rows) - self.location) / self.scale
        mean = standard - self.alpha / inverse
        found = (mean * self.scale + self.location, inverse.rsqrt() * self.scale)
        empty = torch.full(targets.shape, torch.nan, dtype=torch.float64)
        return tuple(  # type: ignore[return-value]
            empty.scatter(1, self.rows, torch.where(self.train, v, torch.nan)) for v in found
        )


def fit(
    design: Design,
    targets: Tensor,
    train: Tensor,
    groups: Tensor,
    *,
    outputs: int = 1,
    spread: Hyper | None = None,
) -> GaussianProcesses:
    """Fit B processes, each on its own rows, to the mode of their hyperparameters' posterior.

    Args:
        design: Of the n rows.
        targets: Shape `(B, n)`; standardised within.
        train: Which rows each process sees, bool `(B, n)`.
        groups: Share of each feature in each group, `(p, G)`; a column sums to one.
        outputs: So many consecutive processes share a part of their noise's slopes.
        spread: Shifts of the priors' means (see `prior_draws`); None: none.

    Returns:
        The processes, float64.
    """
    groups = groups.double()
    rows = _first(train, _MAX_ROWS)
    design, train = design.double().rows(rows), torch.gather(train, 1, rows)
    targets = torch.gather(targets.double(), 1, rows)
    location, scale = _standardisation(targets, train)
    standard = torch.where(train, (targets - location) / scale, 0.0)
    used = _first(train, _MAX_ROWS_FOR_HYPERPARAMETERS)
    hyper, log_posterior = _mode(
        design.rows(used),
        torch.gather(standard, 1, used),
        torch.gather(train, 1, used),
        groups,
        outputs,
        spread or {},
    )
    cholesky = _cholesky(covariance(hyper, groups, design, train))
    alpha = torch.cholesky_solve(standard.unsqueeze(-1), cholesky).squeeze(-1)
    evidence = log_posterior - torch.gather(train, 1, used).sum(1) * scale.squeeze(1).log()
    return GaussianProcesses(
        rows, design, train, hyper, groups, location, scale, alpha, cholesky, evidence
    )


def either(choose: Tensor, one: GaussianProcesses, other: GaussianProcesses) -> GaussianProcesses:
    """Process b of `one` where `choose` (B,) is true, else that of `other`; designs are shared."""

    def pick(left: Tensor, right: Tensor) -> Tensor:
        return torch.where(choose.reshape(-1, *[1] * (left.dim() - 1)), left, right)

    names = ("location", "scale", "alpha", "cholesky", "evidence")
    hyper = {name: pick(value, other.hyper[name]) for name, value in one.hyper.items()}
    picked: dict[str, Any] = {
        name: pick(getattr(one, name), getattr(other, name)) for name in names
    }
    return replace(one, hyper=hyper, **picked)


def _standardisation(targets: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over each process's rows, `(B, 1)`; scale 1 of a constant."""
    count = train.sum(1, keepdim=True).clamp(min=1)
    mean = (targets * train).sum(1, keepdim=True) / count
    scale = (((targets - mean) * train).square().sum(1, keepdim=True) / count).sqrt()
    return mean, torch.where(scale > 1e-12, scale, torch.ones_like(scale))


def _first(train: Tensor, most: int) -> Tensor:
    """Training rows first, in their order, `(B, m)`: as many as the fullest has, at most `most`."""
    count = min(int(train.sum(1).max()), most)
    return torch.argsort((~train).int(), dim=1, stable=True)[:, :count]


def _mode(
    design: Design, targets: Tensor, train: Tensor, groups: Tensor, outputs: int, spread: Hyper
) -> tuple[Hyper, Tensor]:
    """Hyperparameters at the mode of their posterior, and its log density, by Adam."""
    shapes = _shapes(len(design), groups.shape[1], design.noise.shape[-1], outputs)
    centres = {
        name: _PRIORS[name][0] + spread.get(name, torch.zeros(shape, dtype=torch.float64))
        for name, shape in shapes.items()
    }
    raw = {name: centre.clone().requires_grad_() for name, centre in centres.items()}
    optimiser = torch.optim.Adam(list(raw.values()), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS + 1)
    for step in range(_STEPS + 1):
        hyper = _shared(raw, outputs)
        matrix = covariance(hyper, groups, design, train)
        evidence, slope = _evidence(matrix.detach(), targets)
        prior = _log_prior(raw, centres, outputs)
        if step == _STEPS:
            break
        optimiser.zero_grad()
        # The gradient of the evidence is known in closed form; only the kernel is differentiated.
        (-(slope * matrix).sum() - prior.sum()).backward()
        optimiser.step()
        schedule.step()
    return {name: value.detach() for name, value in hyper.items()}, evidence + prior.detach()


def _shapes(
    batch: int, groups: int, noise_features: int, outputs: int
) -> dict[str, tuple[int, int]]:
    shapes = dict.fromkeys(_PRIORS, (batch, 1))
    shapes |= dict.fromkeys(("linear", "quadratic", "inverse_square_length"), (batch, groups))
    shapes["own_slope"] = (batch, noise_features)
    shapes["common_slope"] = (batch // outputs, noise_features)
    return shapes


def prior_draws(
    design: Design, groups: Tensor, *, outputs: int, generator: torch.Generator
) -> Hyper:
    """Draws of the hyperparameters' prior, about its means.

    The mode under a prior whose mean is such a draw is about a draw from the posterior where few
    rows leave the prior in charge (randomise, then optimise): several of them show how little is
    known, which a single mode hides.
    """
    shapes = _shapes(len(design), groups.shape[1], design.noise.shape[-1], outputs)
    return {
        name: _SPREAD
        * _PRIORS[name][1]
        * torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def _shared(raw: Hyper, outputs: int) -> Hyper:
    """The slopes of the noise: each output's own part and the common one."""
    hyper = {name: value for name, value in raw.items() if not name.endswith("slope")}
    hyper["slope"] = raw["own_slope"] + raw["common_slope"].repeat_interleave(outputs, 0)
    return hyper


def _log_prior(raw: Hyper, centres: Hyper, outputs: int) -> Tensor:
    """Log prior density of each process, the common part dealt out evenly, `(B,)`."""
    each = {
        name: -0.5 * ((raw[name] - centres[name]) / deviation).square().sum(1)
        for name, (_, deviation) in _PRIORS.items()
    }
    common = each.pop("common_slope") / outputs
    return torch.stack([*each.values(), common.repeat_interleave(outputs)]).sum(0)


@torch.no_grad()
def _evidence(matrix: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log marginal likelihood `(B,)` and its gradient in the matrix `(B, n, n)`."""
    cholesky = _cholesky(matrix)
    inverse = torch.cholesky_inverse(cholesky)
    alpha = (inverse @ targets.unsqueeze(-1)).squeeze(-1)
    log_det = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(1)
    value = -0.5 * (targets * alpha).sum(1) - log_det
    return value, 0.5 * (alpha.unsqueeze(-1) * alpha.unsqueeze(-2) - inverse)


def _cholesky(matrix: Tensor) -> Tensor:
    """Lower factor; what is not positive definite to working precision gets more diagonal."""
    jitter = JITTER
    factor, info = torch.linalg.cholesky_ex(matrix)
    while bool(info.any()) and jitter < 1.0:
        jitter *= 100
        size = matrix.diagonal(dim1=-2, dim2=-1).mean(1) * jitter * (info > 0)
        matrix = matrix + torch.diag_embed(size.unsqueeze(1).expand(matrix.shape[:2]))
        factor, info = torch.linalg.cholesky_ex(matrix)
    return factor
