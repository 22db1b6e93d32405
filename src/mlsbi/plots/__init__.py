"""Figures: posteriors, training, and what checks say.

Every function draws with matplotlib's object interface alone, so that nothing here opens a window,
switches a backend or adds to pyplot's list of figures. Each returns the `Figure`: save it with
`figure.savefig("posterior.png")`. Give `ax` (or `axes`) to draw into a figure of your own.
"""

from __future__ import annotations

from mlsbi.plots.coverage import coverage_plot
from mlsbi.plots.levels import levels_plot
from mlsbi.plots.moments import moments_plot
from mlsbi.plots.multilevel import multilevel_plot
from mlsbi.plots.pairs import pairplot
from mlsbi.plots.predictive import predictive_plot
from mlsbi.plots.ranks import rank_plot
from mlsbi.plots.scores import score_plot
from mlsbi.plots.tarp import tarp_plot
from mlsbi.plots.training import history_plot
from mlsbi.plots.verdicts import verdict_plot

__all__ = [
    "coverage_plot",
    "history_plot",
    "levels_plot",
    "moments_plot",
    "multilevel_plot",
    "pairplot",
    "predictive_plot",
    "rank_plot",
    "score_plot",
    "tarp_plot",
    "verdict_plot",
]
