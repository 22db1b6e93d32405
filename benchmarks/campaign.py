"""Simulation campaigns: throughput, overhead, memory, and what failures cost; sbi beside it.

Each measurement runs in a process of its own, with one thread. Within a repeat, what is compared
runs one after the other, from repeat to repeat another first; ratios are taken within a repeat.

Run: python benchmarks/campaign.py [throughput|inprocess|memory|failures|loky|all ...]
     [--repeats 3] [--rows N] [--quick] [--folder FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from _campaign_cells import Benchmark, Cell, Metrics
from rich import box
from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "results" / "campaign.csv"
MODULES = {
    "throughput": "_campaign_throughput",
    "inprocess": "_campaign_in_process",
    "memory": "_campaign_memory",
    "failures": "_campaign_failures",
    "loky": "_campaign_loky",
}
COLUMNS = ("time", "commit", "load", "benchmark", "case", "repeat", "metric", "value")


def load(name: str) -> Benchmark:
    """One benchmark and nothing else, so that memory and start-up are those of what it needs."""
    return importlib.import_module(MODULES[name]).BENCHMARK


def run_cell(benchmark: str, cell: Cell, repeat: int, folder: Path | None) -> Metrics:
    """Measure in a new process; what it leaves behind is ended."""
    job = {"benchmark": benchmark, "function": cell.function, "arguments": cell.arguments}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if folder is not None:
        environment["TMPDIR"] = str(folder)
    process = subprocess.Popen(
        [sys.executable, __file__, "--cell", json.dumps(job | {"repeat": repeat})],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate()
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if process.returncode != 0:
        raise RuntimeError(f"{benchmark}, {cell.case!r} ended with {process.returncode}:\n{errors}")
    return json.loads(output.splitlines()[-1])


def measure(job: str) -> None:
    """What `run_cell` runs: one function, whose metrics are the last line of the output."""
    wanted = json.loads(job)
    function = load(wanted["benchmark"]).functions[wanted["function"]]
    metrics = function(repeat=wanted["repeat"], **wanted["arguments"])
    print(json.dumps(metrics), flush=True)


def run_benchmark(name: str, options: argparse.Namespace, console: Console) -> None:
    benchmark = load(name)
    cells = benchmark.cells(options.quick, options.rows)
    runs: dict[str, list[Metrics]] = {cell.case: [] for cell in cells}
    busy = os.getloadavg()[0]
    for repeat in range(options.repeats):
        first = repeat % len(cells)
        results = {}
        for cell in cells[first:] + cells[:first]:
            console.print(f"{name}, repeat {repeat}: {cell.case}", style="dim")
            results[cell.case] = run_cell(name, cell, repeat, options.folder)
        for case, more in benchmark.compare(results).items():
            results[case] |= more
        append(options.out, name, repeat, results)
        for case, metrics in results.items():
            runs[case].append(metrics)
    Console(width=240).print(table(name, benchmark.shown, runs, busy))


def append(out: Path, benchmark: str, repeat: int, results: dict[str, Metrics]) -> None:
    new = not out.exists()
    stamp = (datetime.now(UTC).isoformat(timespec="seconds"), commit(), f"{os.getloadavg()[0]:.1f}")
    with out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        for case, metrics in results.items():
            for metric, value in metrics.items():
                text = value if isinstance(value, str) else f"{value:.6g}"
                writer.writerow((*stamp, benchmark, case, repeat, metric, text))


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def table(name: str, shown: tuple[str, ...], runs: dict[str, list[Metrics]], busy: float) -> Table:
    """A row for each case: mean ± standard deviation over repeats."""
    title = f"{name}, {max(map(len, runs.values()))} repeats, load {busy:.1f}"
    found = Table("case", *shown, title=title, box=box.MARKDOWN)
    for case, repeats in runs.items():
        values = ([run[metric] for run in repeats if metric in run] for metric in shown)
        found.add_row(case, *map(summary, values))
    return found


def summary(values: list[float | str]) -> str:
    """Mean ± standard deviation over repeats, or what there is instead of numbers."""
    numbers = [value for value in values if not isinstance(value, str)]
    if not values or len(numbers) < len(values):
        return ", ".join(sorted(set(map(str, values))))
    mean = statistics.mean(numbers)
    places = 2 - math.floor(math.log10(abs(mean))) if mean else 0
    places = min(max(places, 0), 4)
    spread = f" ± {statistics.stdev(numbers):.{places}f}" if len(numbers) > 1 else ""
    return f"{mean:.{places}f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default="all", choices=[*MODULES, "all"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, help="instead of what each benchmark is meant to run")
    parser.add_argument("--quick", action="store_true", help="a few rows, to see that it works")
    parser.add_argument("--folder", type=Path, help="where stores go; the system's for temp files")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell is not None:
        measure(options.cell)
        return
    console = Console(stderr=True)
    for name in MODULES if "all" in options.names else options.names:
        run_benchmark(name, options, console)


if __name__ == "__main__":
    main()
