"""A name of a data set's runs, by which they are known again."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from mlsbi.data import MultilevelData

__all__ = ["runs_digest"]


def runs_digest(data: MultilevelData) -> str:
    """32 hexadecimal digits that change with any number or shape of any level's runs."""
    digest = hashlib.blake2b(digest_size=16)
    for level in range(data.num_levels):
        own: list[Tensor] = [data.theta(level), data.x(level)]
        for tensor in own if level == 0 else [*own, data.x_coarse(level)]:
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
