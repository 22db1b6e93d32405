"""Table 1: what a multilevel training step costs beside a single-level one over as many rows.

Ways to take a step, interleaved so that a slow moment of the machine hits all:

- single: one pass, one gradient of the summed loss, over as many rows as the multilevel step has
  (a pair is two rows);
- multilevel: all rows in one pass, the gradient of each term from it, algorithm 1;
- released: 2 L + 1 passes forward and backward, one a term, algorithm 1 (as in the code released
  with Hikida et al. 2025, arXiv:2506.06087).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from mlsbi.benching.cells import Cell, Outcome
from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.gradients import assign, summed_gradient, term_gradients
from mlsbi.strategies.multilevel import algorithm_1

__all__ = ["TIMED", "WAYS", "interleaved", "make_batch", "make_step", "run_timed", "timed_cells"]

Batch = tuple[Tensor, Tensor, Tensor, list[int]]

# Numbers modelled and given, and the estimator: those of the paper's g-and-k, NLE and NPE.
TIMED: dict[str, tuple[int, int, str]] = {
    "step-nle": (1, 4, "mdn:1"),
    "step-npe": (4, 4, "nsf:1"),
}
_RUNS = (1000, 500)
_REPEATS = 40
_WARM_UP = 5


def make_batch(n: tuple[int, ...], members: int, *, value_dim: int = 3, given: int = 5) -> Batch:
    """Rows of the terms h_0, +f^1, -f^0, +f^2, ..., and their signed weights."""
    sizes = [n[0]] + [m for m in n[1:] for _ in range(2)]
    signs = [1.0] + [s for _ in n[1:] for s in (1.0, -1.0)]
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(members, sum(sizes), value_dim, generator=generator)
    context = torch.randn(members, sum(sizes), given, generator=generator)
    signed = zip(sizes, signs, strict=True)
    weights = torch.cat([torch.full((members, m), s / m) for m, s in signed], 1)
    return value, context, weights, sizes


def _single(density: ConditionalDensity, batch: Batch) -> Tensor:
    value, context, weights, sizes = batch
    return summed_gradient(density, value, context, weights.abs(), [sum(sizes)])[1]


def _multilevel(density: ConditionalDensity, batch: Batch) -> Tensor:
    return algorithm_1(term_gradients(density, *batch)[1])[0]


def _released(density: ConditionalDensity, batch: Batch) -> Tensor:
    value, context, weights, sizes = batch
    parts = zip(*(t.split(sizes, 1) for t in (value, context, weights)), strict=True)
    each = [summed_gradient(density, v, c, w, [w.shape[1]])[1] for v, c, w in parts]
    return algorithm_1(torch.stack(each))[0]


WAYS: dict[str, Callable[[ConditionalDensity, Batch], Tensor]] = {
    "single": _single,
    "multilevel": _multilevel,
    "released": _released,
}


def make_step(way: str, estimator: str, batch: Batch) -> Callable[[], None]:
    """A full optimiser step on a density of its own."""
    members, _, value_dim = batch[0].shape
    blueprint = Blueprint(estimator, "posterior", members, value_dim, (batch[1].shape[2],))
    density = blueprint.build(seed=0).train()
    optimiser = torch.optim.AdamW(density.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        assign(density, WAYS[way](density, batch))
        optimiser.step()

    return step


def interleaved(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, Tensor]:
    """Milliseconds of each repeat of each way, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + _WARM_UP):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat >= _WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: torch.tensor(values) for name, values in times.items()}


def timed_cells(seeds: Iterable[int]) -> list[Cell]:
    """A repeat of table 1 for each seed; the strategies of one task are measured together."""
    return [
        Cell(task, _RUNS, "multilevel", estimator, seed)
        for seed in seeds
        for task, (_, _, estimator) in TIMED.items()
    ]


def run_timed(cell: Cell, *, repeats: int = _REPEATS) -> Outcome:
    """Measure one cell of table 1 on one thread: medians, and the ratio to the single level's."""
    value_dim, given, _ = TIMED[cell.task]
    name, _, members = cell.estimator.partition(":")
    batch = make_batch(cell.budget, int(members), value_dim=value_dim, given=given)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    try:
        steps = {way: make_step(way, name, batch) for way in WAYS}
        times = interleaved(steps, repeats)
    finally:
        torch.set_num_threads(before)
    # Ratios of neighbours in time: what slows the machine cancels.
    ratios = {f"{way}_ratio": times[way] / times["single"] for way in WAYS if way != "single"}
    found = {f"{way}_ms": values for way, values in times.items()} | ratios
    metrics = {name: float(values.median()) for name, values in found.items()}
    return Outcome(cell, {**metrics, "status_ok": 1.0}, time.perf_counter() - start)
