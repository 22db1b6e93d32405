"""Kill a campaign again and again; then compare its data with those of an undisturbed run.

    python benchmarks/chaos.py --kills 50 --seed 0

A coordinator (a process of its own, `executor=2`, with a store) runs two levels, 2500 and 300 rows
of about 10 ms. At random times one of its processes gets SIGKILL, SIGTERM or SIGINT: the
coordinator, a warden or the process that runs simulators. A coordinator that died is started again.

It prints how often what was killed, whether the data are the same bit for bit, and how many rows
that were finished in the store when the coordinator died were run again (there should be none).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sbi.utils import BoxUniform

import mlsbi
from mlsbi.simulate import DONE, read_store

N = (2500, 300)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def make_hierarchy(log: Path | None = None, seconds: float = 0.01) -> mlsbi.Hierarchy:
    """Two levels that run row by row, and write the seed of each row they run to `log`."""

    def simulator(level: int) -> Callable[[np.ndarray, int], torch.Tensor]:
        def run(theta: np.ndarray, seed: int) -> torch.Tensor:
            if log is not None:
                with log.open("a") as file:
                    file.write(f"{level} {seed}\n")
            time.sleep(seconds)
            noise = torch.randn(5, generator=torch.Generator().manual_seed(seed))
            return theta.sum() + (level + 1) * noise

        return run

    prior = BoxUniform(torch.zeros(2), torch.ones(2))
    levels = [mlsbi.Level(simulator(i), batched=False, cost=1.0 + i) for i in range(len(N))]
    return mlsbi.Hierarchy(prior, levels)


@dataclass
class Chaos:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    seconds: float = 0.0
    rerun: int = 0
    identical: bool = False
    failures: int = 0


def run_chaos(folder: Path, *, kills: int, seed: int, n: tuple[int, ...] = N) -> Chaos:
    """Run one campaign under fire; see the module's docstring."""
    dice, chaos = random.Random(seed), Chaos()
    log, store = folder / "log.txt", folder / "run.zarr"
    finished: list[tuple[int, set[str]]] = []  # (length of the log, rows in the store) at deaths
    begin = time.monotonic()
    process = _start(folder, n, chaos)
    while process.poll() is None or process.returncode != 0:
        if process.poll() is not None:
            finished.append((_length(log), _done_rows(store)))
            process = _start(folder, n, chaos)
        elif sum(chaos.kills.values()) < kills:
            time.sleep(dice.uniform(0.05, 0.6))
            _kill_one(process.pid, dice, chaos)
        else:
            time.sleep(0.05)
    chaos.seconds = time.monotonic() - begin
    lines = log.read_text().splitlines()
    chaos.rerun = sum(len(done & set(lines[length:])) for length, done in finished)
    data, reference = mlsbi.MultilevelData.load(store), mlsbi.simulate(_reference(), n, seed=1)
    chaos.identical = data.n == reference.n and all(
        torch.equal(getattr(data, name)(level), getattr(reference, name)(level))
        for level in range(len(n))
        for name in (("theta", "x", "x_coarse") if level else ("theta", "x"))
    )
    chaos.failures = len(data.failures)
    return chaos


def _reference() -> mlsbi.Hierarchy:
    return make_hierarchy(seconds=0.0)


def _start(folder: Path, n: tuple[int, ...], chaos: Chaos) -> subprocess.Popen[bytes]:
    chaos.starts += 1
    command = [sys.executable, __file__, "--coordinator", str(folder), "--n", json.dumps(n)]
    return subprocess.Popen(command, start_new_session=True)


def _coordinator(folder: Path, n: list[int]) -> None:
    """One try of the campaign."""
    hierarchy = make_hierarchy(folder / "log.txt")
    mlsbi.simulate(
        hierarchy, n, seed=1, store=folder / "run.zarr", executor=2, retries=50, on_failure="drop"
    )


def _kill_one(coordinator: int, dice: random.Random, chaos: Chaos) -> None:
    """Send a signal to the coordinator (each 6th), a warden or a process of simulators."""
    wardens = _children(coordinator)
    forks = [pid for warden in wardens for pid in _children(warden)]
    if not forks:
        return  # it is still starting
    if sum(chaos.kills.values()) % 6 == 3:
        name, pid = "coordinator", coordinator
    elif dice.random() < 1 / 5:
        name, pid = "warden", dice.choice(wardens)
    else:
        name, pid = "simulators", dice.choice(forks)
    number = dice.choice(SIGNALS)
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    chaos.kills[f"{signal.Signals(number).name} to {name}"] += 1


def _children(pid: int) -> list[int]:
    """Child processes, from /proc."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        return []
    return found


def _length(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def _done_rows(store: Path) -> set[str]:
    """The lines that the log has for rows that are finished in the store."""
    try:
        reader = read_store(store)
    except (ValueError, FileNotFoundError):
        return set()  # killed before it was made
    rows = set()
    for level in range(reader.num_levels):
        done = (reader.status(level) == DONE).nonzero()[0]
        if len(done):
            rows |= {f"{level} {seed}" for seed in reader.read(level, "row_seed", done).tolist()}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=json.loads, default=list(N))
    parser.add_argument("--coordinator", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.coordinator:
        _coordinator(options.coordinator, options.n)
        return
    with tempfile.TemporaryDirectory() as folder:
        chaos = run_chaos(Path(folder), kills=options.kills, seed=options.seed, n=tuple(options.n))
    for name, count in sorted(chaos.kills.items()):
        print(f"{count:4d}  {name}")
    print(f"{sum(chaos.kills.values())} signals, {chaos.starts} starts, {chaos.seconds:.1f} s")
    print(f"finished rows run again: {chaos.rerun}; rows lost: {chaos.failures}")
    print("data as of an undisturbed run, bit for bit:", chaos.identical)
    if chaos.rerun or chaos.failures or not chaos.identical:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
