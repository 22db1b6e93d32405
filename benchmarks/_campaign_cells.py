"""What the campaign benchmarks share: cells, hierarchies, and adapters to sbi."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _campaign_simulators import RowSimulator
from sbi.utils import BoxUniform
from torch import Tensor

import mlsbi

Metrics = dict[str, float | str]


@dataclass(frozen=True)
class Cell:
    """One measurement, made in a process of its own.

    Attributes:
        case: What is measured.
        function: Name of the function that measures it.
        arguments: Its arguments, in JSON types.
    """

    case: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A sub-benchmark.

    Attributes:
        cells: Given `quick` and a number of rows (None: as the benchmark is meant), what to
            measure. All of it is measured once per repeat.
        functions: What measures, by name.
        compare: Given the metrics of all cases of a repeat, further ones: ratios.
    """

    cells: Callable[[bool, int | None], list[Cell]]
    functions: dict[str, Callable[..., Metrics]]
    compare: Callable[[dict[str, Metrics]], dict[str, Metrics]] = lambda results: {}


def unit_box(dim: int = 2) -> BoxUniform:
    return BoxUniform(torch.zeros(dim), torch.ones(dim))


def row_hierarchy(simulator: RowSimulator) -> mlsbi.Hierarchy:
    return mlsbi.Hierarchy(unit_box(), [mlsbi.Level(simulator, batched=False, name="row")])


@dataclass(frozen=True)
class SbiRows:
    """A row-by-row simulator as `simulate_for_sbi` wants it: batches, and no seeds."""

    simulator: RowSimulator
    harmless: bool = True

    def __call__(self, theta: Any) -> Tensor:
        """Run rows: theta `(n, d)`, an array or a tensor, to x `(n, d)`."""
        rows = np.asarray(theta)
        seeds = (
            np.full(len(rows), 999) if self.harmless else np.random.randint(2**62, size=len(rows))
        )
        pairs = zip(rows, seeds.tolist(), strict=True)
        return torch.from_numpy(np.stack([self.simulator(row, seed) for row, seed in pairs]))


@contextmanager
def new_store(*, wanted: bool = True) -> Iterator[Path | None]:
    """A path for a store, in a folder that is removed afterwards; None if not wanted."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "run.zarr"


def timed(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns; warnings about failed rows are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = time.perf_counter()
        value = function(*args, **options)
        return time.perf_counter() - begin, value


def ratio_to(results: dict[str, Metrics], case: str, metric: str, name: str) -> dict[str, Metrics]:
    """A metric of every case that has it, divided by that of one case."""
    if metric not in results.get(case, {}):
        return {}
    base = float(results[case][metric])
    return {c: {name: float(m[metric]) / base} for c, m in results.items() if metric in m}
