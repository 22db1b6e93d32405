"""The README's table: what `benchmarks/results/` holds, beside the authors' released code.

Run: python benchmarks/summary.py
"""

from __future__ import annotations

import csv
import json
import statistics
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
METRIC = {"g-and-k-nle": "kld_median", "toggle": "mmd_squared_mean"}
COLUMNS = ("multilevel", "multilevel, nsf", "transfer", "paper", "single", "single, nsf")


def measured() -> dict[tuple[str, str], dict[str, list[float]]]:
    """Values over seeds by (task, budget) and column."""
    cells: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((HERE / "results").glob("*.csv")):
        with path.open() as file:
            for row in csv.DictReader(file):
                if row["metric"] != METRIC.get(row["task"], "nlpd_mean"):
                    continue
                column = row["strategy"].split("@")[0]
                column += ", nsf" if row["estimator"] == "nsf" else ""
                cells[row["task"], row["budget"]][column].append(float(row["value"]))
    return cells


def official() -> dict[tuple[str, str], str]:
    """The authors' released code, by (task, budget)."""
    reference = json.loads((HERE / "reference.json").read_text())["tasks"]
    found: dict[tuple[str, str], str] = {}
    for task, entries in reference.items():
        for entry in entries:
            key = (task, ",".join(map(str, entry["budget"])))
            if entry["who"].startswith("official"):
                found[key] = f"{entry['value']:.2f}"  # the last: the one of most epochs
    return found


def cell(values: list[float]) -> str:
    """Mean and standard error, and how many seeds."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f} (1)"
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.3f} ± {error:.3f} ({len(values)})"


def main() -> None:
    others = official()
    print("| task | runs | " + " | ".join(COLUMNS) + " | authors' code |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    for (task, budget), columns in measured().items():
        cells = " | ".join(cell(columns.get(c, [])) for c in COLUMNS)
        print(f"| {task} | {budget} | {cells} | {others.get((task, budget), '')} |")


if __name__ == "__main__":
    main()
