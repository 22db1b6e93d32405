"""Campaigns with failing rows: time beside the ideal, and whether failures are listed exactly.

Failures: of 1000 rows 100 raise, 10 hang (timeout 0.5 s), 1 kills its process; `ideal` is the time
of good rows plus the timeouts, over two. A row that kills is run three times. sbi has no such
policy: what it does is shown as it is.

Deaths: only deaths, none retried. Ours against loky: as `executor=` of a campaign, without and with
the simulators in processes of their own, and in a loop that somebody writes who knows loky well.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import torch
from _campaign_cells import (
    Benchmark,
    Cell,
    Metrics,
    SbiRows,
    new_store,
    ratio_to,
    row_hierarchy,
    timed,
    unit_box,
)
from _campaign_simulators import Fates, loop_seconds, run_rows
from loky import ProcessPoolExecutor
from sbi.inference import simulate_for_sbi

import mlsbi
from mlsbi.simulate import CHUNK_ROWS, Chunk, draw_chunk

WORKERS, SECONDS, TIMEOUT = 2, 0.01, 0.5
TASK_ROWS = 100


def failure_cells(quick: bool, rows: int | None) -> list[Cell]:
    n = rows or (200 if quick else 4000)
    fates = {"seconds": SECONDS, "raises": 100, "hangs": 10, "dies": 5 if quick else 1}
    shared = {"fates": fates, "n": n}
    return [
        Cell("mlsbi", "mlsbi_failures", {**shared, "store": False}),
        Cell("mlsbi, store", "mlsbi_failures", {**shared, "store": True}),
        Cell("sbi", "sbi_failures", shared),
    ]


def rows_of(hierarchy: mlsbi.Hierarchy, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Theta `(n, d)` and the seeds `(n,)` that a campaign's rows of level 0 have."""
    starts = range(0, n, CHUNK_ROWS)
    chunks = [Chunk(0, i, min(CHUNK_ROWS, n - start)) for i, start in enumerate(starts)]
    drawn = zip(*(draw_chunk(hierarchy, chunk, seed) for chunk in chunks), strict=True)
    theta, seeds = (torch.cat(parts).numpy() for parts in drawn)
    return theta, seeds


def mlsbi_failures(fates: dict[str, Any], n: int, repeat: int, *, store: bool) -> Metrics:
    """Twice: the second campaign has other rows, and workers that are up."""
    simulator = Fates(**fates)
    hierarchy = row_hierarchy(simulator)
    metrics: Metrics = {}
    for name, seed in (("cold", 2 * repeat), ("warm", 2 * repeat + 1)):
        row = loop_seconds(simulator, max(n // 20, 50))
        theta, seeds = rows_of(hierarchy, n, seed)
        expected = {i: fate for i, s in enumerate(seeds.tolist()) if (fate := simulator.fate(s))}
        hanging = sum(kind == "timeout" for kind in expected.values())
        ideal = ((n - len(expected)) * row + hanging * TIMEOUT) / WORKERS
        with new_store(wanted=store) as path:
            seconds, data = timed(
                mlsbi.simulate, hierarchy, [n], seed=seed, store=path, executor=WORKERS,
                on_failure="drop", timeout=TIMEOUT, max_failed=0.2,
            )  # fmt: skip
            exact = _exact(data, expected, theta)
        metrics |= {f"{name} s": seconds, f"{name} over ideal": seconds / ideal}
        metrics[f"{name} exact"] = float(exact)
        for kind in ("exception", "timeout", "died"):
            metrics[f"{name} {kind}"] = sum(f.kind == kind for f in data.failures)
    return metrics


def _exact(data: mlsbi.MultilevelData, expected: dict[int, str], theta: np.ndarray) -> bool:
    """Whether exactly those rows failed that had to, and all others are there."""
    good = np.delete(theta, list(expected), axis=0)
    found = {failure.row: failure.kind for failure in data.failures}
    return found == expected and np.array_equal(data.theta(0).numpy(), good)


def sbi_failures(fates: dict[str, Any], n: int, repeat: int) -> Metrics:
    metrics: Metrics = {}
    only = {"seconds": fates["seconds"]}
    variants = {"all": fates, "raises": {**only, "raises": fates["raises"]}, "dies": {
        **only, "dies": max(fates["dies"], 5),
    }}  # fmt: skip
    for name, some in variants.items():
        simulator = SbiRows(Fates(**some), harmless=False)
        begin = time.perf_counter()
        try:
            _, x = simulate_for_sbi(
                simulator, unit_box(), n,
                num_workers=WORKERS, simulation_batch_size=10, seed=repeat, show_progress_bar=False,
            )  # fmt: skip
            metrics[f"{name}: rows"], metrics[f"{name}: end"] = len(x), "completed"
        except Exception as error:
            metrics[f"{name}: rows"], metrics[f"{name}: end"] = 0, type(error).__name__
        metrics[f"{name}: s"] = time.perf_counter() - begin
    return metrics


def loky_cells(quick: bool, rows: int | None) -> list[Cell]:
    cells = []
    for dies in (10,) if quick else (1, 5):
        shared = {"n": rows or (300 if quick else 2000), "dies": dies}
        cells += [
            Cell(f"{dies / 10:g} %: {name}", "deaths", {**shared, "way": way})
            for name, way in (
                ("mlsbi", "mlsbi"),
                ("loky by hand", "loky"),
                ("mlsbi on loky, isolate=False", "loky-bare"),
                ("mlsbi on loky", "loky-isolated"),
            )
        ]
    return cells


def deaths(n: int, dies: int, way: str, repeat: int) -> Metrics:
    simulator = Fates(SECONDS, dies=dies)
    hierarchy = row_hierarchy(simulator)
    theta, seeds = rows_of(hierarchy, n, repeat)
    expected = {i for i, seed in enumerate(seeds.tolist()) if simulator.fate(seed)}
    ideal = (n - len(expected)) * loop_seconds(simulator, max(n // 20, 50)) / WORKERS
    metrics: Metrics = {"deaths": len(expected)}
    begin = time.perf_counter()
    try:
        if way == "loky":
            x, failed = loky_loop(simulator, theta, seeds)
        else:
            x, failed = _campaign(hierarchy, n, repeat, way)
    except Exception as error:
        return metrics | {"broke s": time.perf_counter() - begin, "end": type(error).__name__}
    seconds = time.perf_counter() - begin
    exact = failed == expected and np.array_equal(x, np.delete(theta, list(expected), axis=0))
    return metrics | {
        "s": seconds, "over ideal": seconds / ideal, "exact": float(exact), "end": "completed",
    }  # fmt: skip


def _campaign(
    hierarchy: mlsbi.Hierarchy, n: int, seed: int, way: str
) -> tuple[np.ndarray, set[int]]:
    options: dict[str, Any] = {"executor": WORKERS}
    if way != "mlsbi":
        options = {"executor": ProcessPoolExecutor(WORKERS), "isolate": way == "loky-isolated"}
    _, data = timed(
        mlsbi.simulate, hierarchy, [n], seed=seed, on_failure="drop", retries=0, **options
    )
    return data.x(0).numpy(), {failure.row for failure in data.failures}


def loky_loop(
    simulator: Fates, theta: np.ndarray, seeds: np.ndarray
) -> tuple[np.ndarray, set[int]]:
    """Run rows on two loky processes: x of those that did not die, and the rows that did.

    After a death all that was running is run row by row. Where two rows run at that moment, each is
    run alone to tell which it was.
    """
    tasks = deque(np.array_split(np.arange(len(theta)), max(len(theta) // TASK_ROWS, 1)))
    alone: deque[np.ndarray] = deque()
    results: dict[int, np.ndarray] = {}
    dead: set[int] = set()
    executor = ProcessPoolExecutor(WORKERS)
    while tasks or alone:
        queue, together = (alone, 1) if alone else (tasks, WORKERS)
        lost = _run_until_death(executor, simulator, theta, seeds, queue, together, results)
        if not lost:
            continue
        executor.shutdown(kill_workers=True)
        executor = ProcessPoolExecutor(WORKERS)
        if len(lost) == 1 and len(lost[0]) == 1:
            dead.update(lost[0].tolist())
            continue
        for rows in lost:
            (alone if len(rows) == 1 else tasks).extendleft(rows[:, None])
    executor.shutdown()
    return np.stack([results[row] for row in sorted(results)]), dead


def _run_until_death(
    executor: ProcessPoolExecutor,
    simulator: Fates,
    theta: np.ndarray,
    seeds: np.ndarray,
    queue: deque[np.ndarray],
    together: int,
    results: dict[int, np.ndarray],
) -> list[np.ndarray]:
    """Run a queue to its end, or until a worker dies; then what was running is returned."""
    flying: dict[Future[np.ndarray], np.ndarray] = {}
    lost: list[np.ndarray] = []
    while (queue and not lost) or flying:
        while queue and not lost and len(flying) < together:
            rows = queue.popleft()
            try:
                flying[executor.submit(run_rows, simulator, theta[rows], seeds[rows])] = rows
            except BrokenProcessPool:  # a worker died just now, with a task that is still flying
                queue.appendleft(rows)
                break
        done, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in done:
            rows = flying.pop(future)
            try:
                results.update(zip(rows.tolist(), future.result(), strict=True))
            except BrokenProcessPool:
                lost.append(rows)
    return lost


def compare_loky(results: dict[str, Metrics]) -> dict[str, Metrics]:
    found: dict[str, Metrics] = {}
    for share in {case.partition(":")[0] for case in results}:
        own = {case: metrics for case, metrics in results.items() if case.startswith(f"{share}:")}
        found |= ratio_to(own, f"{share}: mlsbi", "s", "times ours")
    return found


FAILURES = Benchmark(
    failure_cells, {"mlsbi_failures": mlsbi_failures, "sbi_failures": sbi_failures}
)
LOKY = Benchmark(loky_cells, {"deaths": deaths}, compare_loky)
