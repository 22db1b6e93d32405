"""Peak memory of the coordinator, seconds and size on disk: rows of 10 numbers, batched simulator.

`peak MB` is the most memory that the process held (Linux), `above start MB` how much of it came
after all imports. sbi, and mlsbi without a store, keep all rows in memory.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from _campaign_cells import Benchmark, Cell, Metrics, load_sbi, new_store, timed, unit_box
from torch import Tensor

import mlsbi

NUMBERS = 10
_FACTORS = torch.arange(1, 2 * NUMBERS, 2, dtype=torch.int64) * 6_364_136_223_846_793_005
_SBI_BATCH = 16_384  # the quickest found, see the benchmark of overhead


def memory_cells(quick: bool, rows: int | None) -> list[Cell]:
    few, middle, many = (1000, 10_000, 100_000) if quick else (10_000, 1_000_000, 10_000_000)
    cells = [
        Cell(f"mlsbi, store, {name}: {n:,} rows", "mlsbi_memory", {"n": n, "executor": executor})
        for n in (few, rows or many)
        for name, executor in (("in process", None), ("2 processes", 2))
    ]
    cells.append(Cell(f"mlsbi, in memory: {middle:,} rows", "mlsbi_memory", {
        "n": middle, "executor": None, "store": False,
    }))  # fmt: skip
    cells.append(Cell(f"sbi: {middle:,} rows", "sbi_memory", {"n": middle}))
    return cells


def numbers(theta: Tensor, seeds: Tensor) -> Tensor:
    """Ten uniform numbers from each row's seed (a multiplicative hash), around theta."""
    noise = (seeds.unsqueeze(1) * _FACTORS) >> 40
    return theta.sum(1, keepdim=True) + noise / 2**23


def for_sbi(theta: Tensor) -> Tensor:
    return numbers(theta, torch.randint(2**62, (len(theta),)))


def mlsbi_memory(n: int, executor: int | None, repeat: int, *, store: bool = True) -> Metrics:
    hierarchy = mlsbi.Hierarchy(unit_box(), [mlsbi.Level(numbers)])
    with new_store(wanted=store) as path:
        call = partial(mlsbi.simulate, hierarchy, [n], seed=repeat, store=path, executor=executor)
        return _measured(call, n, path)


def sbi_memory(n: int, repeat: int) -> Metrics:
    options = {"simulation_batch_size": _SBI_BATCH, "seed": repeat}
    call = partial(load_sbi(), for_sbi, unit_box(), n, **options)
    return _measured(call, n, None)


def _measured(call: Any, n: int, store: Path | None) -> Metrics:
    before = _peak_mb()
    seconds, result = timed(call)
    peak = _peak_mb()  # while what was returned is still there
    del result
    metrics: Metrics = {
        "s": seconds,
        "us a row": 1e6 * seconds / n,
        "peak MB": peak,
        "above start MB": peak - before,
    }
    if store is not None:
        sizes = [file.stat().st_size for file in store.rglob("*") if file.is_file()]
        metrics |= {"disk MB": sum(sizes) / 1e6, "bytes a row": sum(sizes) / n, "files": len(sizes)}
    return metrics


def _peak_mb() -> float:
    # Not getrusage: its peak of a child starts at what the parent held when it was started.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("no VmHWM in /proc/self/status: this benchmark needs Linux")


BENCHMARK = Benchmark(
    memory_cells,
    {"mlsbi_memory": mlsbi_memory, "sbi_memory": sbi_memory},
    ("s", "us a row", "peak MB", "above start MB", "disk MB", "bytes a row", "files"),
)
