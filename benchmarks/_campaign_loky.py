"""Campaigns some of whose rows kill their process, none retried: our local processes against loky.

loky is `executor=` of a campaign, with and without the simulators in processes of their own, and
serves a loop that somebody writes who knows it well: tasks of 100 rows, and after a death what was
running is run again row by row. `ideal` is the time of good rows over two.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
from _campaign_cells import WORKERS, Benchmark, Cell, Metrics, row_hierarchy, rows_of, timed
from _campaign_simulators import Fates, loop_seconds, run_rows
from loky import ProcessPoolExecutor

import mlsbi

SECONDS, TASK_ROWS = 0.01, 100


def loky_cells(quick: bool, rows: int | None) -> list[Cell]:
    cells = []
    for dies in (20,) if quick else (1, 5):
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
    """Twice, on the same executor unless it breaks; the second time its workers are up."""
    simulator = Fates(SECONDS, dies=dies)
    hierarchy = row_hierarchy(simulator)
    metrics: Metrics = {}
    executor: Any = WORKERS if way == "mlsbi" else ProcessPoolExecutor(WORKERS)
    for name, seed in (("cold", 2 * repeat), ("warm", 2 * repeat + 1)):
        row = loop_seconds(simulator, max(n // 20, 50))
        theta, seeds = rows_of(hierarchy, n, seed)
        expected = {i for i, row_seed in enumerate(seeds.tolist()) if simulator.fate(row_seed)}
        metrics[f"{name} deaths"] = len(expected)
        begin = time.perf_counter()
        try:
            if way == "loky":
                x, failed, executor = loky_loop(executor, simulator, theta, seeds)
            else:
                x, failed = _campaign(hierarchy, n, seed, executor, isolate=way != "loky-bare")
        except Exception as error:
            return metrics | {"broke s": time.perf_counter() - begin, "end": type(error).__name__}
        seconds = time.perf_counter() - begin
        ideal = (n - len(expected)) * row / WORKERS
        good = np.delete(theta, list(expected), axis=0)
        exact = failed == expected and np.array_equal(x, good)
        metrics |= {f"{name} s": seconds, f"{name} over ideal": seconds / ideal}
        metrics |= {f"{name} exact": float(exact), "end": "completed"}
    return metrics


def _campaign(
    hierarchy: mlsbi.Hierarchy, n: int, seed: int, executor: Any, *, isolate: bool
) -> tuple[np.ndarray, set[int]]:
    _, data = timed(
        mlsbi.simulate, hierarchy, [n], seed=seed, executor=executor, isolate=isolate,
        on_failure="drop", retries=0,
    )  # fmt: skip
    return data.x(0).numpy(), {failure.row for failure in data.failures}


def loky_loop(
    executor: ProcessPoolExecutor, simulator: Fates, theta: np.ndarray, seeds: np.ndarray
) -> tuple[np.ndarray, set[int], ProcessPoolExecutor]:
    """Run rows on two loky processes: x of those that did not die, the rows that did, the executor.

    After a death all that was running is run row by row. Where two rows run at that moment, each is
    run alone to tell which it was.
    """
    tasks = deque(np.array_split(np.arange(len(theta)), max(len(theta) // TASK_ROWS, 1)))
    alone: deque[np.ndarray] = deque()
    results: dict[int, np.ndarray] = {}
    dead: set[int] = set()
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
    return np.stack([results[row] for row in sorted(results)]), dead, executor


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
    """Seconds of all ways over ours, of the same share of deaths."""
    found: dict[str, Metrics] = {case: {} for case in results}
    for case, metrics in results.items():
        ours = results[f"{case.partition(':')[0]}: mlsbi"]
        for start in ("cold", "warm"):
            own, base = metrics.get(f"{start} s"), ours.get(f"{start} s")
            if own is not None and base is not None:
                found[case][f"{start} times ours"] = float(own) / float(base)
    return found


BENCHMARK = Benchmark(
    loky_cells,
    {"deaths": deaths},
    (
        "cold s", "warm s", "cold over ideal", "warm over ideal",
        "cold times ours", "warm times ours", "cold exact", "warm exact", "broke s", "end",
    ),
    compare_loky,
)  # fmt: skip
