"""Checks that the metrics of posterior draws share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import as_tensor

__all__ = ["as_ranks", "as_theta_and_draws", "spread_ranks"]


def as_theta_and_draws(theta: Any, draws: Any) -> tuple[Tensor, Tensor]:
    """True parameters `(n, d)` and draws `(m, n, d)` for each, float64, on the CPU.

    Raises:
        TypeError: If an argument is not array-like.
        ValueError: If the shapes do not agree, there is no row or no draw, or a value is not
            finite.
    """
    true = as_tensor(theta, name="theta", ndim=2, dtype=torch.float64).cpu()
    drawn = as_tensor(draws, name="draws", ndim=3, dtype=torch.float64).cpu()
    if drawn.shape[1:] != true.shape or drawn.numel() == 0:
        raise ValueError(
            f"draws must have shape (num_draws, n, d) with (n, d) = {tuple(true.shape)} from "
            f"theta; got {tuple(drawn.shape)}. Pass fit.sample_batched(num_draws, x=x)."
        )
    return true, drawn


def as_ranks(ranks: Any, *, ndim: int | tuple[int, ...], minimum: int = 1) -> Tensor:
    """Ranks in [0, 1], float64, on the CPU.

    Raises:
        TypeError: If `ranks` is not array-like.
        ValueError: If the shape is wrong, there are fewer than `minimum` rows, or a value leaves
            [0, 1].
    """
    values = as_tensor(ranks, name="ranks", ndim=ndim, dtype=torch.float64).cpu()
    if len(values) < minimum or bool(((values < 0) | (values > 1)).any()):
        raise ValueError(
            f"ranks must hold at least {minimum} row(s), with all values in [0, 1]; got shape "
            f"{tuple(values.shape)}. Divide counts by the number of draws plus one."
        )
    return values


def spread_ranks(values: Tensor, draws: Tensor, generator: torch.Generator) -> Tensor:
    """Ranks of values among draws, `draws` with one axis more in front, in (0, 1), float64.

    A rank is spread evenly over its step (and over ties), so that it is uniform on (0, 1), not on
    a lattice, where a value is one draw more.
    """
    spread = torch.rand(values.shape, generator=generator, dtype=torch.float64)
    below, ties = (draws < values).sum(0), (draws == values).sum(0)
    return (below + spread * (ties + 1)) / (len(draws) + 1)
