"""Throughput of row-by-row simulators on two processes.

`of ideal` is n t / 2 divided by the seconds of the call, with t the seconds of a row in a plain
loop, measured just before in the same process. `cold` includes the start of the workers, `warm` is
the second call. `bare` is two plain loops in two processes: what the machine can do.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import Any

from _campaign_cells import (
    WORKERS,
    Benchmark,
    Cell,
    Metrics,
    load_sbi,
    new_store,
    row_hierarchy,
    timed,
    unit_box,
)
from _campaign_simulators import SbiRows, calibrate, loop_seconds, make_simulator

import mlsbi


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

    sbi = load_sbi()

    def call(seed: int) -> float:
        return timed(
            sbi, SbiRows(simulator), unit_box(), n,
            num_workers=WORKERS, simulation_batch_size=size, seed=seed,
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


BENCHMARK = Benchmark(
    throughput_cells,
    {"mlsbi_rows": mlsbi_rows, "sbi_rows": sbi_rows, "bare_rows": bare_rows},
    (
        "row ms", "cold s", "warm s", "cold of ideal", "warm of ideal",
        "cold times sbi", "warm times sbi",
    ),
    compare_throughput,
)  # fmt: skip
