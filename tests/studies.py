"""A study that takes a second, for tests of its steps: two simulators that count their runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlsbi.study import Study

MODELS = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent
CLOSED = []


def count(level, rows):
    with (FOLDER / f"calls{level}").open("a") as file:
        file.write("x" * rows)


def low(theta, u):
    count(0, len(theta))
    return theta + 0.1 * (u % 5)[:, None]


def high(theta, u):
    count(1, len(theta))
    if (FOLDER / "broken").exists() and len(theta) < 16:
        raise ArithmeticError("no convergence")
    return theta + 0.1 * (u % 5)[:, None] + 0.02


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh())


def bad_net():
    return nn.Linear(7, 3)


class Own(ThreadPoolExecutor):
    def shutdown(self, *args, **options):
        CLOSED.append(True)
        super().shutdown(*args, **options)


def executor():
    return Own(2)


number = 3
"""
PRIOR = """
[[parameters]]
name = "a"
low = -1
high = 1
[[parameters]]
name = "b"
low = -1
high = 1
"""
LEVELS = """
[[levels]]
simulator = "MODELS:low"
cost = 1
[[levels]]
simulator = "MODELS:high"
cost = 10
batch_size = 4
"""
FIT = """
[fit]
strategy = "multilevel"
ensemble = 2
[fit.training]
max_steps = 20
[check]
folds = 2
"""
COUNTS = "[simulate]\nn = [40, 12]\n"
SEEN = "[observation]\nx = [0.3, -0.2]\n"
WHOLE = PRIOR + LEVELS + FIT + COUNTS + SEEN


class Place:
    """A folder with a study and its simulators."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = "models_" + re.sub(r"\W", "_", folder.name)
        (folder / f"{self.models}.py").write_text(MODELS)

    def study(self, text: str = WHOLE, **options: Any) -> Study:
        path = self.folder / "study.toml"
        path.write_text(text.replace("MODELS", self.models))
        return Study.load(path, **options)

    @property
    def calls(self) -> tuple[int, int]:
        """How often each simulator was run."""
        files = [self.folder / f"calls{level}" for level in range(2)]
        low, high = (len(file.read_text()) if file.exists() else 0 for file in files)
        return low, high


def states(study: Study) -> dict[str, str]:
    return {step.name: step.state for step in study.steps()}
