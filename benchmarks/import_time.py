"""Seconds that imports take, each in a fresh process, one after the other in turn.

mlsbi is to be imported in less than 1.5 times what torch and sbi take together; it leaves what is
heavy until it is used.

Run: python benchmarks/import_time.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

CODE = {
    "torch": "import torch",
    "torch, sbi": "import torch; import sbi",
    "torch, sbi.inference": "import torch; import sbi.inference",
    "mlsbi": "import mlsbi",
    "mlsbi, all that it can import": (
        "import mlsbi; import mlsbi.sbi_posterior; [getattr(mlsbi, name) for name in mlsbi.__all__]"
    ),
    "mlsbi.cli": "import mlsbi.cli",
}
BESIDE = "torch, sbi"
# What is imported is compiled once, as usual: packages that pip installed are so already.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_TIMED = "from time import perf_counter as now; start = now(); {code}; print(now() - start)"


def seconds(code: str) -> float:
    """Seconds that some code takes in a new interpreter, its own start left out."""
    command = [sys.executable, "-c", _TIMED.format(code=code)]
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measured(repeats: int) -> dict[str, list[float]]:
    """Seconds of each case; a first round, which fills caches, is not counted."""
    times: dict[str, list[float]] = {name: [] for name in CODE}
    for i in range(repeats + 1):
        for name, code in CODE.items():
            taken = seconds(code)
            if i:
                times[name].append(taken)
    return times


def table_of(times: Mapping[str, list[float]]) -> Table:
    """Medians with their range, and the ratio to `BESIDE`, formed round by round."""
    table = Table("import", "s, median", "least", "most", f"over {BESIDE!r}")
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times[BESIDE], strict=True))
        cells = (statistics.median(taken), min(taken), max(taken))
        table.add_row(name, *(f"{cell:.2f}" for cell in cells), f"{ratio:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    Console().print(table_of(measured(parser.parse_args().repeats)))


if __name__ == "__main__":
    main()
