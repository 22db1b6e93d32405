"""How good a fit is: one metric a file, on plain tensors.

`nlpd` (negative log density of held-out pairs), `kld_on_grid` (exact against learned density),
`mmd_squared` (two samples) and `expected_coverage` (are the credible regions honest?). For
`Coverage.bias` positive means too wide; for all other figures lower is better.
"""

from __future__ import annotations

from mlsbi.metrics.coverage import Coverage, coverage_of_ranks, expected_coverage, hpd_ranks
from mlsbi.metrics.kld import kld_grid, kld_on_grid
from mlsbi.metrics.mmd import median_length_scale, mmd_squared
from mlsbi.metrics.nlpd import NLPD, nlpd

__all__ = [
    "NLPD",
    "Coverage",
    "coverage_of_ranks",
    "expected_coverage",
    "hpd_ranks",
    "kld_grid",
    "kld_on_grid",
    "median_length_scale",
    "mmd_squared",
    "nlpd",
]
