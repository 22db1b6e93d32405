"""Simulators and exact likelihoods of the hierarchies made to break a bridge.

All share one mildly nonlinear response to theta in [-1, 1]^d (counts have rates of their own); each
low level is one way in which cheap runs can mislead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MODELS", "Model", "Noise", "Simulator", "draw_noise"]

Noise = dict[str, Tensor]
Simulator = Callable[[Tensor, Noise], Tensor]

_SD = 0.25
_NOISE_RATIO = 10.0
_FLIP = 0.4
_WIDTH = 200
_INFORMATIVE = (10, 90, 170)
_TOLD = (0, 1, 3)  # of the four outputs: the other one hardly depends on (a, b)
_CARRIED = 0.8
_MAX_COUNT = 60


@dataclass(frozen=True)
class Model:
    """One hierarchy.

    Attributes:
        about: What the low level does.
        dim: Number of parameters, each uniform on [-1, 1].
        outputs: Numbers in x.
        low: `f(theta (n, d) float64, noise) -> (n, D)`.
        high: The same of the high level.
        log_likelihood: Exact log p(x | theta) of the high level, theta `(..., d)` and x
            `(..., D)` broadcast against each other, float64; of `informative` alone where given.
        informative: The columns of x that theta acts on; the others are standard normal. Empty:
            all.
    """

    about: str
    dim: int
    outputs: int
    low: Simulator
    high: Simulator
    log_likelihood: Callable[[Tensor, Tensor], Tensor]
    informative: tuple[int, ...] = ()


def draw_noise(n: int, generator: torch.Generator, *, outputs: int) -> Noise:
    """What a run draws: `shared` by both levels, `own` of the low level, `branch` of the high one.

    Shapes `(n, D)`, `(n, D)` and `(n,)`: standard normal, standard normal, uniform.
    """

    def normal() -> Tensor:
        return torch.randn(n, outputs, generator=generator, dtype=torch.float64)

    branch = torch.rand(n, generator=generator, dtype=torch.float64)
    return {"shared": normal(), "own": normal(), "branch": branch}


def _response(theta: Tensor) -> Tensor:
    """The mean of the four outputs of the high level, shape `(..., 4)`; c = 0 where d = 2."""
    a, b = theta[..., 0], theta[..., 1]
    c = theta[..., 2] if theta.shape[-1] == 3 else torch.zeros_like(a)
    return torch.stack(
        [
            1.5 * a + 0.5 * torch.sin(3 * b),
            b + 0.8 * a.square(),
            torch.exp(0.7 * c) + 0.5 * a * b,
            c - 0.6 * b.square() + 0.4 * a,
        ],
        dim=-1,
    )


def _linear_response(theta: Tensor) -> Tensor:
    """What a cheap simulator makes of it: the slopes right, the bends and a constant wrong."""
    a, b, c = (*theta.unbind(-1), torch.zeros_like(theta[..., 0]))[:3]
    return torch.stack([1.5 * a + 0.9 * b, b + 0.5, 1.2 + 0.7 * c, c + 0.4 * a - 0.3], dim=-1)


def _spread(theta: Tensor) -> Tensor:
    """Standard deviation of every output where it depends on theta, shape `(..., 1)`."""
    return _SD * torch.exp(0.5 * theta[..., 1:2])


def _normal(residual: Tensor, sd: Tensor | float) -> Tensor:
    """Log density of independent normal residuals, summed over the last axis."""
    scale = torch.as_tensor(sd, dtype=residual.dtype)
    each = -0.5 * (residual / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)
    return each.sum(-1)


def _high(theta: Tensor, u: Noise) -> Tensor:
    return _response(theta) + _spread(theta) * u["shared"]


def _high_log_likelihood(theta: Tensor, x: Tensor) -> Tensor:
    return _normal(x - _response(theta), _spread(theta))


def _low_noise(theta: Tensor, u: Noise) -> Tensor:
    """Numbers of the right size that know neither theta nor the run."""
    del theta
    return 0.5 + u["own"]


def _low_anti(theta: Tensor, u: Noise) -> Tensor:
    return -_high(theta, u) + 0.1 * u["own"]


def _low_decoupled(theta: Tensor, u: Noise) -> Tensor:
    """The high level's own law, with noise that the pair does not share."""
    return _response(theta) + _spread(theta) * u["own"]


def _high_even(theta: Tensor, u: Noise) -> Tensor:
    return _response(theta) + _SD * u["shared"]


def _high_even_log_likelihood(theta: Tensor, x: Tensor) -> Tensor:
    return _normal(x - _response(theta), _SD)


def _low_blind(theta: Tensor, u: Noise) -> Tensor:
    """All but the last parameter, which stands still at 0."""
    seen = torch.cat([theta[..., :-1], torch.zeros_like(theta[..., -1:])], dim=-1)
    return _linear_response(seen) + _SD * u["shared"]


def _low_noisy(theta: Tensor, u: Noise) -> Tensor:
    """The right mean with ten times the noise, of which only a tenth is the high level's."""
    rest = math.sqrt(_NOISE_RATIO**2 - 1)
    return _response(theta) + _spread(theta) * (u["shared"] + rest * u["own"])


def _rates(theta: Tensor) -> Tensor:
    """Expected counts, 0.1 to 8, shape `(..., 4)`."""
    a, b = theta[..., 0], theta[..., 1]
    return torch.stack(
        [
            4 + 3.9 * torch.tanh(1.5 * a),
            4 + 3.9 * torch.sin(1.5 * b),
            0.1 + 1.9 * (1 + a * b).square(),
            0.1 + 1.9 * (a - b).square(),
        ],
        dim=-1,
    )


def _poisson(rate: Tensor, z: Tensor) -> Tensor:
    """Counts by inversion: the number of k whose distribution function is below Phi(z)."""
    k = torch.arange(_MAX_COUNT, dtype=rate.dtype)
    log_mass = k * rate.log()[..., None] - rate[..., None] - torch.lgamma(k + 1)
    below = log_mass.exp().cumsum(-1) < torch.special.ndtr(z)[..., None]
    return below.sum(-1).to(rate.dtype)


def _high_integers(theta: Tensor, u: Noise) -> Tensor:
    return _poisson(_rates(theta), u["shared"])


def _low_integers(theta: Tensor, u: Noise) -> Tensor:
    return _poisson(0.6 * _rates(theta) + 0.5, u["shared"])


def _integers_log_likelihood(theta: Tensor, x: Tensor) -> Tensor:
    rate = _rates(theta)
    return (torch.xlogy(x, rate) - rate - torch.lgamma(x + 1)).sum(-1)


def _mirrored(theta: Tensor) -> Tensor:
    return torch.cat([-theta[..., :1], theta[..., 1:]], dim=-1)


def _low_bimodal(theta: Tensor, u: Noise) -> Tensor:
    """Never flips, so that x_1 given x_0 and theta has two humps."""
    return _linear_response(theta) + _SD * u["shared"]


def _high_bimodal(theta: Tensor, u: Noise) -> Tensor:
    """Sees -a in place of a in four runs out of ten: the posterior of a has two modes."""
    flipped = (u["branch"] < _FLIP)[:, None]
    return _high_even(torch.where(flipped, _mirrored(theta), theta), u)


def _bimodal_log_likelihood(theta: Tensor, x: Tensor) -> Tensor:
    straight = _high_even_log_likelihood(theta, x) + math.log(1 - _FLIP)
    mirrored = _high_even_log_likelihood(_mirrored(theta), x) + math.log(_FLIP)
    return torch.logaddexp(straight, mirrored)


def _high_wide(theta: Tensor, u: Noise) -> Tensor:
    x = u["shared"].clone()
    x[:, _INFORMATIVE] = _response(theta)[:, _TOLD] + _SD * u["shared"][:, _INFORMATIVE]
    return x


def _low_wide(theta: Tensor, u: Noise) -> Tensor:
    x = _CARRIED * u["shared"] + math.sqrt(1 - _CARRIED**2) * u["own"]
    x[:, _INFORMATIVE] = _linear_response(theta)[:, _TOLD] + _SD * u["shared"][:, _INFORMATIVE]
    return x


def _wide_log_likelihood(theta: Tensor, x: Tensor) -> Tensor:
    return _normal(x - _response(theta)[..., _TOLD], _SD)


MODELS: dict[str, Model] = {
    "noise": Model(
        "independent noise that knows nothing of theta",
        3, 4, _low_noise, _high, _high_log_likelihood,
    ),
    "anti": Model(
        "the high level's x with the sign turned, and a little noise",
        3, 4, _low_anti, _high, _high_log_likelihood,
    ),
    "decoupled": Model(
        "the right law of x given theta, from noise that the pair does not share",
        3, 4, _low_decoupled, _high, _high_log_likelihood,
    ),
    "blind": Model(
        "one parameter acts on the high level only",
        3, 4, _low_blind, _high_even, _high_even_log_likelihood,
    ),
    "noisy": Model(
        "ten times the noise, hardly coupled",
        3, 4, _low_noisy, _high, _high_log_likelihood,
    ),
    "integers": Model(
        "counts of small means at both levels",
        2, 4, _low_integers, _high_integers, _integers_log_likelihood,
    ),
    "bimodal": Model(
        "the high level alone flips a sign by chance",
        3, 4, _low_bimodal, _high_bimodal, _bimodal_log_likelihood,
    ),
    "wide": Model(
        "x of 200 numbers, of which 3 are informative",
        2, _WIDTH, _low_wide, _high_wide, _wide_log_likelihood, _INFORMATIVE,
    ),
}  # fmt: skip
"""The hierarchies, by name."""
