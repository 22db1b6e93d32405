"""The picture of expected coverage in the docs, from the rows of `benchmarks/coverage.py`.

Run: python examples/coverage_picture.py benchmarks/results/coverage.csv docs/images/coverage.png
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

CURVE = "coverage_at_"
TITLES = {
    "ou": "Ornstein-Uhlenbeck",
    "g-and-k-npe": "g-and-k, posterior",
    "camels-sigma8": r"CAMELS $\sigma_8$",
    "camels-2": r"CAMELS $\Omega_m, \sigma_8$",
    "g-and-k-nle": "g-and-k, likelihood",
    "toggle": "toggle switch, likelihood",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73")
RIVAL = "#7A7A7A"

Curves = dict[tuple[str, str], dict[float, list[float]]]


def read(path: Path) -> dict[str, Curves]:
    """Task -> (strategy, runs) -> nominal coverage -> empirical coverage of each seed."""
    found: dict[str, Curves] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["metric"].startswith(CURVE):
                nominal = float(row["metric"].removeprefix(CURVE))
                key = (row["strategy"], row["budget"])
                found[row["task"]][key][nominal].append(float(row["value"]))
    return found


def draw(ax: Axes, title: str, curves: Curves) -> None:
    """Mean curves over seeds, with their standard deviations, as deviations from the diagonal."""
    ax.axhline(0, color="0.4", linewidth=1)
    ax.axhspan(-0.03, 0.03, color="0.92", linewidth=0)
    ordered = sorted(curves, key=lambda key: (key[0] != "default", int(key[1].split(",")[-1])))
    for index, key in enumerate(ordered):
        points = sorted(curves[key].items())
        mean = [fmean(values) - nominal for nominal, values in points]
        spread = [stdev(v) if len(v) > 1 else 0.0 for _, v in points]
        at = [nominal for nominal, _ in points]
        rival = key[0] != "default"
        name = "paper's NPE (high)" if rival else "default"
        colour, line = (RIVAL, "--") if rival else (COLOURS[index % 3], "-")
        runs = key[1].split(",")[-1]
        ax.plot(at, mean, line, color=colour, label=f"{name}, {runs} runs of level L")
        low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
        ax.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.set(xlim=(0, 1), ylim=(-0.45, 0.35), xlabel="nominal coverage", title=title)
    ax.legend(frameon=False, fontsize="x-small", loc="upper left")


def main(source: Path, target: Path) -> None:
    """Draw every task that the rows have."""
    found = read(source)
    tasks = [task for task in TITLES if task in found]
    figure = Figure(figsize=(9.6, 3.2 * -(-len(tasks) // 3)), layout="constrained")
    grid = figure.subplots(-(-len(tasks) // 3), 3, squeeze=False, sharey=True)
    for ax, task in zip(grid.flat, tasks, strict=False):
        draw(ax, TITLES[task], found[task])
    for ax in list(grid.flat)[len(tasks) :]:
        ax.remove()
    for row in grid:
        row[0].set_ylabel("empirical less nominal\n(below: over-confident)")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
