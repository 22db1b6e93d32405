"""Planted faults: does `mlsbi.check` find and name each of them, and leave healthy fits alone?

Healthy fits are the default strategy's at a budget where it is calibrated. Of each, on n unseen
runs of level L: as it is; with its scale halved or doubled; with its centre moved by one posterior
sd. Of each task: observations with one output moved by 6 sd (of level L's runs), and healthy ones;
data whose pairs have their halves swapped, whose two levels are exchanged, and healthy ones.
Rows go to a CSV file as each fit ends, so that the same command goes on where it stopped.

Run: python benchmarks/planted.py [--tasks ou,linear-gaussian] [--first-seed 900] [--seeds 10]
     [--runs 20,50,100] [--out benchmarks/results/planted.csv] [--show]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _rows import append, read
from rich.console import Console
from rich.table import Table
from torch import Tensor

import mlsbi
from mlsbi import MultilevelData, PosteriorFit
from mlsbi.benching.names import make_task
from mlsbi.checking.labels import check_labels, check_level_of
from mlsbi.estimators.estimator import Estimator
from mlsbi.estimators.transforms import Transform

COLUMNS = ("task", "seed", "fault", "runs", "said", "named")
# At these budgets the default is calibrated, as `benchmarks/coverage.py` shows.
HEALTHY = {"ou": (1000, 100), "linear-gaussian": (1000, 200, 100)}
# Where the levels' laws differ enough for an exchange to show.
TELLING = ("ornstein_uhlenbeck-3",)
WANTED = {
    "none": "",
    "scale halved": "over-confident",
    "scale doubled": "under-confident",
    "centre moved by 1 sd": "biased",
    "x_o": "",
    "x_o moved by 6 sd": "outputs-outside",
    "labels": "",
    "halves of pairs swapped": "levels-swapped",
    "levels exchanged": "test-runs-of-level",
}


class Moved(Transform):
    """A transform with the density's values moved by `by`, in the network's units."""

    def __init__(self, inner: Transform, by: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("by", by)
        self.register_buffer("location", inner.location)

    def forward(self, value: Tensor) -> Tensor:
        """Into the network's units, and moved."""
        return self.inner(value) - self.by

    def inverse(self, z: Tensor) -> Tensor:
        """Back again."""
        return self.inner.inverse(z + self.by)

    def log_det(self, value: Tensor) -> Tensor:
        """As without the move."""
        return self.inner.log_det(value)


def scaled(fit: PosteriorFit, factor: float) -> PosteriorFit:
    """The fit with all its widths multiplied."""
    return replace(fit, estimator=fit.estimator.with_scale(factor))


def moved(fit: PosteriorFit, x: Tensor, *, sds: float) -> PosteriorFit:
    """The fit with its centres moved by posterior standard deviations (their mean over x)."""
    estimator = fit.estimator
    draws = fit.sample_batched(200, x=x[:50], seed=0)
    inside = estimator.value_transform(draws.flatten(0, 1)).unflatten(0, draws.shape[:2])
    by = sds * inside.std(0).mean(0)
    made = Estimator(
        estimator.density,
        Moved(estimator.value_transform, by),
        estimator.context_transform,
        weights=estimator.log_weights.exp(),
    )
    return replace(fit, estimator=made.eval())


def fits_of(fit: PosteriorFit, x: Tensor) -> dict[str, PosteriorFit]:
    return {
        "none": fit,
        "scale halved": scaled(fit, 0.5),
        "scale doubled": scaled(fit, 2.0),
        "centre moved by 1 sd": moved(fit, x, sds=1.0),
    }


def swapped_halves(data: MultilevelData) -> MultilevelData:
    """The arrays of each pair in the wrong order, as a user might pass them."""
    levels: list[tuple[Tensor, ...]] = [(data.theta(0), data.x(0))]
    levels += [(data.theta(k), data.x(k), data.x_coarse(k)) for k in range(1, data.num_levels)]
    return MultilevelData.from_arrays(data.prior, levels)


def exchanged(task: Any, n: tuple[int, ...], seed: int) -> MultilevelData:
    """Data of the lowest and the highest level, one taken for the other."""
    hierarchy = task.hierarchy
    levels = [replace(hierarchy.levels[-1], cost=1.0), replace(hierarchy.levels[0], cost=10.0)]
    other = mlsbi.Hierarchy(hierarchy.prior, levels, noise=hierarchy._noise)
    return mlsbi.simulate(other, (n[0], n[-1]), seed=seed)


def judged(fit: PosteriorFit, theta: Tensor, x: Tensor, *, seed: int) -> tuple[str, bool]:
    """What the check says of the fit as a whole and of each parameter; whether it is an alarm."""
    found = mlsbi.check(fit, theta, x, seed=seed)
    said = sorted({v.state.value for v in found.verdicts if v.state.alarm})
    return "+".join(said), bool(said)


def rows_of(name: str, seed: int, runs: list[int]) -> Iterator[tuple[str, int, str, bool]]:
    """Fault, runs, what was said, and whether it is what was planted."""
    task, n = make_task(name), HEALTHY[name]
    data, theta, x = task.data(n, seed)
    healthy = mlsbi.fit_posterior(data, seed=seed)
    for fault, fit in fits_of(healthy, x).items():
        for count in runs:
            said, alarm = judged(fit, theta[:count], x[:count], seed=seed)
            wanted = WANTED[fault]
            yield fault, count, said, (wanted in said.split("+")) if wanted else not alarm
    yield from observations(healthy, data, x, seed=seed)
    yield from labels(task, n, data, theta, x, seed=seed)


def observations(
    fit: PosteriorFit, data: MultilevelData, x: Tensor, *, seed: int
) -> Iterator[tuple[str, int, str, bool]]:
    """Ten healthy observations, and each with one output (they take turns) moved by 6 sd."""
    sd, count = data.x(data.num_levels - 1).std(0), data.n[-1]
    for i, x_o in enumerate(x[-10:]):
        off = x_o.clone()
        off[i % len(off)] += 6 * sd[i % len(off)]
        for fault, observed in (("x_o", x_o), ("x_o moved by 6 sd", off)):
            found = mlsbi.check_observation(fit, observed, data=data, seed=seed)
            said = sorted(f.code for f in found.findings if f.severity == "warning")
            right = any(code in OUT_OF_REACH for code in said) if fault != "x_o" else not said
            yield fault, count, "+".join(said), right


# Codes that say: level L does not produce this.
OUT_OF_REACH = ("outputs-outside", "observation-outside", "outputs-far")


def labels(
    task: Any, n: tuple[int, ...], data: MultilevelData, theta: Tensor, x: Tensor, *, seed: int
) -> Iterator[tuple[str, int, str, bool]]:
    """Healthy data, pairs in the wrong order, and levels exchanged."""
    if task.name not in TELLING:
        return
    half = exchanged(task, n, seed)
    cases = {
        "labels": [*check_labels(data, seed=seed), *check_level_of(data, theta, x, seed=seed)],
        "halves of pairs swapped": check_labels(swapped_halves(data), seed=seed),
        "levels exchanged": check_level_of(half, theta[:50], x[:50], seed=seed),
    }
    for fault, found in cases.items():
        said = sorted(f.code for f in found if f.severity == "warning")
        wanted = WANTED[fault]
        yield fault, data.n[-1], "+".join(said), (wanted in said) if wanted else not said


def show(path: Path) -> None:
    """How often each fault was named, and the healthy left alone."""
    found = defaultdict(list)
    for row in read(path):
        found[row["fault"], row["task"], int(row["runs"])].append(row)
    table = Table(title="Right: the fault named; of healthy ones ('none', 'x_o', 'labels'): silent")
    for heading in ("fault", "task", "runs", "cases", "right", "said instead"):
        table.add_column(heading)
    for (fault, task, runs), rows in sorted(found.items(), key=lambda item: item[0]):
        right = sum(row["named"] == "True" for row in rows)
        others = sorted({row["said"] or "nothing" for row in rows if row["named"] != "True"})
        table.add_row(fault, task, str(runs), str(len(rows)), f"{right / len(rows):.0%}",
                      ", ".join(others))  # fmt: skip
    Console(width=130).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", default="ou,linear-gaussian")
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", default="20,50,100")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/planted.csv"))
    parser.add_argument("--show", action="store_true", help="only print the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = {(row["task"], row["seed"]) for row in read(args.out)}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name in [] if args.show else args.tasks.split(","):
            if (name, str(seed)) in done:
                continue
            rows = list(rows_of(name, seed, [int(r) for r in args.runs.split(",")]))
            append(args.out, COLUMNS, ((name, seed, *row) for row in rows))
            print(name, seed, f"{sum(row[-1] for row in rows)} of {len(rows)} right", flush=True)
    show(args.out)


if __name__ == "__main__":
    main()
