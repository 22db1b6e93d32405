"""Multilevel simulation-based inference: the posterior of an expensive simulator from cheap runs.

Levels run from 0 (coarsest) to L (finest) everywhere.
"""

from __future__ import annotations

from importlib import import_module
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
from mlsbi.planning.infer import Inference, infer
from mlsbi.planning.pilot import Pilot, pilot
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
    from mlsbi.study import Study

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Imported when first used: matplotlib, sbi and pydantic, which they need, take their time."""
    if name in {"plots", "tasks"}:
        return import_module(f"mlsbi.{name}")
    if name == "Study":
        return import_module("mlsbi.study").Study
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
    "Inference",
    "Level",
    "LikelihoodFit",
    "LocalProcesses",
    "Multilevel",
    "MultilevelData",
    "Pilot",
    "Plan",
    "Pooled",
    "PosteriorFit",
    "Prior",
    "SingleLevel",
    "Stack",
    "Status",
    "Strategy",
    "Study",
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
