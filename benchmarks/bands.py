"""Which 95 % interval for the mean of few, skewed scores covers it most nearly at its rate?

Scores of calibrated and over-confident Gaussians (chi^2_d / 2; a factor changes nothing), of
heavy-tailed errors, of fits that are three times too narrow for one run in ten, and paired gains.
For each interval: coverage in per cent, and the median length over that of the normal interval with
the true standard deviation.

Run: python benchmarks/bands.py [--rows 10 20 50 100] [--replications 2000] [--draws 500]
     [--out benchmarks/results/bands.csv]
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import ndtr, ndtri, stdtrit

from mlsbi.checking.bands import mean_band

OUT = Path(__file__).parent / "results" / "bands.csv"
MANY = 4_000_000  # scores, for the mean and the deviation where no formula is at hand

Array = np.ndarray[Any, np.dtype[np.float64]]
Interval = tuple[float, float]
Scores = Callable[[np.random.Generator, tuple[int, ...]], Array]


def mixture(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    return rng.chisquare(3, size) / 2 * np.where(rng.random(size) < 0.1, 9.0, 1.0)


SCORES: dict[str, Scores] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "Gaussian, d = 1": lambda rng, size: rng.chisquare(1, size) / 2,
    "Gaussian, d = 3": lambda rng, size: rng.chisquare(3, size) / 2,
    "Gaussian, d = 7": lambda rng, size: rng.chisquare(7, size) / 2,
    "Student t_3, exact": lambda rng, size: 2 * np.log1p(rng.standard_t(3, size) ** 2 / 3),
    "Gaussian of t_5": lambda rng, size: rng.standard_t(5, size) ** 2 / 2,
    "a tenth 3x too narrow": mixture,
    "log-normal": lambda rng, size: np.exp(rng.standard_normal(size)),
    "paired gain": lambda rng, size: rng.standard_t(4, size) + rng.exponential(1, size),
    "gain over a tenth": lambda rng, size: -mixture(rng, size),
}


def student(values: Array, rng: np.random.Generator, draws: int) -> Interval:
    reach = float(stdtrit(len(values) - 1, 0.975)) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() - reach, values.mean() + reach


def johnson(values: Array, rng: np.random.Generator, draws: int) -> Interval:
    """Johnson 1978: the t interval, moved by the skewness."""
    low, high = student(values, rng, draws)
    centred = values - values.mean()
    moved = float((centred**3).mean() / (6 * values.var(ddof=1) * len(values)))
    return low + moved, high + moved


def resampled(values: Array, rng: np.random.Generator, draws: int) -> Array:
    rows: Array = values[rng.integers(0, len(values), (draws, len(values)))]
    return rows


def bca(values: Array, rng: np.random.Generator, draws: int) -> Interval:
    """Efron 1987."""
    means = resampled(values, rng, draws).mean(1)
    below = np.clip((means < values.mean()).mean(), 1 / draws, 1 - 1 / draws)
    bias, centred = float(ndtri(below)), values - values.mean()
    speed = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))
    z = bias + ndtri(np.array([0.025, 0.975]))
    low, high = np.quantile(means, ndtr(bias + z / (1 - speed * z)))
    return float(low), float(high)


def bootstrap_t(values: Array, rng: np.random.Generator, draws: int) -> Interval:
    """Efron's percentile-t."""
    rows, unit = resampled(values, rng, draws), values.std(ddof=1)
    deviations = np.maximum(rows.std(1, ddof=1), 1e-9 * unit)
    low, high = np.quantile((rows.mean(1) - values.mean()) / deviations, [0.025, 0.975])
    return float(values.mean() - high * unit), float(values.mean() - low * unit)


def ours(values: Array, rng: np.random.Generator, draws: int) -> Interval:
    band = mean_band(values)
    return band.low, band.high


INTERVALS = {
    "t": student,
    "Johnson": johnson,
    "BCa": bca,
    "bootstrap-t": bootstrap_t,
    "mean_band (Hall)": ours,
}


def measure(
    scores: Scores, n: int, replications: int, draws: int
) -> dict[str, tuple[float, float]]:
    """Coverage, and median relative length, of each interval."""
    rng = np.random.default_rng(n)
    many = scores(rng, (MANY,))
    mean, usual = many.mean(), 2 * 1.96 * many.std() / math.sqrt(n)
    samples = scores(rng, (replications, n))
    found = {}
    for name, interval in INTERVALS.items():
        low, high = np.array([interval(sample, rng, draws) for sample in samples]).T
        covered = float(((low <= mean) & (mean <= high)).mean())
        found[name] = covered, float(np.median(high - low) / usual)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=500, help="of each bootstrap")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    title = (
        f"coverage of 95 % intervals in per cent, relative length; {options.replications} samples"
    )
    table = Table("n", "scores", *INTERVALS, title=title)
    rows: list[tuple[Any, ...]] = [("n", "scores", "interval", "coverage", "length")]
    for n in options.rows:
        for name, scores in SCORES.items():
            found = measure(scores, n, options.replications, options.draws)
            table.add_row(str(n), name, *(f"{100 * c:.1f}  {w:.2f}" for c, w in found.values()))
            rows += [(n, name, which, round(c, 4), round(w, 3)) for which, (c, w) in found.items()]
    with options.out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
