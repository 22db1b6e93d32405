"""Row-by-row simulators of the campaign benchmarks, and plain loops over them.

NumPy only: a worker that has to import nothing else starts as fast as it can, whoever starts it.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RowSimulator = Callable[[np.ndarray, int], np.ndarray]

HANG_SECONDS = 60.0  # long beside any timeout, but a worker nobody kills ends some day


class SimulatorError(Exception):
    """What a simulator raises that fails on purpose."""


@dataclass(frozen=True)
class Sleep:
    """Takes time but no processor, as a program that runs elsewhere."""

    seconds: float

    def __call__(self, theta: np.ndarray, seed: int) -> np.ndarray:
        """One row: theta `(d,)` to x `(d,)`."""
        time.sleep(self.seconds)
        return theta


@dataclass(frozen=True)
class Busy:
    """The same work in every row."""

    iterations: int

    def __call__(self, theta: np.ndarray, seed: int) -> np.ndarray:
        """One row: theta `(d,)` to x `(d,)`."""
        value = 0
        for i in range(self.iterations):
            value = (value + i) & 0xFFFF
        return theta + np.float32(value)


@dataclass(frozen=True)
class Fates:
    """Of 1000 rows some raise, some hang, some kill their process: the row's seed decides."""

    seconds: float
    raises: int = 0
    hangs: int = 0
    dies: int = 0

    def fate(self, seed: int) -> str | None:
        """How a row fails, in the words of `mlsbi.Failure.kind`; None if it does not."""
        number = seed % 1000
        for kind, share in (("exception", self.raises), ("timeout", self.hangs)):
            if number < share:
                return kind
            number -= share
        return "died" if number < self.dies else None

    def __call__(self, theta: np.ndarray, seed: int) -> np.ndarray:
        """One row: theta `(d,)` to x `(d,)`."""
        fate = self.fate(seed)
        if fate == "exception":
            raise SimulatorError(f"seed {seed}")
        if fate == "died":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(HANG_SECONDS if fate == "timeout" else self.seconds)
        return theta


@dataclass(frozen=True)
class SbiRows:
    """A row-by-row simulator as `simulate_for_sbi` wants it: batches, and no seeds."""

    simulator: RowSimulator
    harmless: bool = True

    def __call__(self, theta: Any) -> Any:
        """Run rows: theta `(n, d)`, an array or a tensor, to a tensor x `(n, d)`."""
        import torch  # not above: other workers need none of it

        rows, count = np.asarray(theta), len(theta)
        seeds = np.full(count, 999) if self.harmless else np.random.randint(2**62, size=count)
        return torch.from_numpy(run_rows(self.simulator, rows, seeds))


def make_simulator(spec: dict[str, Any]) -> RowSimulator:
    """A simulator from its description in JSON types: `kind`, and the fields of its class."""
    classes: dict[str, Callable[..., RowSimulator]] = {"sleep": Sleep, "busy": Busy, "fates": Fates}
    fields = dict(spec)
    return classes[fields.pop("kind")](**fields)


def calibrate(seconds: float) -> int:
    """Iterations of `Busy` that take so much of the processor's time."""
    trial, theta = Busy(100_000), np.zeros(1, np.float32)
    times = []
    for _ in range(21):
        begin = time.process_time()
        trial(theta, 0)
        times.append(time.process_time() - begin)
    return max(round(trial.iterations * seconds / statistics.median(times)), 1)


def run_rows(simulator: RowSimulator, theta: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """A plain loop: theta `(n, d)` and seeds `(n,)` to x `(n, d)`."""
    pairs = zip(theta, seeds.tolist(), strict=True)
    return np.stack([simulator(row.copy(), seed) for row, seed in pairs])


def loop_seconds(simulator: RowSimulator, rows: int) -> float:
    """Seconds that a row takes in a plain loop."""
    theta, seeds = (
        np.zeros((rows, 2), np.float32),
        np.full(rows, 999),
    )  # a seed that nothing befalls
    begin = time.perf_counter()
    run_rows(simulator, theta, seeds)
    return (time.perf_counter() - begin) / rows
