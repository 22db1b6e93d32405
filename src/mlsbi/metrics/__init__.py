"""How good a fit is: one metric a file, on plain tensors.

`nlpd` (negative log density of held-out pairs), `kld_on_grid` (exact against learned density),
`mmd_squared` (two samples) and `expected_coverage` (are the credible regions honest?). For
`Coverage.bias` positive means too wide; for all other figures lower is better.

Of posterior draws, run by run: `sbc_ranks`, `marginal_hpd_ranks`, `tarp_ranks` and `hpd_ranks`,
which are uniform under a calibrated posterior (`uniformity_tests`), `z_scores` and `contraction`;
`lc2st` tests the posterior at one observation.
"""

from __future__ import annotations

from mlsbi.metrics.coverage import Coverage, coverage_of_ranks, expected_coverage, hpd_ranks
from mlsbi.metrics.kld import kld_grid, kld_on_grid
from mlsbi.metrics.lc2st import LocalTest, lc2st
from mlsbi.metrics.marginals import marginal_hpd_ranks
from mlsbi.metrics.mmd import median_length_scale, mmd_squared
from mlsbi.metrics.moments import contraction, z_scores
from mlsbi.metrics.nlpd import NLPD, nlpd
from mlsbi.metrics.sbc import sbc_ranks, uniformity_tests
from mlsbi.metrics.tarp import tarp_ranks

__all__ = [
    "NLPD",
    "Coverage",
    "LocalTest",
    "contraction",
    "coverage_of_ranks",
    "expected_coverage",
    "hpd_ranks",
    "kld_grid",
    "kld_on_grid",
    "lc2st",
    "marginal_hpd_ranks",
    "median_length_scale",
    "mmd_squared",
    "nlpd",
    "sbc_ranks",
    "tarp_ranks",
    "uniformity_tests",
    "z_scores",
]
