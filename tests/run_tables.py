"""A hierarchy and its runs as tables, for tests."""

from __future__ import annotations

import csv

import numpy as np
import torch
from sbi.utils import BoxUniform

from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.simulate._tables import export_runs

PRIOR = BoxUniform(torch.zeros(2), torch.tensor([1.0, 1e-3]))
N, SEED = [5, 3], 3


def coarse(theta, seed):
    """Two outputs; not representable in few digits."""
    return np.array([theta[0] / 3 + seed % 997, theta[1]], dtype=np.float32)


def fine(theta, seed):
    """Three outputs."""
    return np.array([*coarse(theta, seed), theta[0] * 1e-7], dtype=np.float32)


HIERARCHY = Hierarchy(
    PRIOR, [Level(coarse, cost=1.0, batched=False), Level(fine, cost=5.0, batched=False)]
)


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path, lines):
    names = list(dict.fromkeys(name for line in lines for name in line))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(lines)
    return path


def plan(tmp_path, n=N, hierarchy=HIERARCHY):
    path = tmp_path / "plan.csv"
    export_runs(hierarchy, n, path, seed=SEED, overwrite=True)
    return read_csv(path)


def run_line(line, keep=("run_id",)):
    """What a user's job makes of a line."""
    theta = np.array([line["theta_0"], line["theta_1"]], dtype=np.float64).astype(np.float32)
    x = (coarse, fine)[int(line["simulator"])](theta, int(line["seed"]))
    outputs = {f"x_{i}": repr(float(value)) for i, value in enumerate(x)}
    return {name: line[name] for name in keep} | outputs


def change(lines, name, **cells):
    return [line | cells if line["run_id"] == name else line for line in lines]
