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
    from mlsbi._from_sbi import from_sbi
    from mlsbi._sbi_level import sbi_level
    from mlsbi.checking.check import check
    from mlsbi.checking.observation import ObservationCheck, check_observation
    from mlsbi.checking.repair import Calibration, calibrate
    from mlsbi.checking.result import Check
    from mlsbi.reporting import report
    from mlsbi.study import Study

__version__ = "0.1.0"

# Imported when first used: matplotlib, sbi, scipy and pydantic, which they need, take their time.
_HOME = {
    "Calibration": "checking.repair",
    "Check": "checking.result",
    "ObservationCheck": "checking.observation",
    "Study": "study",
    "calibrate": "checking.repair",
    "check": "checking.check",
    "check_observation": "checking.observation",
    "from_sbi": "_from_sbi",
    "report": "reporting",
    "sbi_level": "_sbi_level",
}


def __getattr__(name: str) -> object:
    """Modules, and names of modules, that are imported when first used."""
    if name in {"plots", "tasks"}:
        return import_module(f"mlsbi.{name}")
    if name in _HOME:
        return getattr(import_module(f"mlsbi.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mlsbi' has no attribute {name!r}")


__all__ = [
    "MAF",
    "MDN",
    "NSF",
    "Bridge",
    "Calibration",
    "Check",
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
    "ObservationCheck",
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
    "calibrate",
    "check",
    "check_observation",
    "export_runs",
    "fit_likelihood",
    "fit_posterior",
    "from_sbi",
    "import_runs",
    "infer",
    "load_fit",
    "metrics",
    "pilot",
    "plots",
    "report",
    "sbi_level",
    "simulate",
    "tasks",
]
