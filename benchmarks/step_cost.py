"""Cost of one multilevel training step against one single-level step over the same rows.

Three ways to take a step, interleaved in one run so that a slow moment of the machine hits all:

- single: one pass, one gradient of the summed loss, over as many rows as the multilevel step has
  (a pair is two rows);
- ours: all rows in one pass, the gradient of each term from it, algorithm 1;
- authors': 2 L + 1 passes forward and backward, one a term, algorithm 1 (as in the code released
  with Hikida et al. 2025, arXiv:2506.06087).

Run: python benchmarks/step_cost.py [--members 5] [--threads 1] [--repeats 60]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mlsbi.estimators.base import ConditionalDensity
from mlsbi.estimators.build import Blueprint
from mlsbi.gradients import assign, summed_gradient, term_gradients
from mlsbi.strategies.multilevel import algorithm_1

ESTIMATORS = ("mdn", "maf", "nsf")
LEVELS = ((1000, 500), (128, 128), (1000, 500, 100), (128, 128, 128))
VALUE_DIM, CONTEXT_DIM = 3, 5

Batch = tuple[Tensor, Tensor, Tensor, list[int]]


def make_batch(n: tuple[int, ...], members: int) -> Batch:
    """Rows of the terms h_0, +f^1, -f^0, +f^2, ..., and their signed weights."""
    sizes = [n[0]] + [m for m in n[1:] for _ in range(2)]
    signs = [1.0] + [s for _ in n[1:] for s in (1.0, -1.0)]
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(members, sum(sizes), VALUE_DIM, generator=generator)
    context = torch.randn(members, sum(sizes), CONTEXT_DIM, generator=generator)
    signed = zip(sizes, signs, strict=True)
    weights = torch.cat([torch.full((members, m), s / m) for m, s in signed], 1)
    return value, context, weights, sizes


def single(density: ConditionalDensity, batch: Batch) -> Tensor:
    value, context, weights, sizes = batch
    return summed_gradient(density, value, context, weights.abs(), [sum(sizes)])[1]


def ours(density: ConditionalDensity, batch: Batch) -> Tensor:
    return algorithm_1(term_gradients(density, *batch)[1])[0]


def authors(density: ConditionalDensity, batch: Batch) -> Tensor:
    value, context, weights, sizes = batch
    parts = zip(*(t.split(sizes, 1) for t in (value, context, weights)), strict=True)
    each = [summed_gradient(density, v, c, w, [w.shape[1]])[1] for v, c, w in parts]
    return algorithm_1(torch.stack(each))[0]


def make_step(way: Callable[..., Tensor], estimator: str, batch: Batch) -> Callable[[], None]:
    """A full optimiser step on a density of its own."""
    members = batch[0].shape[0]
    blueprint = Blueprint(estimator, "posterior", members, VALUE_DIM, (CONTEXT_DIM,))
    density = blueprint.build(seed=0).train()
    optimiser = torch.optim.AdamW(density.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        assign(density, way(density, batch))
        optimiser.step()

    return step


def interleaved(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, Tensor]:
    """Milliseconds of each repeat of each way, after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repeat >= 5:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: torch.tensor(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--estimators", nargs="+", default=ESTIMATORS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ways = {"single": single, "ours": ours, "authors'": authors}
    title = f"milliseconds a step, median (quartiles), {options.threads} thread(s)"
    table = Table("estimator", "members", "rows", *ways, "ours / single", "authors' / single",
                  title=title)  # fmt: skip
    for estimator in options.estimators:
        for members in options.members:
            for n in LEVELS:
                batch = make_batch(n, members)
                steps = {name: make_step(way, estimator, batch) for name, way in ways.items()}
                times = interleaved(steps, options.repeats)
                cells = []
                for values in times.values():
                    low, middle, high = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
                    cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
                # Ratios of neighbours in time: what slows the machine cancels.
                ratios = [
                    f"{(times[name] / times['single']).median():.2f}"
                    for name in ("ours", "authors'")
                ]
                table.add_row(estimator, str(members), str(n), *cells, *ratios)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
