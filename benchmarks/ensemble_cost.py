"""Training time of an ensemble of 5 MDNs against that of one, a step, everything included.

Goes through `fit_posterior` with a fixed number of steps. The time of a step is the difference of a
long and a short training over the difference of their steps, so that setting up counts for nothing.

Run: python benchmarks/ensemble_cost.py [--threads 1 2] [--repeats 5]
"""

from __future__ import annotations

import argparse
import time

import torch
from rich.console import Console
from rich.table import Table

import mlsbi

SHORT, LONG = 20, 220
BATCHES = (64, 128, 256, 512)
STRATEGIES = {"single level": mlsbi.SingleLevel(), "multilevel": mlsbi.Multilevel()}


def seconds(data: mlsbi.MultilevelData, strategy: mlsbi.Strategy, **options: int) -> float:
    """Of a training of so many steps at a batch size."""
    training = mlsbi.Training(
        max_steps=options["steps"],
        batch_size=options["batch"],
        validation_fraction=None,
        evaluate_every=options["steps"],
    )
    start = time.perf_counter()
    mlsbi.fit_posterior(
        data,
        strategy=strategy,
        estimator="mdn",
        ensemble=options["members"],
        training=training,
        seed=0,
    )
    return time.perf_counter() - start


def a_step(
    data: mlsbi.MultilevelData, strategy: mlsbi.Strategy, *, batch: int, members: int
) -> float:
    """Milliseconds of one step."""
    short, long = (
        seconds(data, strategy, steps=steps, batch=batch, members=members)
        for steps in (SHORT, LONG)
    )
    return 1e3 * (long - short) / (LONG - SHORT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    data = mlsbi.simulate(mlsbi.tasks.ornstein_uhlenbeck().hierarchy, (2000, 1000), seed=0)
    table = Table("strategy", "threads", "batch", "one, ms", "five, ms", "five / one (range)",
                  title="MDN, milliseconds a step, medians")  # fmt: skip
    a_step(data, mlsbi.SingleLevel(), batch=64, members=1)  # the first fit pays for imports
    for name, strategy in STRATEGIES.items():
        for threads in options.threads:
            torch.set_num_threads(threads)
            for batch in BATCHES:
                pairs = torch.tensor(
                    [
                        [a_step(data, strategy, batch=batch, members=k) for k in (1, 5)]
                        for _ in range(options.repeats)
                    ]
                )
                one, five = pairs.median(0).values.tolist()
                ratio = pairs[:, 1] / pairs[:, 0]
                spread = f"{ratio.median():.2f} ({ratio.min():.2f}-{ratio.max():.2f})"
                table.add_row(name, str(threads), str(batch), f"{one:.2f}", f"{five:.2f}", spread)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
