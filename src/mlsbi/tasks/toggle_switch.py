"""The toggle switch: two genes that repress each other, three levels of 50, 80 and 300 time steps.

u' = TN(u + alpha1 / (1 + v^beta1) - (1 + 0.03 u), 0.5), the same for v with alpha2, beta2 and u,
both from the old state, start at 10; then x = min(TN(mu + u_T, mu sigma / u_T^gamma), 2000). TN is
a normal truncated to positive values. A coupled pair shares the first steps' uniforms and the
observation's.
Task of Hikida et al. (2025, arXiv:2506.06087); model of Bonassi, You and West (2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from sbi.utils import BoxUniform
from torch import Tensor

from mlsbi._checks import check_option
from mlsbi._random import derive_seed, make_generator
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.metrics import mmd_squared
from mlsbi.tasks.base import Task, simulated_source, summary

__all__ = ["LENGTH_SCALE", "toggle_switch", "truncated_normal"]

Truncation = Literal["released", "normal"]

LENGTH_SCALE = 32.6
"""Length scale of the MMD's kernel, fixed so that scores compare between runs and papers.

It is the median, over parameters from the prior, of the median heuristic on 500 true draws (median
distance / sqrt(2)): 32.3 over 4000 parameters. The mean over parameters would be about twice that.
"""

_NAMES = ("alpha1", "alpha2", "beta1", "beta2", "mu", "sigma", "gamma")
_LOW = (0.01, 0.01, 0.01, 0.01, 250.0, 0.01, 0.01)
_HIGH = (50.0, 50.0, 5.0, 5.0, 450.0, 0.5, 0.4)
_NUM_STEPS = (50, 80, 300)
_CAP = 2000.0
_DRAWS = 500
_DENSITY_DRAWS = 50
_ROWS_AT_ONCE = 2000
_THETAS_AT_ONCE = 10
_MMD_AT_ONCE = 2


def toggle_switch(truncation: Truncation = "released") -> Task:
    """The toggle switch task: learn p(x | theta) of the 300-step level, x of event shape `(1,)`.

    The cost of a run is its number of steps. The score compares 500 true with 500 learned draws at
    each test parameter (MMD^2, length scale `LENGTH_SCALE`), and gives the mean log density of
    50 of the true draws each.

    Args:
        truncation: `"released"`: the formula of the paper's released code, whose standard deviation
            is smaller than stated by sqrt(2). `"normal"`: the truncated normal with the stated one.

    Returns:
        The task, with 200 test parameters; its `reference` is `None`.

    Raises:
        TypeError: If `truncation` is not a string.
        ValueError: If it is unknown.
    """
    check_option(truncation, name="truncation", allowed=("released", "normal"))
    levels = [
        Level(
            partial(_simulate, num_steps=steps, truncation=truncation),
            cost=float(steps),
            name=f"T={steps}",
        )
        for steps in _NUM_STEPS
    ]
    prior = BoxUniform(torch.tensor(_LOW), torch.tensor(_HIGH))
    hierarchy = Hierarchy(prior, levels, noise=_noise)
    return Task(
        name=f"toggle_switch-{truncation}",
        kind="likelihood",
        parameter_names=_NAMES,
        budgets=((10_000, 500, 100), (9260, 200, 300), (1077, 1077, 1077)),
        hierarchy=hierarchy,
        source=simulated_source(hierarchy, num_test=200),
        scorer=partial(_score, truncation=truncation),
    )


def truncated_normal(mean: Tensor, sd: Tensor | float, w: Tensor, *, truncation: str) -> Tensor:
    """A draw of N(mean, sd^2) truncated to positive values, from one uniform w, monotone in w.

    The released formula, erfinv(F + w (1 - F)) sd + mean with F = erf(-mean / sd), is the inverse
    of a truncated normal's distribution function with sd / sqrt(2) in place of sd; all else equal.
    """
    scale = sd if truncation == "released" else sd * math.sqrt(2)
    floor = torch.erf(-mean / scale)
    draw = torch.erfinv(floor + w * (1 - floor)) * scale + mean
    # Rounding at w near 0 may touch zero, where the model's powers are not defined.
    return draw.clamp_min(1e-12)


def _noise(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniforms in (0, 1): `u`, `v` for the steps, `(n, 300)`; `x` for the observation, `(n,)`."""

    def uniform(*shape: int) -> Tensor:
        w = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return w.clamp(2.0**-53, 1 - 2.0**-53)

    steps = _NUM_STEPS[-1]
    return {"u": uniform(n, steps), "v": uniform(n, steps), "x": uniform(n)}


def _simulate(
    theta: Tensor, noise: dict[str, Tensor], *, num_steps: int, truncation: str
) -> Tensor:
    """Observations after `num_steps` steps, shape `(n, 1)`."""
    # Small blocks stay in the cache, and below the size at which torch starts threads.
    blocks = [
        _simulate_block(t, u, v, w, num_steps=num_steps, truncation=truncation)
        for t, u, v, w in zip(
            theta.double().split(_ROWS_AT_ONCE),
            noise["u"].split(_ROWS_AT_ONCE),
            noise["v"].split(_ROWS_AT_ONCE),
            noise["x"].split(_ROWS_AT_ONCE),
            strict=True,
        )
    ]
    return torch.cat(blocks)[:, None].float()


def _simulate_block(
    theta: Tensor, w_u: Tensor, w_v: Tensor, w_x: Tensor, *, num_steps: int, truncation: str
) -> Tensor:
    alpha1, alpha2, beta1, beta2, mu, sigma, gamma = theta.unbind(1)
    normal: Callable[..., Tensor] = partial(truncated_normal, truncation=truncation)
    u = v = torch.full_like(mu, 10.0)
    steps_u = w_u[:, :num_steps].t().contiguous()
    steps_v = w_v[:, :num_steps].t().contiguous()
    for step_u, step_v in zip(steps_u, steps_v, strict=True):
        mean_u = u + alpha1 / (1 + v**beta1) - (1 + 0.03 * u)
        mean_v = v + alpha2 / (1 + u**beta2) - (1 + 0.03 * v)
        u, v = normal(mean_u, 0.5, step_u), normal(mean_v, 0.5, step_v)
    return normal(mu + u, mu * sigma / u**gamma, w_x).clamp_max(_CAP)


def _score(fit: Any, theta: Tensor, x: Tensor, seed: int, *, truncation: str) -> dict[str, float]:
    """MMD^2 of true and learned draws at each theta, and the log density of true draws."""
    del x
    true = _true_draws(theta.numpy().tobytes(), seed, truncation)
    learned = _learned_draws(fit, theta, seed=derive_seed(seed, "learned"))
    mmd = [
        torch.as_tensor(mmd_squared(a, b, LENGTH_SCALE))
        for a, b in zip(true.split(_MMD_AT_ONCE), learned.split(_MMD_AT_ONCE), strict=True)
    ]
    held_out = true[:, :_DENSITY_DRAWS].reshape(-1, 1)
    log_prob = fit.log_prob(theta.repeat_interleave(_DENSITY_DRAWS, 0), held_out)
    return {
        **summary(torch.cat(mmd), name="mmd_squared"),
        "log_density_mean": float(log_prob.double().mean()),
    }


@lru_cache(maxsize=8)
def _true_draws(theta_bytes: bytes, seed: int, truncation: str) -> Tensor:
    """500 draws of the highest level at each theta, shape `(b, 500, 1)`.

    Kept (0.4 MB an entry): the strategies of a comparison are scored against the same draws, and
    simulating 100,000 runs takes seconds.
    """
    # Bytes, since tensors are cached by identity, not by value.
    theta = torch.frombuffer(bytearray(theta_bytes), dtype=torch.float32).view(-1, len(_NAMES))
    generator = make_generator(seed, "truth")
    draws = []
    for block in theta.split(_THETAS_AT_ONCE):
        rows = block.repeat_interleave(_DRAWS, 0)
        noise = _noise(len(rows), generator)
        x = _simulate(rows, noise, num_steps=_NUM_STEPS[-1], truncation=truncation)
        draws.append(x.view(len(block), _DRAWS, 1))
    return torch.cat(draws)


def _learned_draws(fit: Any, theta: Tensor, *, seed: int) -> Tensor:
    """500 draws of the fit at each theta, shape `(b, 500, 1)`; an overflowed draw is far away."""
    batched = getattr(fit, "sample_batched", None)
    draws: Tensor
    if batched is not None:
        draws = batched(_DRAWS, theta=theta, seed=seed).transpose(0, 1)
    else:
        draws = torch.stack(
            [
                fit.sample(_DRAWS, theta=row, seed=derive_seed(seed, i))
                for i, row in enumerate(theta)
            ]
        )
    return draws.detach().cpu().clamp(-1e30, 1e30)
