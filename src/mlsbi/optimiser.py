"""The optimiser of every training, and its learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mlsbi.options import Training

__all__ = ["adamw", "learning_rate"]


def adamw(parameters: Sequence[torch.nn.Parameter], options: Training) -> torch.optim.AdamW:
    """AdamW that decays weight matrices only (a stacked matrix has three axes)."""
    matrices = [p for p in parameters if p.dim() >= 3]
    others = [p for p in parameters if p.dim() < 3]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=options.learning_rate, fused=True
    )


def learning_rate(options: Training, step: int) -> float:
    """The rate of step `step`, counted from 0: warm-up, then the schedule."""
    rate = options.learning_rate
    if step < options.warmup:
        rate *= (step + 1) / options.warmup
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / options.max_steps))
    return rate
