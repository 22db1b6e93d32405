"""What a benchmark task is: data at a budget, held-out pairs, a score, and the truth if known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mlsbi._checks import as_tensor, check_seed
from mlsbi._random import derive_seed, make_generator
from mlsbi.data import MultilevelData
from mlsbi.hierarchy import Hierarchy
from mlsbi.metrics import expected_coverage, nlpd
from mlsbi.simulate import simulate

__all__ = ["Dataset", "LogDensity", "Task", "posterior_score", "simulated_source", "summary"]

Dataset = tuple[MultilevelData, Tensor, Tensor]
"""Training data, test parameters `(m, d)`, test observations `(m, *event)`."""

LogDensity = Callable[[Any, Any], Tensor]
"""`f(theta (n, d), x (n, *event)) -> (n,)` float64; one row of either stands for all rows."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark task.

    Attributes:
        name: Short name, with the variant.
        kind: What is learned: `"posterior"`, p(theta | x), or `"likelihood"`, p(x | theta).
        parameter_names: Names of the columns of theta, d of them.
        budgets: The paper's budgets: numbers of runs, one a level, coarsest first.
        hierarchy: The simulators; `None` where the task is made of stored runs.
        reference_likelihood: Exact log p(x | theta) of the highest level, where it is known.
        reference_posterior: Exact log p(theta | x) of the highest level, where it is known.
        source: Makes the data of a budget from (n, seed); use `data`.
        scorer: Makes the score from (fit, theta, x, seed); use `score`.
    """

    name: str
    kind: Literal["posterior", "likelihood"]
    parameter_names: tuple[str, ...]
    budgets: tuple[tuple[int, ...], ...]
    hierarchy: Hierarchy | None
    reference_likelihood: LogDensity | None = None
    reference_posterior: LogDensity | None = None
    source: Callable[[Sequence[int], int], Dataset] = field(repr=False)
    scorer: Callable[[Any, Tensor, Tensor, int], dict[str, float]] = field(repr=False)

    @property
    def reference(self) -> LogDensity | None:
        """The exact log density of what is learned (see `kind`), where it is known."""
        return self.reference_posterior if self.kind == "posterior" else self.reference_likelihood

    @property
    def costs(self) -> tuple[float | None, ...] | None:
        """Cost of one run of each level; `None` where the task is made of stored runs."""
        return None if self.hierarchy is None else self.hierarchy.costs

    def data(self, n: Sequence[int], seed: int) -> Dataset:
        """Training data of a budget, and test pairs of the highest level.

        Args:
            n: Number of runs (of pairs, above level 0) of each level, coarsest first.
            seed: Seed of the runs. The test pairs come from a stream of their own, so that they
                do not depend on `n` (camels: on the seed's order of the stored runs).

        Returns:
            The data, test parameters `(m, d)` and test observations `(m, *event)`.

        Raises:
            TypeError: If `n` or `seed` is of the wrong type.
            ValueError: If `n` has not one positive number a level, or asks for too many.
        """
        return self.source(n, check_seed(seed))

    def score(self, fit: Any, theta_test: Any, x_test: Any, *, seed: int) -> dict[str, float]:
        """The task's metrics of a fit. Lower is better, unless a metric's name is listed here.

        `coverage_bias` is best at zero (positive: too wide), `log_density_mean` is best high.

        Args:
            fit: A posterior fit or a likelihood fit, after the task's `kind`.
            theta_test: Test parameters, shape `(m, d)`.
            x_test: Test observations, shape `(m, *event)`.
            seed: Seed of all draws that the metrics need.

        Returns:
            Metric names and values.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If shapes do not agree.
        """
        theta = as_tensor(theta_test, name="theta_test", shape=(None, len(self.parameter_names)))
        x = as_tensor(x_test, name="x_test")
        if x.ndim == 0 or len(x) != len(theta) or len(theta) == 0:
            raise ValueError(
                f"x_test must have shape (m, *event) with m = {len(theta)} >= 1 (from theta_test); "
                f"got {tuple(x.shape)}. Pass both test sets as `data` returned them."
            )
        return self.scorer(fit, theta, x, check_seed(seed))


def simulated_source(
    hierarchy: Hierarchy, *, num_test: int
) -> Callable[[Sequence[int], int], Dataset]:
    """Data by simulation, with test pairs of the highest level from a stream of their own.

    Args:
        hierarchy: The simulators.
        num_test: Number m of test pairs.

    Returns:
        The function (n, seed) -> data set that a `Task` holds.
    """

    def source(n: Sequence[int], seed: int) -> Dataset:
        data = simulate(hierarchy, n, seed=seed)
        generator = make_generator(derive_seed(seed, "test"), "pairs")
        theta, u = hierarchy.draw(num_test, generator)
        return data, theta, hierarchy.levels[-1].run(theta, u)

    return source


def posterior_score(fit: Any, theta: Tensor, x: Tensor, seed: int) -> dict[str, float]:
    """NLPD and expected coverage of a posterior fit: the score of every posterior task."""
    log_prob: Tensor = fit.log_prob(theta, x)
    coverage = expected_coverage(fit, theta, x, seed=derive_seed(seed, "coverage"))
    return {**nlpd(log_prob).to_dict(), **coverage.to_dict()}


def summary(values: Tensor, *, name: str) -> dict[str, float]:
    """Mean, median and 90 % quantile of a metric over the test parameters."""
    values = values.to(torch.float64)
    return {
        f"{name}_mean": float(values.mean()),
        f"{name}_median": float(values.quantile(0.5)),
        f"{name}_q90": float(values.quantile(0.9)),
    }
