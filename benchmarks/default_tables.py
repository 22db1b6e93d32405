"""The default strategy against everything else, on the paper's tasks, and what each part is worth.

Columns: S single level, E emulator (level L's runs alone), M multilevel (the paper's objective), T
transfer, P pooled, B bridge, Stack (the default), and the authors' released code. The rows of S, M,
T and of single-level curves are those of `mlsbi bench --all`, on the same seeds, so the same data.
Rows go to a CSV file as each cell ends: the same command goes on where it stopped.

Run: python benchmarks/default_tables.py FOLDER_OF_CAMELS [--seeds 5] [--first-seed 10] [--jobs 2]
     [--part main|few|curve|ablation|toggle|all] [--table-only]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich.console import Console

from mlsbi._compare import runs_to_match
from mlsbi.benching import results
from mlsbi.benching.cells import Cell
from mlsbi.benching.names import TASKS, Budget, library_estimator
from mlsbi.benching.run import run_cells

HERE = Path(__file__).parent
OUT = HERE / "results" / "default.csv"
PAPER = HERE / "results" / "paper.csv"
BUDGETS: dict[str, tuple[Budget, ...]] = {
    "ou": ((1000, 10), (1000, 50), (1000, 100)),
    "g-and-k-npe": ((1000, 10), (1000, 50), (1000, 100)),
    "camels-sigma8": ((980, 20), (900, 100)),
    "camels-2": ((980, 20), (900, 100)),
    "g-and-k-nle": ((10000, 50), (10000, 300)),
    "toggle": ((10000, 500, 100),),
}
# What takes a part away: summaries, inflation, emulated draws, cross-fitting, the stack itself.
ABLATIONS = ("stack-raw", "stack-uninflated", "stack-real", "stack-sighted", "bridge", "default")
ABLATED: tuple[tuple[str, Budget], ...] = (
    ("ou", (1000, 10)),
    ("g-and-k-nle", (10000, 50)),
    ("camels-2", (980, 20)),
)
# What limits the toggle switch: more pairs of the first step, of the second, of both.
TOGGLE: tuple[Budget, ...] = ((10000, 2000, 100), (10000, 500, 400), (10000, 2000, 400))
# Level L's runs alone, to say how many of them the default is worth.
CURVES: dict[str, tuple[int, ...]] = {
    "ou": (2000, 5000, 10000),
    "g-and-k-npe": (2000, 5000),
    "g-and-k-nle": (1000, 3000),
}
COLUMNS = ("single", "emulator", "multilevel", "transfer", "pooled", "bridge", "default")


def planned(part: str, seeds: Sequence[int]) -> list[Cell]:
    """The cells of a part, seed by seed, so that every prefix is a fair comparison."""
    estimator = library_estimator()

    def cells(pairs: Sequence[tuple[str, Budget]], strategies: Sequence[str]) -> list[Cell]:
        return [
            Cell(task, budget, strategy, estimator, seed)
            for seed in seeds
            for task, budget in pairs
            for strategy in strategies
        ]

    every = [(task, budget) for task, budgets in BUDGETS.items() for budget in budgets]
    alone = [(task, (0, n)) for task, sizes in CURVES.items() for n in sizes]
    parts = {
        "main": cells(every, ("default", "emulator")),
        "few": cells(every, ("bridge", "pooled")),
        "ablation": cells(ABLATED, ABLATIONS),
        "curve": cells(alone, ("single",)),
        "toggle": cells([("toggle", budget) for budget in TOGGLE], ("bridge",)),
    }
    return parts[part] if part != "all" else [cell for group in parts.values() for cell in group]


def run(args: argparse.Namespace, console: Console) -> None:
    """Run what is not in the file yet."""
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    done = {row.cell for row in results.read(OUT)} if OUT.exists() else set()
    cells = [cell for cell in dict.fromkeys(planned(args.part, seeds)) if cell not in done]
    source = results.commit()
    for outcome in run_cells(cells, jobs=args.jobs, folder=args.folder):
        console.print(results.line(outcome), highlight=False)
        if not outcome.error:
            results.append(OUT, outcome, source=source)


Values = dict[tuple[str, Budget], dict[str, dict[str, list[float]]]]


def measured(seeds: Sequence[int]) -> Values:
    """Values over seeds by (task, budget), strategy and metric, of the library's own estimator."""
    found: Values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    rows = [row for path in (OUT, PAPER) for row in results.read(path)]
    for row in results.latest(rows):
        cell = row.cell
        if cell.estimator == library_estimator() and cell.seed in seeds:
            found[cell.task, cell.budget][cell.strategy][row.metric].append(row.value)
    return found


def text(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard error, and the number of seeds."""
    if not values:
        return ""
    n = len(values)
    mean = fmean(values)
    if n == 1:
        return f"{mean:.{digits}f} (1)"
    error = (sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5
    return f"{mean:.{digits}f} ± {error:.{digits}f} ({n})"


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n\n| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def label(task: str, budget: Budget) -> str:
    """Of a row: the task and the runs of each level."""
    return f"{task} {', '.join(map(str, budget))}"


def main_table(values: Values) -> None:
    """Every strategy on every cell."""
    reference = results.read_reference()
    rows = []
    for task, budgets in BUDGETS.items():
        for budget in budgets:
            found = values[task, budget]
            cells = [text(found[s][TASKS[task].metric]) for s in COLUMNS]
            authors = [
                f.value
                for f in reference.get(task, ())
                if f.budget == budget and f.who.startswith("official")
            ]
            rows.append((label(task, budget), *cells, str(authors[0]) if authors else ""))
    heads = ("task, runs", "S", "E", "M", "T", "P", "B", "Stack", "authors")
    table("NLPD (g-and-k-nle: KLD, toggle: MMD²), lower is better", heads, rows)


def saving_table(values: Values) -> None:
    """How many runs of level L alone the default is worth, and its coverage."""
    rows = []
    for task, budgets in BUDGETS.items():
        metric = TASKS[task].metric
        curve = {
            n: fmean(found["single"][metric])
            for (name, budget), found in values.items()
            for n in (budget[-1],)
            if name == task and found["single"][metric]
        }
        for budget in budgets:
            found = values[task, budget]
            own, n = found["default"], budget[-1]
            if not own[metric] or not curve:
                continue
            match = runs_to_match(curve, fmean(own[metric]))
            relation = "" if match.relation == "about" else f"{match.relation} "
            gain = [e - d for e, d in zip(found["emulator"][metric], own[metric], strict=False)]
            tail = [text(found[s]["nlpd_q90"], 2) for s in ("single", "default")]
            coverage = [text(own[name]) for name in ("coverage_error", "coverage_bias")]
            saving = f"{relation}{match.runs / n:.1f}"
            rows.append((label(task, budget), saving, text(gain), *coverage, *tail))
    heads = ("task, runs", "n_eq / n_L over S", "nats over E", "coverage error", "its sign")
    table("What the default is worth", (*heads, "q90 S", "q90 Stack"), rows)


def ablation_table(values: Values) -> None:
    """The default with one part taken away."""
    rows = []
    for task, budget in ABLATED:
        found = values[task, budget]
        cells = [text(found[name][TASKS[task].metric]) for name in ABLATIONS]
        rows.append((label(task, budget), *cells))
    names = ("summaries", "inflation", "emulated draws", "cross-fitting", "stacking", "nothing")
    table("Without ...", ("task, runs", *names), rows)
    rows = []
    for budget in ((10000, 500, 100), *TOGGLE):
        found = values["toggle", budget]["bridge"]
        scores = [text(found[m]) for m in ("mmd_squared_mean", "log_density_mean")]
        rows.append((label("toggle", budget), *scores))
    table("The bridge on the toggle switch", ("runs", "MMD²", "log density"), rows)


def main() -> None:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    choices = ("main", "few", "ablation", "toggle", "curve", "all")
    parser.add_argument("--part", default="all", choices=choices)
    parser.add_argument("--table-only", action="store_true")
    args = parser.parse_args()
    console = Console()
    if not args.table_only:
        run(args, console)
    values = measured(range(args.first_seed, args.first_seed + args.seeds))
    main_table(values)
    saving_table(values)
    ablation_table(values)


if __name__ == "__main__":
    main()
