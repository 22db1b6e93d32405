"""Multilevel simulation-based inference: the posterior of an expensive simulator from cheap runs.

Levels run from 0 (coarsest) to L (finest) everywhere.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from mlsbi import metrics
from mlsbi.data import MultilevelData
from mlsbi.estimators.specs import MAF, MDN, NSF
from mlsbi.failures import Failure
from mlsbi.fit import fit_likelihood, fit_posterior
from mlsbi.fit_io import load_fit
from mlsbi.hierarchy import Hierarchy, Level
from mlsbi.history import History, Status
from mlsbi.options import Training
from mlsbi.planning.infer import infer
from mlsbi.planning.pilot import pilot
from mlsbi.planning.plan import Plan
from mlsbi.prior import Prior
from mlsbi.results import LikelihoodFit, PosteriorFit
from mlsbi.simulate import CommandLevel, LocalProcesses, export_runs, import_runs, simulate
from mlsbi.strategies import (
    Bridge,
    Emulator,
    Multilevel,
    Pooled,
    SingleLevel,
    Stack,
    Strategy,
    Transfer,
)

if TYPE_CHECKING:
    from mlsbi import plots, tasks

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Modules imported when first used: matplotlib and sbi, which they need, are slow to import."""
    if name in {"plots", "tasks"}:
        return import_module(f"mlsbi.{name}")
    raise AttributeError(f"module 'mlsbi' has no attribute {name!r}")


__all__ = [
    "MAF",
    "MDN",
    "NSF",
    "Bridge",
    "CommandLevel",
    "Emulator",
    "Failure",
    "Hierarchy",
    "History",
    "Level",
    "LikelihoodFit",
    "LocalProcesses",
    "Multilevel",
    "MultilevelData",
    "Plan",
    "Pooled",
    "PosteriorFit",
    "Prior",
    "SingleLevel",
    "Stack",
    "Status",
    "Strategy",
    "Training",
    "Transfer",
    "export_runs",
    "fit_likelihood",
    "fit_posterior",
    "import_runs",
    "infer",
    "load_fit",
    "metrics",
    "pilot",
    "plots",
    "simulate",
    "tasks",
]
