"""Multilevel simulation-based inference: the posterior of an expensive simulator from cheap runs.

Levels run from 0 (coarsest) to L (finest) everywhere.
"""

from __future__ import annotations

from mlsbi import metrics, tasks
from mlsbi.data import MultilevelData
from mlsbi.estimators.specs import MAF, MDN, NSF
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.fit_io import load_fit
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.history import History, Status
from mlsbi.options import Training
from mlsbi.prior import Prior
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.simulate import simulate
from mlsbi.strategies import Multilevel, SingleLevel, Strategy, Transfer

__version__ = "0.1.0"

__all__ = [
    "MAF",
    "MDN",
    "NSF",
    "Hierarchy",
    "History",
    "Level",
    "LikelihoodFit",
    "Multilevel",
    "MultilevelData",
    "PosteriorFit",
    "Prior",
    "SingleLevel",
    "Status",
    "Strategy",
    "Training",
    "Transfer",
    "fit_likelihood",
    "fit_posterior",
    "load_fit",
    "metrics",
    "simulate",
    "tasks",
]
