"""The swing of `pendulum.csv`: a made-up measurement, with what real ones have.

python examples/data/make_pendulum.py examples/data/pendulum.csv

A pendulum with g/L = 9.34 per second squared, damping 0.08 per second and drag 0.15 is let go near
1.2 rad. Its sensor reads an angle every quarter of a second, 0.04 rad too high, with noise of 0.03
rad, in steps of 0.01 rad; six readings got lost. The integrator is neither of the example's.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

TRUTH = (9.34, 0.08, 0.15)  # g/L, damping, drag
LOST = (4, 5, 11, 12, 18, 22)  # numbers of the readings, from 1


def swing(seconds: float, step: float = 1e-3) -> float:
    """The angle after so many seconds, by the classical Runge-Kutta method."""
    strength, damping, drag = TRUTH

    def slope(state: np.ndarray) -> np.ndarray:
        angle, speed = state
        return np.array(
            [speed, -strength * np.sin(angle) - damping * speed - drag * abs(speed) * speed]
        )

    state = np.array([1.21, 0.0])
    for _ in range(round(seconds / step)):
        first = slope(state)
        second = slope(state + step / 2 * first)
        third = slope(state + step / 2 * second)
        fourth = slope(state + step * third)
        state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
    return float(state[0])


def main(path: Path) -> None:
    generator = np.random.default_rng(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seconds", "angle"])
        for number in range(1, 25):
            reading = swing(number / 4) + 0.04 + 0.03 * generator.normal()
            writer.writerow([number / 4, "" if number in LOST else f"{reading:.2f}"])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pendulum.csv"))
