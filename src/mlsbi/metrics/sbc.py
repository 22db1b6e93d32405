"""Simulation-based calibration: ranks of the true parameters among posterior draws.

Where theta comes from the prior, x from level L at theta, and the posterior is right, theta is one
more draw from it: the rank of each theta_j among the draws is uniform. Talts, Betancourt, Simpson,
Vehtari, Gelman 2018, arXiv:1804.06788. `sbi.diagnostics.run_sbc` counts the same ranks, but leaves
them on a lattice, draws by itself, and warns below 100 runs; `sbi.diagnostics.check_sbc` compares
a lattice with a continuous law, and trains classifiers that need hundreds of ranks. Here ranks are
spread over their step, so that the tests are exact for 5 runs as for 5000.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlsbi._checks import check_seed
from mlsbi._random import make_generator
from mlsbi.metrics._draws import as_ranks, as_theta_and_draws, spread_ranks

__all__ = ["sbc_ranks", "uniformity_tests"]


def sbc_ranks(theta: Any, draws: Any, *, seed: int) -> Tensor:
    """Rank of each true parameter among its posterior draws, spread evenly over its step.

    Args:
        theta: True parameters, shape `(n, d)`.
        draws: Posterior draws at the x of each, shape `(num_draws, n, d)`.
        seed: Seed of the spreading (and of ties).

    Returns:
        Ranks in (0, 1), float64, shape `(n, d)`: uniform if the posterior is calibrated, near 1
        where the truth is above the draws.

    Raises:
        TypeError: If an argument is not array-like, or the seed no integer.
        ValueError: If shapes do not agree or a value is not finite.
    """
    true, drawn = as_theta_and_draws(theta, draws)
    return spread_ranks(true, drawn, make_generator(check_seed(seed), "sbc", "ties"))


def uniformity_tests(ranks: Any) -> Tensor:
    """p-values of Kolmogorov-Smirnov tests of uniform ranks, exact for any number of runs.

    `scipy.stats.kstest`, whose distribution is exact for small n. It is for shifts of the ranks
    above all; for widths the tests of `mlsbi.check`'s verdicts are stronger.

    Args:
        ranks: What `sbc_ranks` or `tarp_ranks` returns, shape `(n, d)` or `(n,)`.

    Returns:
        Shape `(d,)`, or `()` for one column, float64.

    Raises:
        TypeError: If `ranks` is not array-like.
        ValueError: If it has no rows, or leaves [0, 1].
    """
    from scipy.stats import kstest

    values = as_ranks(ranks, ndim=(1, 2))
    columns = values.reshape(len(values), -1).T
    p = torch.tensor([float(kstest(c.numpy(), "uniform").pvalue) for c in columns]).double()
    return p.reshape(values.shape[1:])
