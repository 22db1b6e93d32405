"""Campaigns with failing rows: time beside the ideal, and whether failures are listed exactly.

Of 1000 rows 100 raise, 10 hang (timeout 0.5 s), 1 kills its process. `ideal` is the time of good
rows plus the timeouts, over two; a row that kills its process is run three times, which `ideal`
does not have. `exact`: the rows that failed are those that had to, for the right reason, and all
others are there. sbi has no policy for failures: what it does is shown as it is.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from _campaign_cells import (
    WORKERS,
    Benchmark,
    Cell,
    Metrics,
    load_sbi,
    new_store,
    row_hierarchy,
    rows_of,
    timed,
    unit_box,
)
from _campaign_simulators import Fates, SbiRows, loop_seconds

import mlsbi

SECONDS, TIMEOUT = 0.01, 0.5


def failure_cells(quick: bool, rows: int | None) -> list[Cell]:
    n = rows or (200 if quick else 4000)
    fates = {"seconds": SECONDS, "raises": 100, "hangs": 10, "dies": 20 if quick else 1}
    shared = {"fates": fates, "n": n}
    return [
        Cell("mlsbi", "mlsbi_failures", {**shared, "store": False}),
        Cell("mlsbi, store", "mlsbi_failures", {**shared, "store": True}),
        *(
            Cell(f"sbi, {name}", "sbi_failures", {"n": n, "fates": {"seconds": SECONDS} | some})
            for name, some in (
                ("the same", fates),
                ("10 % raise", {"raises": 100}),
                ("2 % kill their process", {"dies": 20}),
            )
        ),
    ]


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
        metrics |= {f"{name} exact": float(exact), "kept": len(data.theta(0)), "end": "completed"}
        for kind in ("exception", "timeout", "died"):
            metrics[f"{name} {kind}"] = sum(f.kind == kind for f in data.failures)
    return metrics


def _exact(data: mlsbi.MultilevelData, expected: dict[int, str], theta: np.ndarray) -> bool:
    """Whether exactly those rows failed that had to, and all others are there."""
    good = np.delete(theta, list(expected), axis=0)
    found = {failure.row: failure.kind for failure in data.failures}
    return found == expected and np.array_equal(data.theta(0).numpy(), good)


def sbi_failures(fates: dict[str, Any], n: int, repeat: int) -> Metrics:
    simulator = SbiRows(Fates(**fates), harmless=False)
    options = {"num_workers": WORKERS, "simulation_batch_size": 10, "seed": repeat}
    call = partial(load_sbi(), simulator, unit_box(), n, **options)
    begin = time.perf_counter()
    try:
        kept, end = len(call()[1]), "completed"
    except Exception as error:
        kept, end = 0, type(error).__name__
    return {"cold s": time.perf_counter() - begin, "kept": kept, "end": end}


BENCHMARK = Benchmark(
    failure_cells,
    {"mlsbi_failures": mlsbi_failures, "sbi_failures": sbi_failures},
    (
        "cold s", "warm s", "cold over ideal", "warm over ideal", "cold exact", "warm exact",
        "kept", "end",
    ),
)  # fmt: skip
