"""Throughput of row-by-row simulators on two processes; overhead of batched ones in this process.

Throughput: `of ideal` is n t / 2 divided by the seconds of the call, with t the seconds of a row in
a plain loop, measured just before in the same process. `cold` includes the start of the workers,
`warm` is the second call. `bare` is two plain loops in two processes: what the machine can do.

In-process: `direct` draws theta and u and calls the simulator, at once (`one`) or 1024 rows at a
time (`batches`); overhead is relative to the quicker of these in the same repeat. sbi is shown with
the quickest of three batch sizes.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from _campaign_cells import (
    Benchmark,
    Cell,
    Metrics,
    SbiRows,
    new_store,
    row_hierarchy,
    timed,
    unit_box,
)
from _campaign_simulators import calibrate, loop_seconds, make_simulator
from sbi.inference import simulate_for_sbi
from torch import Tensor

import mlsbi
from mlsbi.simulate import CHUNK_ROWS
from mlsbi.tasks import g_and_k, ornstein_uhlenbeck

WORKERS = 2


def throughput_cells(quick: bool, rows: int | None) -> list[Cell]:
    n = rows or (200 if quick else 6000)
    specs: dict[str, dict[str, Any]] = {"sleep": {"kind": "sleep", "seconds": 0.01}}
    if not quick:
        specs["busy"] = {"kind": "busy", "iterations": calibrate(0.01)}
    cells = []
    for name, spec in specs.items():
        shared = {"spec": spec, "n": n}
        cells += [
            Cell(f"{name}: mlsbi", "mlsbi_rows", {**shared, "store": False}),
            Cell(f"{name}: mlsbi, store", "mlsbi_rows", {**shared, "store": True}),
            Cell(f"{name}: bare", "bare_rows", shared),
        ]
        for size in (10,) if quick else (1, 10):
            cells.append(Cell(f"{name}: sbi, batch {size}", "sbi_rows", {**shared, "size": size}))
    return cells


def mlsbi_rows(spec: dict[str, Any], n: int, repeat: int, *, store: bool) -> Metrics:
    simulator = make_simulator(spec)
    hierarchy = row_hierarchy(simulator)

    def call(seed: int) -> float:
        with new_store(wanted=store) as path:
            return timed(mlsbi.simulate, hierarchy, [n], seed=seed, store=path, executor=WORKERS)[0]

    return _against_loop(simulator, n, repeat, call)


def sbi_rows(spec: dict[str, Any], n: int, repeat: int, size: int) -> Metrics:
    simulator = make_simulator(spec)

    def call(seed: int) -> float:
        return timed(
            simulate_for_sbi, SbiRows(simulator), unit_box(), n,
            num_workers=WORKERS, simulation_batch_size=size, seed=seed, show_progress_bar=False,
        )[0]  # fmt: skip

    return _against_loop(simulator, n, repeat, call)


def bare_rows(spec: dict[str, Any], n: int, repeat: int) -> Metrics:
    simulator = make_simulator(spec)
    row = loop_seconds(simulator, max(n // 20, 50))
    context = multiprocessing.get_context("spawn")  # a fork of a process with torch may lock up
    with context.Pool(WORKERS) as pool:
        loop = partial(loop_seconds, simulator)
        pool.map(loop, [10] * WORKERS, chunksize=1)  # both are up
        slowest = max(pool.map(loop, [n // WORKERS] * WORKERS, chunksize=1))
    return {"row ms": 1000 * row, "warm s": slowest * n / WORKERS, "warm of ideal": row / slowest}


def _against_loop(simulator: Any, n: int, repeat: int, call: Callable[[int], float]) -> Metrics:
    row = loop_seconds(simulator, max(n // 20, 50))
    ideal = n * row / WORKERS
    cold, warm = call(2 * repeat), call(2 * repeat + 1)
    return {
        "row ms": 1000 * row,
        "cold s": cold,
        "warm s": warm,
        "cold of ideal": ideal / cold,
        "warm of ideal": ideal / warm,
    }


def compare_throughput(results: dict[str, Metrics]) -> dict[str, Metrics]:
    """Ours against the better of sbi's batch sizes: rows per second."""
    found: dict[str, Metrics] = {}
    for case, metrics in results.items():
        kind, _, who = case.partition(": ")
        if not who.startswith("mlsbi"):
            continue
        theirs = [m for c, m in results.items() if c.startswith(f"{kind}: sbi")]
        found[case] = {
            f"{start} times sbi": min(float(m[f"{start} s"]) for m in theirs)
            / float(metrics[f"{start} s"])
            for start in ("cold", "warm")
        }
    return found


def in_process_cells(quick: bool, rows: int | None) -> list[Cell]:
    n = rows or (20_000 if quick else 1_000_000)
    return [Cell(name, "in_process", {"name": name, "n": n}) for name in _hierarchies()]


def _trivial(theta: Tensor, u: Tensor) -> Tensor:
    return theta.repeat(1, 5)


def _hierarchies() -> dict[str, mlsbi.Hierarchy]:
    found = {"trivial": mlsbi.Hierarchy(unit_box(), [mlsbi.Level(_trivial)])}
    for name, whole in (("ou", ornstein_uhlenbeck().hierarchy), ("g-and-k", g_and_k().hierarchy)):
        if whole is None:
            raise ValueError(f"task {name} has no simulators")
        own = partial(mlsbi.Hierarchy, whole.prior, noise=whole._noise)
        found |= {f"{name} level {i}": own([level]) for i, level in enumerate(whole.levels)}
        found[f"{name} pair"] = whole
    return found


class _Direct:
    """What somebody writes who needs no campaign; a pair runs both simulators."""

    def __init__(self, hierarchy: mlsbi.Hierarchy, seed: int) -> None:
        self._hierarchy = hierarchy
        self._generator = torch.Generator().manual_seed(seed)

    def one(self, n: int) -> list[Tensor]:
        theta, u = self._hierarchy.draw(n, self._generator)
        return [theta, *(level.simulator(theta, u) for level in self._hierarchy.levels)]

    def batches(self, n: int) -> list[Tensor]:
        sizes = [min(CHUNK_ROWS, n - first) for first in range(0, n, CHUNK_ROWS)]
        return [torch.cat(parts) for parts in zip(*map(self.one, sizes), strict=True)]

    def for_sbi(self, theta: Tensor) -> Tensor:
        """Noise of the batch, then all simulators; a pair's outputs side by side."""
        draw = self._hierarchy._noise
        # A simulator without explicit noise ignores it here; sbi's seeds itself.
        u = theta if draw is None else draw(len(theta), self._generator)
        return torch.cat([level.simulator(theta, u) for level in self._hierarchy.levels], 1)


def in_process(name: str, n: int, repeat: int) -> Metrics:
    """All ways in one process; which goes first changes from repeat to repeat."""
    hierarchy = _hierarchies()[name]
    direct = _Direct(hierarchy, repeat)

    def simulate(rows: int, *, store: bool = False) -> Any:
        counts = [1] * (hierarchy.num_levels - 1) + [rows]
        with new_store(wanted=store) as path:
            return mlsbi.simulate(hierarchy, counts, seed=repeat, store=path)

    def sbi(rows: int, size: int | None) -> Any:
        return simulate_for_sbi(
            direct.for_sbi, hierarchy.prior.distribution, rows,
            seed=repeat, simulation_batch_size=size, show_progress_bar=False,
        )  # fmt: skip

    ways: dict[str, Callable[[int], Any]] = {
        "one": direct.one,
        "batches": direct.batches,
        "mlsbi": simulate,
        "mlsbi, store": partial(simulate, store=True),
        **{f"sbi {size}": partial(sbi, size=size) for size in (1024, 16_384, None)},
    }
    for run in ways.values():
        run(2048)  # what is slow once only
    names = list(ways)
    start = repeat % len(names)
    seconds = {}
    for way in names[start:] + names[:start]:
        gc.collect()
        seconds[way] = timed(ways[way], n)[0]
    return _overheads(seconds, n)


def _overheads(seconds: dict[str, float], n: int) -> Metrics:
    theirs = min(value for way, value in seconds.items() if way.startswith("sbi"))
    direct = min(seconds["one"], seconds["batches"])
    metrics: Metrics = {f"{way} s": value for way, value in seconds.items()}
    for who, value in (
        ("mlsbi", seconds["mlsbi"]), ("mlsbi, store", seconds["mlsbi, store"]), ("sbi", theirs),
    ):  # fmt: skip
        metrics[f"{who} overhead"] = value / direct - 1
        metrics[f"{who} us a row"] = 1e6 * (value - direct) / n
    return metrics


THROUGHPUT = Benchmark(
    throughput_cells,
    {"mlsbi_rows": mlsbi_rows, "sbi_rows": sbi_rows, "bare_rows": bare_rows},
    compare_throughput,
)
IN_PROCESS = Benchmark(in_process_cells, {"in_process": in_process})
