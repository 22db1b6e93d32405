"""The coverage benchmark: likelihood fits on fresh runs, the mean curve, and missed targets."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from mlsbi._random import make_generator
from mlsbi.benching.cells import Cell
from mlsbi.benching.results import Row
from mlsbi.metrics import expected_coverage

FOLDER = Path(__file__).parents[1] / "benchmarks"


def loaded() -> ModuleType:
    """The script as a module; it imports a script beside it."""
    spec = importlib.util.spec_from_file_location("coverage_benchmark", FOLDER / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    sys.path.insert(0, str(FOLDER))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


benchmark = loaded()
RUNS = 1000


class Likelihood:
    """x ~ N(theta, 1) in two dimensions, said to be `width` as wide."""

    event_shape = (2,)

    def __init__(self, width: float) -> None:
        self.width = width

    def sample_batched(self, n: int, *, theta: Tensor, seed: int) -> Tensor:
        noise = torch.randn(n, *theta.shape, generator=make_generator(seed))
        return theta + self.width * noise

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        square = ((x - theta) / self.width).square().sum(1)
        return -0.5 * square - 2 * math.log(self.width) - math.log(2 * math.pi)


def coverage(width: float) -> Any:
    theta, noise = torch.randn(2, RUNS, 2, generator=make_generator(0))
    fit = benchmark.LikelihoodAsPosterior(Likelihood(width))
    return expected_coverage(fit, theta + noise, theta, seed=1)


def test_a_right_likelihood_covers_and_a_narrow_one_does_not() -> None:
    # The mean of a thousand ranks has the standard error 1 / sqrt(12 n).
    error = 1 / (12 * RUNS) ** 0.5
    assert abs(coverage(1.0).bias) < 4 * error
    # Of a chi-square with two degrees the curve of half the width is 1 - (1 - c)^(1/4): 0.3 below.
    assert coverage(0.5).bias == pytest.approx(1 - 0.8 - 0.5, abs=4 * error)
    assert coverage(2.0).bias > 0.2


def row(metric: str, value: float, *, seed: int = 0, runs: int = 50) -> Row:
    return Row(Cell("ou", (1000, runs), "default", "mdn", seed), metric, value, 1.0)


def test_errors_of_fits_that_point_both_ways_cancel_in_the_mean_curve() -> None:
    rows = [row("coverage_at_0.50", 0.6), row("coverage_at_0.50", 0.42, seed=1)]
    rows += [row("coverage_at_0.90", 0.95), row("coverage_at_0.90", 0.85, seed=1)]
    found = benchmark.gathered(rows, [r.cell for r in rows])
    (metrics,) = found.values()
    assert benchmark.mean_curve_error(metrics) == pytest.approx(0.005)
    assert math.isnan(benchmark.mean_curve_error({}))


@pytest.mark.parametrize(("runs", "error", "fails"), [(10, 0.055, False), (50, 0.055, True)])
def test_the_target_depends_on_the_runs(runs: int, error: float, fails: bool) -> None:
    rows = [row("coverage_error", error, runs=runs), row("coverage_error", 0.9, seed=1, runs=runs)]
    found = benchmark.gathered(rows, [rows[0].cell])
    assert bool(benchmark.missed(found)) == fails
