"""Where a flow's width is measured: fixed points of its base."""

from __future__ import annotations

import torch
from torch import Tensor

from mlsbi._random import make_generator

__all__ = ["base_points", "spread_of_images"]

_PAIRS = 8


def base_points(dim: int) -> Tensor:
    """Points with mean zero and variance one in each entry, `(16, dim)`, always the same."""
    half = torch.randn(_PAIRS, dim, generator=make_generator(0, "base points"))
    points = torch.cat([half, -half])
    return points / points.square().mean(0).sqrt()


def spread_of_images(images: Tensor, centre: Tensor) -> Tensor:
    """Root mean square distance of images `(16, ..., dim)` from a centre, entry by entry."""
    return (images - centre).square().mean(0).sqrt()
