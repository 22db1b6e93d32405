"""One tidy file of results from many: of a cell that is in several the newest commit's rows win.

Left out are rows of strategies whose code has changed since (`CHANGED`), rows of other seeds, and
curves of coverage that no figure shows. Commits are put in order by git; a "+" behind one (files
differed from it) counts as just after it; of rows of the same commit the file named last wins.

Run: python benchmarks/merge.py --out benchmarks/results/paper.csv [--seeds 10-14] FILE...
     (the results file itself may be among the FILEs)
"""

from __future__ import annotations

import argparse
import csv
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlsbi.benching.paper import COVERAGE_SHOWN, OTHERS, PAPER_TASKS
from mlsbi.benching.results import COLUMNS, CURVE, Row, read
from mlsbi.benching.step_times import TIMED

# The noise of bridges and emulators was widened there.
CHANGED = {name: "1085c7e" for name in ("default", "emulator", "bridge", "stack")}


def ages() -> dict[str, int]:
    """Place of each commit, the oldest first, under its 7 and more first letters."""
    log = subprocess.run(
        ["git", "log", "--reverse", "--format=%H"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    return {commit: place for place, commit in enumerate(log.stdout.split())}


def age(commit: str, order: dict[str, int]) -> float:
    """Place of a row's commit; one that is not known is older than all."""
    bare = commit.rstrip("+")
    place = next((p for full, p in order.items() if bare and full.startswith(bare)), -1)
    return place + 0.5 * commit.endswith("+")


def merged(files: Iterable[Sequence[Row]], seeds: range, order: dict[str, int]) -> list[Row]:
    """The newest rows of each cell, by task, budget, strategy and seed."""
    tasks = [*PAPER_TASKS, *OTHERS, *TIMED]
    known = {row.commit for rows in files for row in rows}
    when = {commit: age(commit, order) for commit in known}
    newest: dict[object, float] = {}
    kept: dict[object, dict[str, Row]] = {}
    for rows in files:
        for row in rows:
            cell = row.cell
            first = CHANGED.get(cell.strategy.partition("-")[0])
            outdated = first is not None and when[row.commit] < age(first, order)
            unshown = row.metric.startswith(CURVE) and COVERAGE_SHOWN.get(cell.task) != cell.budget
            if unshown or outdated or cell.seed not in seeds or cell.task not in tasks:
                continue
            if when[row.commit] > newest.get(cell, -2):
                newest[cell], kept[cell] = when[row.commit], {}
            if when[row.commit] == newest[cell]:
                kept[cell][row.metric] = row
    found = [row for metrics in kept.values() for row in metrics.values()]
    return sorted(
        found,
        key=lambda row: (
            tasks.index(row.cell.task),
            row.cell.budget,
            row.cell.strategy,
            row.cell.estimator,
            row.cell.seed,
        ),
    )


def write(path: Path, rows: Iterable[Row]) -> None:
    """A results file, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            cell = row.cell
            budget = ",".join(map(str, cell.budget))
            key = (cell.task, budget, cell.strategy, cell.estimator, cell.seed)
            seconds = f"{row.seconds:.2f}"
            writer.writerow((*key, row.metric, repr(row.value), seconds, row.commit))
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="10-14", help="first and last")
    args = parser.parse_args()
    first, last = map(int, args.seeds.split("-"))
    rows = merged([read(path) for path in args.files], range(first, last + 1), ages())
    write(args.out, rows)
    print(f"{len({row.cell for row in rows})} cells, {len(rows)} rows: {args.out}")


if __name__ == "__main__":
    main()
