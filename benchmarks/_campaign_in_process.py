"""Overhead of batched simulators in this process.

`direct` draws theta and u and calls the simulator, at once (`one`) or 1024 rows at a time
(`batches`); overhead is relative to the quicker of these in the same repeat, `us a row` is
microseconds beyond it. `store`: mlsbi with a store. sbi is shown with the quickest of three batch
sizes; it draws theta in its own way, and may be quicker than `direct`.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

import torch
from _campaign_cells import Benchmark, Cell, Metrics, load_sbi, new_store, timed, unit_box
from torch import Tensor

import mlsbi
from mlsbi.simulate import CHUNK_ROWS
from mlsbi.tasks import g_and_k, ornstein_uhlenbeck


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

    def simulate(rows: int, *, store: bool = False) -> float:
        counts = [1] * (hierarchy.num_levels - 1) + [rows]
        with new_store(wanted=store) as path:  # to remove it takes time, too
            return timed(mlsbi.simulate, hierarchy, counts, seed=repeat, store=path)[0]

    def sbi(rows: int, size: int | None) -> float:
        prior = hierarchy.prior.distribution
        options = {"simulation_batch_size": size, "seed": repeat}
        return timed(simulate_for_sbi, direct.for_sbi, prior, rows, **options)[0]

    simulate_for_sbi = load_sbi()
    ways: dict[str, Callable[[int], float]] = {
        "one": lambda rows: timed(direct.one, rows)[0],
        "batches": lambda rows: timed(direct.batches, rows)[0],
        "mlsbi": simulate,
        "store": partial(simulate, store=True),
        **{f"sbi {size}": partial(sbi, size=size) for size in (1024, 16_384, None)},
    }
    for run in ways.values():
        run(2048)  # what is slow once only
    names = list(ways)
    start = repeat % len(names)
    seconds = {}
    for way in names[start:] + names[:start]:
        gc.collect()
        seconds[way] = ways[way](n)
    return _overheads(seconds, n)


def _overheads(seconds: dict[str, float], n: int) -> Metrics:
    direct = min(seconds["one"], seconds["batches"])
    sbi = min(value for way, value in seconds.items() if way.startswith("sbi"))
    metrics: Metrics = {f"{way} s": value for way, value in seconds.items()}
    metrics |= {"direct s": direct, "sbi s": sbi}
    for who, value in (("mlsbi", seconds["mlsbi"]), ("store", seconds["store"]), ("sbi", sbi)):
        metrics[f"{who} overhead %"] = 100 * (value / direct - 1)
        metrics[f"{who} us a row"] = 1e6 * (value - direct) / n
    return metrics


BENCHMARK = Benchmark(
    in_process_cells,
    {"in_process": in_process},
    (
        "direct s", "mlsbi s", "store s", "sbi s",
        "mlsbi overhead %", "store overhead %", "sbi overhead %",
        "mlsbi us a row", "store us a row",
    ),
)  # fmt: skip
