"""What the campaign benchmarks share: cells, hierarchies, and adapters to sbi."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _campaign_simulators import RowSimulator
from torch.distributions import Distribution, Independent, Uniform

import mlsbi
from mlsbi.simulate import CHUNK_ROWS, Chunk, draw_chunk

WORKERS = 2

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
        shown: Metrics in the table; the file has all.
        compare: Given the metrics of all cases of a repeat, further ones: ratios.
    """

    cells: Callable[[bool, int | None], list[Cell]]
    functions: dict[str, Callable[..., Metrics]]
    shown: tuple[str, ...]
    compare: Callable[[dict[str, Metrics]], dict[str, Metrics]] = lambda results: {}


def unit_box(dim: int = 2) -> Distribution:
    return Independent(Uniform(torch.zeros(dim), torch.ones(dim)), 1)


def row_hierarchy(simulator: RowSimulator) -> mlsbi.Hierarchy:
    return mlsbi.Hierarchy(unit_box(), [mlsbi.Level(simulator, batched=False, name="row")])


def rows_of(hierarchy: mlsbi.Hierarchy, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Theta `(n, d)` and the seeds `(n,)` that a campaign's rows of level 0 have."""
    starts = range(0, n, CHUNK_ROWS)
    chunks = [Chunk(0, i, min(CHUNK_ROWS, n - start)) for i, start in enumerate(starts)]
    drawn = zip(*(draw_chunk(hierarchy, chunk, seed) for chunk in chunks), strict=True)
    theta, seeds = (torch.cat(parts).numpy() for parts in drawn)
    return theta, seeds


def load_sbi() -> Callable[..., Any]:
    """`simulate_for_sbi`, imported late: sbi takes more memory and time than a campaign needs."""
    from sbi.inference import simulate_for_sbi

    return partial(simulate_for_sbi, show_progress_bar=False)


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
