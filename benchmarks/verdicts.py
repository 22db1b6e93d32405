"""How often does a verdict come, for fits that are right, nearly right, and wrong?

Gaussian posteriors of d parameters whose widths would have to be multiplied by a factor and whose
centres moved by a shift (in posterior standard deviations), judged by n runs. In per cent: how
often any verdict is an alarm, and the states of the joint verdict and of the first parameter's; and
the median of the runs that are said to be missing. "folds" are five fits whose centres differ by
0.15.

Run: python benchmarks/verdicts.py [--rows 20 50 100 500] [--parameters 1 3 7] [--replications 1000]
     [--out benchmarks/results/verdicts.csv]
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.special import chdtr, ndtr

from mlsbi.checking.run_scores import RunScores
from mlsbi.checking.verdict import State, judge

OUT = Path(__file__).parent / "results" / "verdicts.csv"
DRAWS = 500

CASES: dict[str, tuple[float, float, float]] = {  # factor, shift, and how much folds differ
    "exact": (1.0, 0.0, 0.0),
    "folds": (1.0, 0.0, 0.15),
    "factor 1.1": (1.1, 0.0, 0.0),
    "factor 1/1.1": (1 / 1.1, 0.0, 0.0),
    "shift 0.15": (1.0, 0.15, 0.0),
    "factor 4/3": (4 / 3, 0.0, 0.0),
    "factor 3/4": (0.75, 0.0, 0.0),
    "shift 0.5": (1.0, 0.5, 0.0),
    "factor 2": (2.0, 0.0, 0.0),
    "factor 1/2": (0.5, 0.0, 0.0),
    "shift 1": (1.0, 1.0, 0.0),
    "shift 1 of one": (1.0, 1.0, 0.0),
}
SHORT = {
    State.CALIBRATED: "calibrated",
    State.OVER: "over",
    State.UNDER: "under",
    State.BIASED: "biased",
    State.UNDECIDED: "more",
}


def simulate(rng: np.random.Generator, n: int, dim: int, case: str) -> RunScores:
    """Ranks among `DRAWS` draws of a standard Gaussian posterior."""
    scale, shift, differ = CASES[case]
    moved = np.full(dim, shift)
    if case.endswith("of one"):
        moved[1:] = 0.0
    each = differ * rng.standard_normal((5, dim))
    truth = moved + each[np.arange(n) % 5] + scale * rng.standard_normal((n, dim))

    def ranks(chance: Any) -> torch.Tensor:
        below = rng.binomial(DRAWS, chance)
        return torch.from_numpy((below + rng.random(below.shape)) / (DRAWS + 1))

    rank, hpd = ranks(ndtr(truth)), ranks(chdtr(dim, np.square(truth).sum(1)))
    none = torch.zeros(n, dtype=torch.float64)
    return RunScores(none, none, rank, hpd, rank, none, rank, rank)


def measure(n: int, dim: int, case: str, replications: int) -> dict[str, float]:
    """Rates, and the median of `more`."""
    rng = np.random.default_rng((n, dim, list(CASES).index(case)))
    names, rates = [f"p{j}" for j in range(dim)], Counter[str]()
    missing = []
    for _ in range(replications):
        verdicts = judge(simulate(rng, n, dim, case), names=names, num_draws=DRAWS)
        rates["any alarm"] += any(v.state.alarm for v in verdicts)
        for whose, verdict in zip(("joint", "first"), verdicts, strict=False):
            rates[f"{whose} {SHORT[verdict.state]}"] += 1
        if verdicts[1].more is not None:
            missing.append(verdicts[1].more)
    found = {name: count / replications for name, count in rates.items()}
    return found | {"need": float(np.median(missing)) if missing else 0.0}


def states(found: dict[str, float], whose: str) -> str:
    shares = {short: found.get(f"{whose} {short}", 0.0) for short in SHORT.values()}
    return ", ".join(f"{short} {100 * share:.1f}" for short, share in shares.items() if share > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 50, 100, 500])
    parser.add_argument("--parameters", type=int, nargs="+", default=[1, 3, 7])
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    title = f"verdicts in per cent of {options.replications} replications"
    table = Table("d", "n", "fit", "any alarm", "joint", "first parameter", "need", title=title)
    rows: list[tuple[Any, ...]] = [("d", "n", "fit", "figure", "value")]
    for dim in options.parameters:
        for n in options.rows:
            for case in CASES:
                found = measure(n, dim, case, options.replications)
                alarms = f"{100 * found['any alarm']:.1f}"
                told = [states(found, whose) for whose in ("joint", "first")]
                table.add_row(str(dim), str(n), case, alarms, *told, f"{found['need']:.0f}")
                rows += [(dim, n, case, name, round(value, 4)) for name, value in found.items()]
    with options.out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
