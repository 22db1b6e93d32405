"""Cost of one multilevel training step against one single-level step over the same rows.

The ways to take a step, and how they are timed, are in `mlsbi.benching.step_times`, which also
makes table 1 of `mlsbi bench --all`; here are more estimators, ensembles and numbers of runs.

Run: python benchmarks/step_cost.py [--members 5] [--threads 1] [--repeats 60]
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from mlsbi.benching.step_times import WAYS, interleaved, make_batch, make_step

ESTIMATORS = ("mdn", "maf", "nsf")
LEVELS = ((1000, 500), (128, 128), (1000, 500, 100), (128, 128, 128))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--estimators", nargs="+", default=ESTIMATORS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    title = f"milliseconds a step, median (quartiles), {options.threads} thread(s)"
    table = Table("estimator", "members", "rows", *WAYS, "multilevel / single",
                  "released / single", title=title)  # fmt: skip
    for estimator in options.estimators:
        for members in options.members:
            for n in LEVELS:
                batch = make_batch(n, members)
                steps = {way: make_step(way, estimator, batch) for way in WAYS}
                times = interleaved(steps, options.repeats)
                cells = []
                for values in times.values():
                    low, middle, high = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
                    cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
                # Ratios of neighbours in time: what slows the machine cancels.
                ratios = [
                    f"{(times[name] / times['single']).median():.2f}"
                    for name in ("multilevel", "released")
                ]
                table.add_row(estimator, str(members), str(n), *cells, *ratios)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
