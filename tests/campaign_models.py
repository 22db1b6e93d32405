"""Simulators that fail in every way, for the tests of campaigns.

They are functions of a module, so that they can go to other processes by name, and what a run does
depends on its seed alone: `fate(seed)`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sbi.utils import BoxUniform

from mlsbi import Hierarchy, Level

PRIOR = BoxUniform(torch.zeros(2), torch.ones(2))

# Of 100 runs, how many do what. The rest are fine.
FATES = {"exception": 8, "non-finite": 6, "shape": 4, "exit": 4, "timeout": 2, "died": 2}


def fate(seed: int) -> str:
    """What a run with this seed does."""
    number = seed % 100
    for name, share in FATES.items():
        if number < share:
            return name
        number -= share
    return "fine"


def kind(seed: int) -> str | None:
    """The kind of failure that a run with this seed is noted as, None if it is none."""
    name = fate(seed)
    return {"fine": None, "exit": "exception"}.get(name, name)


def good_row(theta, seed):
    """Row by row: theta, and what the seed says."""
    return np.concatenate([theta, np.float32([seed % 997 / 1000])])


def good_batch(theta, u):
    """The same, batched."""
    return torch.cat([theta, (u % 997)[:, None].float() / 1000], dim=1)


def bad_row(theta, seed):
    """Row by row: fails as `fate` says."""
    name = fate(seed)
    if name == "exception":
        raise ArithmeticError(f"no solution for seed {seed}")
    if name == "non-finite":
        return np.float32([np.nan, np.inf, 0.0])
    if name == "shape":
        return np.zeros(7, dtype=np.float32)
    if name == "exit":
        sys.exit(3)
    if name == "timeout":
        time.sleep(60)
    if name == "died":
        os.kill(os.getpid(), signal.SIGKILL)
    return good_row(theta, seed)


def bad_batch(theta, u):
    """Batched: one run that fails takes the whole batch with it."""
    for seed in u.tolist():
        if fate(seed) in {"exception", "timeout", "died"}:
            bad_row(theta[0].numpy(), seed)
    x = good_batch(theta, u)
    x[[fate(seed) == "non-finite" for seed in u.tolist()], 1] = torch.nan
    return x


class Flaky:
    """Fails at the first run of some seeds, and works from then on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, theta, seed):
        marker = self.folder / str(seed)
        if seed % 5 == 0 and not marker.exists():
            marker.touch()
            raise ConnectionError("the licence server is busy")
        return good_row(theta, seed)


class Broken:
    """Fails for some seeds while a file exists."""

    def __init__(self, switch: Path) -> None:
        self.switch = switch

    def __call__(self, theta, seed):
        if seed % 4 == 0 and self.switch.exists():
            raise ValueError("not mended yet")
        return good_row(theta, seed)


def visible_device(theta, seed):
    """The GPU that this process may use, as a number."""
    return np.float32([int(os.environ["CUDA_VISIBLE_DEVICES"]), os.getpid()])


def hierarchy(*simulators, batched=False, **options):
    """Levels of these simulators, with costs 1, 2, ..."""
    levels = [
        Level(s, batched=batched, cost=float(i + 1), **options) for i, s in enumerate(simulators)
    ]
    return Hierarchy(PRIOR, levels)


def same(a, b):
    """Whether two data sets are the same bit for bit."""
    return a.n == b.n and all(
        torch.equal(a.theta(i), b.theta(i))
        and torch.equal(a.x(i), b.x(i))
        and (i == 0 or torch.equal(a.x_coarse(i), b.x_coarse(i)))
        for i in range(a.num_levels)
    )
